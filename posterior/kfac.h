/** A posterior with correlations within each linear layer: the Kronecker-factored Laplace
 * approximation (Ritter, Botev and Barber, ICLR 2018). No MPI, no allocation, no I/O.
 *
 * A layer y = x W with a row x of inputs, the 1 of its bias included, has the precision
 *
 *     lambda A (x) G + tau I        A = mean of x^T x, G = mean of g^T g
 *
 * over the weights (in, out) row after row, g the gradient of a row's loss by y. With A = U a U^T
 * and G = V b V^T its eigenvectors are those of U (x) V and its eigenvalues lambda a_i b_j + tau.
 */
#ifndef VARIO_POSTERIOR_KFAC_H
#define VARIO_POSTERIOR_KFAC_H

#include "kernels/noise.h"

#include <stddef.h>

/** Rows of inputs for dense_add_squares: out(rows, width + bias) = x(rows, width) with a 1 for the
 * bias (1), or without (0). */
void kfac_widen_inputs(double *out, const float *x, size_t rows, size_t width, size_t bias);

/** Rows of gradients: out(rows, width) = factor roots_r x_r. @param roots  [rows] */
void kfac_widen_gradients(double *out, const float *x, double factor, const double *roots,
                          size_t rows, size_t width);

/** Make the mean of a sum, whole from its lower triangle. @return its trace */
double kfac_mean(double *factor, double rows, size_t n);

/** Eigenvectors and eigenvalues of a layer's factors, as dense_eigen gives them. */
typedef struct {
    const double *u, *a; /**< (in, in), [in] */
    const double *v, *b; /**< (out, out), [out] */
    size_t in, out;
    double lambda, tau;
} kfac_layer;

/** z becomes the symmetric root of the covariance times z.
 *
 *     U (S o (U^T z V)) V^T        S_ij = 1 / sqrt(lambda max(a_i, 0) max(b_j, 0) + tau)
 *
 * A function of A and G alone, whatever eigenvectors are chosen where eigenvalues coincide; of
 * diagonal factors, as other posteriors draw: element by element.
 *
 * @param z     (in, out)
 * @param work  (in, out)
 */
void kfac_spread(double *z, double *work, const kfac_layer *l);

/** The normals of elements [first, first + count), in double. */
void kfac_noise(double *z, noise_key key, uint64_t first, size_t count);

#endif
