/** What the processor does: functions on buffers, each with a plain reference twin of the same
 * name and arguments but with double arrays (kernels/reference.h). Threaded with OpenMP; the bits
 * of a result depend on the shapes and the number of threads alone. Shapes first; B sequences, T
 * positions, C channels, N rows (N = B T), V vocabulary, NH heads. "act" buffers are in the compute
 * type `type` (float or bf16), everything named float is fp32. */
#ifndef VARIO_KERNELS_KERNELS_H
#define VARIO_KERNELS_KERNELS_H

#include "base/parameters.h"
#include "kernels/noise.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

float bf16_to_float(bf16 x);
bf16 bf16_from_float(float x); /**< to nearest even; NaN stays NaN */

/** To or from bf16 or float, element-wise; equal types copy. */
void convert(void *out, dtype out_type, const void *in, dtype in_type, size_t count);

/** Prepare the library for this number of threads and choose instructions; call once.
 * @return whether bf16 products are native here */
bool kernels_open(void);
bool kernels_native_bf16(void);            /**< as kernels_open says */
bool kernels_bf16_in_tiles(void);          /**< by AMX: several times as fast as in vectors */
void kernels_close(void);                  /**< frees cached primitives */
const char *kernels_instruction_set(void); /**< e.g. "avx512_core_bf16" */
const char *kernels_library_version(void); /**< "oneDNN 2.6.3" */

/** out(M, N) = A(M, K) B(K, N), or += when accumulate; A and B in `type`, out in out_type.
 *
 * A is stored (M, K) row-major, or (K, M) when transpose_a; B is stored (K, N), or (N, K) when
 * transpose_b. Leading dimensions are the stored row lengths lda, ldb, ldc (elements).
 * bias: [N] fp32 added to each row, or NULL.
 */
void gemm(size_t m, size_t n, size_t k, const void *a, size_t lda, bool transpose_a, const void *b,
          size_t ldb, bool transpose_b, void *out, size_t ldc, dtype type, dtype out_type,
          const float *bias, bool accumulate);

/** dw(I, O) = x^T d, or += when accumulate: the gradient of weights from a layer's input x (N, I)
 * and its output's gradient d (N, O), both in `type`, with fp32 sums.
 * @param work  [weight_gradient_work_floats(O)] */
void weight_gradient(float *dw, const void *x, const void *d, dtype type, float *work, size_t N,
                     size_t I, size_t O, bool accumulate);
size_t weight_gradient_work_floats(size_t O);

/** A right operand that several products share, in the layout that products like best here: bytes
 * of B (K, N), B brought there (stored as for gemm), and out(M, N) = A(M, K) B with it. */
size_t gemm_packed_bytes(size_t n, size_t k, dtype type);
void gemm_pack(void *packed, size_t n, size_t k, const void *b, size_t ldb, bool transpose_b,
               dtype type);
void gemm_packed(size_t m, size_t n, size_t k, const void *a, size_t lda, const void *packed,
                 void *out, size_t ldc, dtype type, dtype out_type);

/** out[n] = x[k] B for a single row x, where gemm would not reach memory's bandwidth; x and B in
 * `type`, fp32 sums, out in out_type. B is stored (k, n), or (n, k) when transpose_b, in rows of
 * ldb elements. bias: [n] fp32, or NULL. The bits do not depend on the threads. */
void gemv(size_t n, size_t k, const void *x, const void *b, size_t ldb, bool transpose_b, void *out,
          dtype type, dtype out_type, const float *bias);

/** residual(N, C) = wte[token] + wpe[position]; wte, wpe in type. positions are n mod T. */
void embedding_forward(float *residual, const void *wte, const void *wpe, dtype type,
                       const uint16_t *tokens, size_t B, size_t T, size_t C);
/** dwte(V, C) += rows of dresidual; dwpe(T of block_size, C) = sums over the sequences, its rows
 * from T on are set to 0. Deterministic whatever the threads. */
void embedding_backward(float *dwte, float *dwpe, const float *dresidual, const uint16_t *tokens,
                        size_t B, size_t T, size_t C, size_t V, size_t block_size);

/** act out(N, C) = layer norm of float in(N, C), epsilon 1e-5; mean, rstd [N] out. bias may be
 * NULL. */
void layernorm_forward(void *out, dtype type, float *mean, float *rstd, const float *in,
                       const float *gain, const float *bias, size_t N, size_t C);
/** din(N, C) += ; dgain, dbias [C] = (written; dbias may be NULL). dout is act.
 * work [layernorm_work_floats(C)]: dgain, dbias and a widened row of each thread. */
