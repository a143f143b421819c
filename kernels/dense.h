/** Dense linear algebra in double, by OpenBLAS. Matrices are row-major and contiguous; the bits of
 * a result depend on the shapes and the number of threads alone. */
#ifndef VARIO_KERNELS_DENSE_H
#define VARIO_KERNELS_DENSE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/** Load the library (kernels/fortran.h), before anything else here; later calls set the threads.
 * @return STATUS_OK or STATUS_IO: LAPACK or a function of it is missing */
status dense_open(int threads);

/** The lower triangle of sum(n, n) += x^T x, x (rows, n). */
void dense_add_squares(double *sum, const double *x, size_t rows, size_t n);

/** out(m, n) = A(m, k) B(k, n); A is stored (k, m) when transpose_a, B (n, k) when transpose_b. */
void dense_product(double *out, const double *a, bool transpose_a, const double *b,
                   bool transpose_b, size_t m, size_t n, size_t k);

enum { DENSE_WIDEST = 32000 /**< for dense_eigen: LAPACK counts its work in int */ };

/** Doubles of dense_eigen's work. */
size_t dense_eigen_work(size_t n);

/** Eigenvalues and eigenvectors of a symmetric matrix, by divide and conquer (LAPACK's dsyevd).
 *
 * @param a       (n, n) in: the lower triangle, out: row i is eigenvector i, of length 1
 * @param values  [n] out, rising
 * @param work    [dense_eigen_work(n)]
 * @param n       at most DENSE_WIDEST
 * @return whether it converged, as it does for finite matrices
 */
bool dense_eigen(double *a, double *values, double *work, size_t n);

#endif
