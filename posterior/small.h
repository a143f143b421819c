/** Small dense matrices, of the order of a model's outputs: loops, no library. */
#ifndef VARIO_POSTERIOR_SMALL_H
#define VARIO_POSTERIOR_SMALL_H

#include <stddef.h>

/** Cholesky's factor: A = L L', row after row in the lower triangle, in place. What rounding made
 * negative on the diagonal is 0, and so is all below it. */
void small_factor(double *a, size_t n);

/** x becomes A^-1 x for symmetric positive definite A (n, n), which becomes its factor. Where A is
 * singular numbers are not finite. */
void small_solve(double *a, double *x, size_t n);

#endif
