/** Element-wise arithmetic of optimizers that take a matrix whole: EVON, SOAP, Muon. What turns it
 * into a basis and back stands in optimizer/basis.h, formulas in docs/numerics.md.
 *
 * A matrix is a tensor, or some of its columns (GPT-2's c_attn is three matrices): in the tensor
 * its rows lie `stride` elements apart, in arrays of its own it is contiguous. As in
 * optimizer/optimizer.h no MPI, no allocation, no I/O, and bits that do not depend on the number of
 * threads. */
#ifndef VARIO_OPTIMIZER_MATRIX_H
#define VARIO_OPTIMIZER_MATRIX_H

#include "base/parameters.h"
#include "kernels/noise.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Where a matrix lies: element (r, c) is element r * stride + c counted from its first one, in the
 * tensor's arrays and in the logical parameter vector. */
typedef struct {
    size_t rows, columns;
    size_t stride;  /**< at least columns: the tensor's row length */
    uint64_t index; /**< logical index of the first element */
} matrix_place;

/** out = scale * in: a mean, or an item's gradient as it came.
 * @param out   (rows, columns) contiguous
 * @param in    its first element in the tensor, of type */
void matrix_load(float *out, const void *in, dtype type, float scale, const matrix_place *at);

/** out = sigma E: deviations in the basis, sigma = 1 / sqrt(lambda (h + delta)) and E the normals
 * of the matrix's elements, those that sample_weights draws.
 * @param out, h  (rows, columns) contiguous */
void matrix_deviations(float *out, const float *h, double lambda, double delta,
                       const matrix_place *at, noise_key key);

/** theta = m + d in type; bf16: rounded stochastically with the element's own bits, as
 * sample_weights does.
 * @param theta, m  first elements in the tensor
 * @param d         (rows, columns) contiguous: deviations that were turned back */
void matrix_sample(void *theta, dtype type, const float *m, const float *d, const matrix_place *at,
                   noise_key key);

/** Add a work item's gradient in the basis to the owner's sums: g_sum += g, f_sum += E g.
 * @param g_sum, f_sum, g  (rows, columns) contiguous; f_sum NULL: no Hessian's sum
 * @param first  what the sums held is forgotten: they begin at +0
 * @param key    that the item's weights were drawn with */
void matrix_accumulate(float *g_sum, float *f_sum, bool first, const float *g,
                       const matrix_place *at, noise_key key);

/** m <- m - (shrink m + lr u)
 * @param m       its first element in the tensor
 * @param u       (rows, columns) contiguous, turned back
 * @param shrink  lr times a decay that the direction does not have in it; 0 for EVON */
void matrix_move(float *m, const float *u, double lr, double shrink, const matrix_place *at);

/** out = scale * in, rounded to type. [count] each; an out of fp32 may be in */
void matrix_scale(void *out, dtype type, const float *in, float scale, size_t count);

/** out = c[0] + c[1] x + c[2] y, c[0] on the diagonal: a polynomial of a matrix and its square,
 * (n, n) each in type. bf16 is rounded once. out may be x. */
void matrix_polynomial(void *out, const void *x, const void *y, dtype type, const float c[3],
                       size_t n);

typedef struct {
    double lambda, delta; /**< as in ivon_step */
    double beta1, beta2;
    double clip;      /**< estimates of h are cut off at +-clip |h|; infinity for not at all */
    uint64_t updates; /**< n: updates made, this one included */
    bool debias;      /**< divide the momentum by 1 - beta1^n */
    bool nesterov;    /**< look ahead (Dozat, 2016) */
} evon_step;

/** EVON in the basis (Minut et al., 2026): update h and momentum in place from the sums of a step,
 * and give the direction u, yet to be turned back and whitened.
 *
 * With g = g_scale g_sum and f = f_scale f_sum / sigma, cut off at +-clip |h|, sigma and clip by
 * the old h: h, momentum and the denominator of u as in ivon_update, without a clip of the update;
 * u = (m + delta mean) / (h + delta), new h, with m = momentum / (1 - beta1^n), and with Nesterov's
 * look ahead beta1 m + (1 - beta1) g for m.
 *
 * @param u        out; may be mean
 * @param mean     of the weights, in the basis
 * @param cut      += how many estimates were cut off
 * @param rescued  += how many elements kept their old h, because h + delta would not have stayed
 *                 positive and finite
 */
void evon_update(float *u, float *h, float *momentum, const float *mean, const float *g_sum,
                 const float *f_sum, double g_scale, double f_scale, const evon_step *step,
                 size_t count, uint64_t *cut, uint64_t *rescued);

typedef struct {
    double beta1, beta2, epsilon;
    uint64_t updates; /**< n, this one included */
} soap_step;

/** SOAP in the basis (Vyas et al., 2024), which is Adam there: with g = g_scale g_sum
 * v <- beta2 v + (1 - beta2) g^2, momentum likewise, and
 * u = momentum / (1 - beta1^n) / (sqrt(v / (1 - beta2^n)) + epsilon). [count] each */
void soap_update(float *u, float *v, float *momentum, const float *g_sum, double g_scale,
                 const soap_step *step, size_t count);

/** Muon's momentum (Jordan et al., 2024), of weights: momentum <- beta momentum + (1 - beta) g, and
 * u = momentum, or beta momentum + (1 - beta) g with Nesterov's look ahead, yet to be whitened.
 * [count] each */
void muon_update(float *u, float *momentum, const float *g_sum, double g_scale, double beta,
                 bool nesterov, size_t count);

#endif
