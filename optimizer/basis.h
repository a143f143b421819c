/** Bases that a matrix of weights is turned into: the eigenvectors of Shampoo's two factors,
 * followed by SOAP's power iteration (Vyas et al., SOAP, 2024, arXiv 2409.11321, algorithms 3 and
 * 4), in which EVON has its posterior (Minut et al., 2026, arXiv 2606.23357); and Muon's whitening
 * (Jordan et al., Muon, 2024). What is done to elements stands in optimizer/matrix.h.
 *
 * One whole matrix on one rank, row-major and contiguous, in fp32, operands of products in bf16
 * where the caller says so. No MPI, no allocation but gemm's, no I/O. kernels_open and
 * dense_float_open have been called. Threaded; the bits of a result depend on the shapes and the
 * number of threads alone. */
#ifndef VARIO_OPTIMIZER_BASIS_H
#define VARIO_OPTIMIZER_BASIS_H

#include "base/parameters.h"

#include <stdbool.h>
#include <stddef.h>

/** The bases of a matrix (rows, columns); left and left_factor are NULL where the left one is the
 * identity, as are right and right_factor. The arrays are the caller's, who starts factors at 0. */
typedef struct {
    size_t rows, columns; /**< at most DENSE_FLOAT_WIDEST where a side has a basis */
    dtype type;           /**< of operands where matrices and gradients are turned, and of the
                               factors' gradients; the bases' own iteration is in fp32 */
    float *left;          /**< Q_L (rows, rows), orthonormal: column j is vector j */
    float *right;         /**< Q_R (columns, columns) */
    float *left_factor;   /**< L (rows, rows), symmetric, both triangles */
    float *right_factor;  /**< R (columns, columns) */
} basis;

/** Floats of the work that every function on bases may use, aligned as malloc does.
 * @param left, right  whether that side has a basis */
size_t basis_work_floats(size_t rows, size_t columns, bool left, bool right);

/** out = Q_L' x Q_R: into the basis. (rows, columns) each; out is not x. */
void basis_project(float *out, const float *x, const basis *b, float *work);

/** out = Q_L x Q_R': back out of it. */
void basis_unproject(float *out, const float *x, const basis *b, float *work);

/** L <- s L + (1 - s) G G', R <- s R + (1 - s) G' G with G = scale * g, of weights, not of the
 * basis.
 * @param g  (rows, columns), finite: what is not stays in the factors for good */
void basis_follow(const basis *b, const float *g, double scale, double s, float *work);

/** Q_L, Q_R <- eigenvectors of L, R by falling eigenvalue; of each the first of its largest
 * components is positive.
 * @return false: a factor is not finite, or LAPACK did not converge; the bases are as they were */
bool basis_begin(const basis *b, float *work);

/** A step of the power iteration, for both sides: columns of Q are put in the order of falling
 * q' L q, equal ones as they were, then Q <- the orthonormal factor of L Q with R's diagonal not
 * negative, so that vectors go on from where they were.
 *
 * Momentum, which is linear in the gradients, is turned with the basis: it means the same matrix of
 * weights before and after. What belongs to single directions (h, SOAP's v) has no such meaning
 * outside of its basis: it goes with its columns when they change places, and the turn that follows
 * leaves it alone.
 *
 * @param momentum     (rows, columns) in the basis, in and out; or NULL
 * @param directional  (rows, columns) in the basis, in and out; or NULL
 * @return false: factors are not finite, or LAPACK failed; nothing was changed
 */
bool basis_turn(const basis *b, float *momentum, float *directional, float *work);

/** Whether the columns of Q are orthonormal, by Q' Q z = z to 1e-3 for a vector z of signs: that it
 * holds by chance where they are not is next to impossible.
 * @param q     (n, n)
 * @param work  [n] */
bool basis_is_orthonormal(const float *q, size_t n, float *work);

/** x <- its nearest matrix with equal singular values, nearly: five Newton-Schulz steps
 * X <- (a + b A + c A^2) X, A = X X', (a, b, c) = (3.4445, -4.7750, 2.0315), from x / (|x| + 1e-7)
 * with Frobenius' norm, which is summed in double. Where rows > columns the transpose is meant, on
 * whose smaller side A stands. Singular values from 1/500 of the norm on end between 0.68 and 1.21,
 * smaller ones lower. Turning x before or after is the same.
 * @param type  of the products' operands; in bf16 (as Muon's own) each singular value is the
 *              polynomial's of one within some 2^-8 of the largest beside it
 * @param work  [whiten_work_floats(rows, columns)], which basis_work_floats has room for */
void whiten(float *x, size_t rows, size_t columns, dtype type, float *work);
size_t whiten_work_floats(size_t rows, size_t columns);

#endif
