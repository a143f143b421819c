/** Dense linear algebra in fp32, by OpenBLAS, as kernels/dense.h has it in double: matrices are
 * row-major and contiguous; the bits of a result depend on the shapes and the number of threads
 * alone. Products in fp32 are kernels/kernels.h's. */
#ifndef VARIO_KERNELS_DENSE_FLOAT_H
#define VARIO_KERNELS_DENSE_FLOAT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/** Load the library (kernels/fortran.h), before anything else here; later calls set the threads.
 * @return STATUS_OK or STATUS_IO: LAPACK or a function of it is missing */
status dense_float_open(int threads);

enum { DENSE_FLOAT_WIDEST = 32000 /**< for what stands below: LAPACK counts its work in int */ };

/** Eigenvectors of a symmetric matrix, by divide and conquer (LAPACK's ssyevd).
 *
 * @param a     (n, n) in: the lower triangle, finite; out: row i is eigenvector i, of length 1, by
 *              rising eigenvalue
 * @param work  [dense_float_eigen_work(n)], as malloc aligns
 * @param n     at least 1, at most DENSE_FLOAT_WIDEST
 * @return whether it converged, as it does for finite matrices
 */
bool dense_float_eigen(float *a, float *work, size_t n);
size_t dense_float_eigen_work(size_t n); /**< floats */

/** Q of A = Q R with R's diagonal not negative, by Householder's reflections (LAPACK's sgeqrf and
 * sorgqr). Where A has lost rank its columns of Q are some that are orthonormal, too.
 *
 * @param a     (n, n) in: row i is column i of A, finite; out: row i is column i of Q
 * @param work  [dense_float_orthogonalize_work(n)]
 * @param n     at least 1, at most DENSE_FLOAT_WIDEST
 * @return whether LAPACK took it
 */
bool dense_float_orthogonalize(float *a, float *work, size_t n);
size_t dense_float_orthogonalize_work(size_t n); /**< floats */

#endif
