/** Reference twins in double: one plain loop nest an operation, what the fast kernels and the
 * model are tested against. Arrays are double; the same shapes, no dropout, no types. */
#ifndef VARIO_KERNELS_REFERENCE_H
#define VARIO_KERNELS_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void reference_gemm(size_t m, size_t n, size_t k, const double *a, size_t lda, bool transpose_a,
                    const double *b, size_t ldb, bool transpose_b, double *out, size_t ldc,
                    const double *bias, bool accumulate);
void reference_gemv(size_t n, size_t k, const double *x, const double *b, size_t ldb,
                    bool transpose_b, double *out, const double *bias);
void reference_embedding_forward(double *residual, const double *wte, const double *wpe,
                                 const uint16_t *tokens, size_t B, size_t T, size_t C);
void reference_embedding_backward(double *dwte, double *dwpe, const double *dresidual,
                                  const uint16_t *tokens, size_t B, size_t T, size_t C, size_t V,
                                  size_t block_size);
void reference_layernorm_forward(double *out, double *mean, double *rstd, const double *in,
                                 const double *gain, const double *bias, size_t N, size_t C);
void reference_layernorm_backward(double *din, double *dgain, double *dbias, const double *dout,
                                  const double *in, const double *gain, const double *mean,
                                  const double *rstd, size_t N, size_t C);
void reference_gelu_forward(double *out, const double *in, size_t count);
void reference_gelu_backward(double *din, const double *dout, const double *in, size_t count);
void reference_tanh_forward(double *out, const double *in, size_t count);
void reference_tanh_backward(double *din, const double *dout, const double *in, size_t count);
void reference_relu_forward(double *out, const double *in, size_t count);
void reference_relu_backward(double *din, const double *dout, const double *in, size_t count);
void reference_attention_forward(double *out, double *lse, const double *qkv, size_t B, size_t T,
                                 size_t C, size_t NH);
void reference_attention_backward(double *dqkv, const double *dout, const double *qkv,
                                  const double *out, const double *lse, size_t B, size_t T,
                                  size_t C, size_t NH);
void reference_cross_entropy(double *losses, double *dlogits, const double *logits,
                             const uint16_t *targets, size_t N, size_t V, double scale);
void reference_gaussian(double *losses, double *dvalues, const double *values,
                        const double *targets, size_t N, size_t O, double variance, double scale);

#endif
