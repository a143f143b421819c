/** Dense matrices in double precision, dealt out to all ranks, and what is done with them: sums of
 * outer products, Cholesky factors, solutions, inverses, eigenvalues.
 *
 * A matrix lies in square blocks, cyclically, on a grid of processes that is as square as the
 * number of ranks allows; where its elements are is this folder's business. Symmetric matrices keep
 * their lower triangle. Everything here is collective over the grid's ranks unless it says
 * otherwise, and a failure is the same status, with the same message, on all of them. Vectors are
 * whole on every rank. Sums are made in an order that depends on the number of ranks, so bits do,
 * too: agreement is up to rounding.
 */
#ifndef VARIO_EXACT_MATRIX_H
#define VARIO_EXACT_MATRIX_H

#include "base/status.h"
#include "runtime/mpi_calls.h"

#include <stddef.h>

/** All ranks of a communicator. */
typedef struct exact_grid exact_grid;

/** A matrix of rows x columns. */
typedef struct exact_matrix exact_matrix;

/** Arrange the ranks, and load ScaLAPACK.
 * @param world    duplicated
 * @param threads  of a rank, for products (local)
 * @return STATUS_OK, STATUS_IO (ScaLAPACK is not there), STATUS_NOMEM; then *g is NULL */
status exact_grid_open(exact_grid **g, MPI_Comm world, int threads);
void exact_grid_close(exact_grid **g);

/** The grid's shape, which has grid[0] <= grid[1]; not collective. */
void exact_grid_shape(const exact_grid *g, int grid[2]);

/** Refuse what does not fit the ranks before anything is allocated (runtime/free_memory.h).
 *
 * @param what      for the message: "50000 unknowns"
 * @param order     of square matrices of so many rows (same on all ranks)
 * @param matrices  how many of them there will be at once
 * @param more      bytes that each rank needs beside them (local)
 * @return STATUS_OK; STATUS_NOMEM: more than is free; STATUS_INPUT: more than ScaLAPACK counts;
 *         with the arithmetic that says so */
status exact_check_memory(exact_grid *g, const char *what, size_t order, int matrices, size_t more);

/** Allocate zeros. @return STATUS_OK, STATUS_NOMEM (a rank ran out of memory) or STATUS_INPUT (more
 * elements than ScaLAPACK can count); then *m is NULL */
status exact_matrix_open(exact_matrix **m, exact_grid *g, size_t rows, size_t columns);
void exact_matrix_close(exact_matrix **m);

/** Take elements of a matrix that every rank has whole; not collective.
 * @param whole  (columns, rows): column after column */
void exact_set(exact_matrix *m, const double *whole);

/** Give every rank the whole matrix, for small ones. @param whole  as exact_set's, out */
void exact_get(const exact_matrix *m, double *whole);

/** Give one rank the whole matrix. @param whole  as exact_set's, out; only there */
void exact_collect(const exact_matrix *m, int rank, double *whole);

/** to = from, of the same shape; not collective. */
void exact_copy(exact_matrix *to, const exact_matrix *from);

/** All elements times a number; not collective. */
void exact_scale(exact_matrix *m, double factor);

/** Put columns where they belong: rank r's are columns first + r * max and on, where max is the
 * largest count of any rank, and ranks with fewer follow only ranks with as many.
 * @param columns  (count, rows) this rank's, one after the other
 * @return STATUS_OK or STATUS_NOMEM */
status exact_put_columns(exact_matrix *m, size_t first, const double *columns, size_t count);

/** A += sum of x x', over the vectors x of all ranks: n^2 k operations for k vectors.
 * @param a      symmetric, of order n
 * @param x      (count, n) this rank's, one after the other
 * @param count  local, may be 0
 * @return STATUS_OK or STATUS_NOMEM */
status exact_add_products(exact_matrix *a, const double *x, size_t count);

/** A = B'B + A, symmetric, of the columns of B. @param b  (n, order of A) */
void exact_add_gram(exact_matrix *a, const exact_matrix *b);

/** A_ii += d_i; not collective. @param d  [n] */
void exact_add_diagonal(exact_matrix *a, const double *d);

/** d_i = A_ii, of a symmetric matrix or of a triangle. @param d  [n] out */
void exact_diagonal(const exact_matrix *a, double *d);

/** y = A x. @param a  symmetric @param x, y  [n], apart */
void exact_multiply(const exact_matrix *a, const double *x, double *y);

/** B becomes A B, of several vectors. @param a  symmetric @param b  (count, n) whole on every rank
 * @return STATUS_OK or STATUS_NOMEM */
status exact_multiply_all(const exact_matrix *a, double *b, size_t count);

/** y = B'x. @param x  [rows] @param y  [columns] out */
void exact_multiply_transposed(const exact_matrix *b, const double *x, double *y);

/** A -= x x', of a symmetric matrix; not collective. @param x  [n] */
void exact_subtract_product(exact_matrix *a, const double *x);

/** The blocks of a symmetric matrix along its diagonal.
 * @param size    of a block, which divides the order
 * @param blocks  (n / size, size, size) out */
void exact_diagonal_blocks(const exact_matrix *a, size_t size, double *blocks);

/** A becomes its Cholesky factor L, A = L L'.
 *
 * Singular is what rounding could have made so: a pivot of at most n epsilon times the element that
 * it was before.
 *
 * @param bad  out: the first row whose pivot is not positive; n without such; may be NULL
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_NUMERIC: singular or indefinite, naming the row; then
 *         A is lost */
status exact_factor(exact_matrix *a, size_t *bad);

/** ln det A. @param l  of exact_factor */
double exact_log_determinant(const exact_matrix *l);

/** B becomes A^-1 B. @param l  of exact_factor @param b  (count, n) whole on every rank
 * @return STATUS_OK or STATUS_NOMEM */
status exact_solve(const exact_matrix *l, double *b, size_t count);

/** B becomes L'^-1 B: of standard normals vectors with covariance A^-1.
 * @param l  of exact_factor @param b  (count, n) whole on every rank
 * @return STATUS_OK or STATUS_NOMEM */
status exact_spread(const exact_matrix *l, double *b, size_t count);

/** diag(A^-1), by the inverse of L, which takes half of the operations of the whole inverse.
 * @param l  of exact_factor, lost @param d  [n] out
 * @return STATUS_OK or STATUS_NUMERIC */
status exact_inverse_diagonal(exact_matrix *l, double *d);

/** L becomes A^-1, symmetric. @param l  of exact_factor @return STATUS_OK or STATUS_NUMERIC */
status exact_invert(exact_matrix *l);

/** X' A^-1 X of groups of vectors.
 * @param l      of exact_factor
 * @param x      (count, n) this rank's vectors
 * @param count  local, a multiple of group, may be 0
 * @param group  vectors of a group (same on all ranks)
 * @param out    (count / group, group, group) out: this rank's groups
 * @return STATUS_OK or STATUS_NOMEM */
status exact_covariances(const exact_matrix *l, const double *x, size_t count, size_t group,
                         double *out);

/** Eigenvalues, ascending, and eigenvectors of a symmetric matrix, by divide and conquer.
 * @param a        symmetric, lost
 * @param values   [n] out
 * @param vectors  out: vector i is column i; as large as A
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_NUMERIC: it did not converge */
status exact_eigen(exact_matrix *a, double *values, exact_matrix *vectors);

/** GFLOP/s of the library's products in double precision, of all ranks at once and added up: the
 * median of several of `order` on each, which is what everything here is measured by.
 * @return STATUS_OK or STATUS_NOMEM */
status exact_product_rate(exact_grid *g, size_t order, double *rate);

#endif