void layernorm_backward(float *din, float *dgain, float *dbias, const void *dout, dtype type,
                        const float *in, const float *gain, const float *mean, const float *rstd,
                        float *work, size_t N, size_t C);
size_t layernorm_work_floats(size_t C); /**< 3 C for each of the present threads */

/** GELU, tanh form; act in and out. */
void gelu_forward(void *out, const void *in, dtype type, size_t count);
/** din = dout * gelu'(in); din may be dout. */
void gelu_backward(void *din, const void *dout, const void *in, dtype type, size_t count);

/** The other activations, fp32; in place if wanted. */
void tanh_forward(float *out, const float *in, size_t count);
void tanh_backward(float *din, const float *dout, const float *in, size_t count);
void relu_forward(float *out, const float *in, size_t count);
void relu_backward(float *din, const float *dout, const float *in, size_t count); /**< 0 at 0 */

/** dbias[C] = column sums of act dout(N, C). work [bias_work_floats(C)] */
void bias_backward(float *dbias, const void *dout, dtype type, float *work, size_t N, size_t C);
size_t bias_work_floats(size_t C); /**< 2 C for each of the present threads */

/** Causal attention. qkv(B, T, 3C) act; out(B, T, C) act; lse(B, NH, T) fp32: log-sum-exp of each
 * row of scores (scaled by 1/sqrt(C/NH)). With dropout > 0 the probabilities are dropped after the
 * softmax by noise `key` at element ((b NH + h) T + i) T + j + `index`. */
void attention_forward(void *out, float *lse, const void *qkv, dtype type, size_t B, size_t T,
                       size_t C, size_t NH, double dropout, noise_key key, uint64_t index,
                       float *work);
/** dqkv(B, T, 3C) act written. */
void attention_backward(void *dqkv, const void *dout, const void *qkv, const void *out,
                        const float *lse, dtype type, size_t B, size_t T, size_t C, size_t NH,
                        double dropout, noise_key key, uint64_t index, float *work);
size_t attention_work_floats(size_t T, size_t C, size_t NH); /**< both, present threads */

/** Attention of a text that grows. The cache of its `most` positions at most is keys and values
 * (NH, max, C / NH), act.
 *
 * attention_store puts the k and v of positions at .. at + rows - 1, in qkv(rows, 3C) act, there.
 * attention_cached gives these positions' out(rows, C) act from their q in qkv and from the cache,
 * in which they are: position at + i attends to 0 .. at + i. One query at a time, so for many rows
 * from position 0 on attention_forward is faster; their twin is that one's.
 *
 * @param work  [attention_work_floats(max, C, NH)] */
void attention_store(void *keys, void *values, const void *qkv, dtype type, size_t at, size_t rows,
                     size_t max, size_t C, size_t NH);
void attention_cached(void *out, const void *keys, const void *values, const void *qkv, dtype type,
                      size_t at, size_t rows, size_t max, size_t C, size_t NH, float *work);

/** out(N, C) = residual + act in, each element of `in` dropped with probability `dropout` (kept
 * ones divided by 1 - dropout) by word of element index + n C + c; dropout 0 draws nothing. out may
 * be residual. */
void residual_add(float *out, const float *residual, const void *in, dtype type, size_t count,
                  double dropout, noise_key key, uint64_t index);
/** act out = float in, dropped by the same words and scaled: the backward of residual_add. */
void residual_grad(void *out, dtype type, const float *in, size_t count, double dropout,
                   noise_key key, uint64_t index);
/** in place on fp32: dropout of the embeddings, forward and backward alike. */
void dropout_apply(float *values, size_t count, double dropout, noise_key key, uint64_t index);

/** Cross-entropy of rows of logits(N, V) (row length ldv), fp32 chunk: losses[N] = lse - logit of
 * the target. When dlogits is not NULL it gets (softmax - onehot) * scale in `type`, [N, ldd], and
 * the logits are used up. */
void cross_entropy(float *losses, void *dlogits, size_t ldd, dtype type, float *logits, size_t ldv,
                   const uint16_t *targets, size_t N, size_t V, double scale);

/** Gaussian loss of rows of values(N, O) with the same variance everywhere: losses[N] = sum over
 * the row of (value - target)^2 / (2 variance) + ln(2 pi variance) / 2. When dvalues(N, O) is not
 * NULL it gets (value - target) / variance * scale in `type`. */
void gaussian(float *losses, void *dvalues, dtype type, const float *values, const float *targets,
              size_t N, size_t O, double variance, double scale);

#endif
