/** Curvature from squared gradients: arithmetic on parts of one tensor. No MPI, no allocation, no
 * I/O; element-wise, so bits depend neither on the number of threads nor on where a part begins. */
#ifndef VARIO_POSTERIOR_CURVATURE_H
#define VARIO_POSTERIOR_CURVATURE_H

#include <stddef.h>
#include <stdint.h>

/** sums += part. [count] each; may not alias. */
void curvature_add(float *sums, const float *part, size_t count);

/** Make h, at least `least`, of sums of squared gradients: h = max(scale h, least).
 *
 * Where g_i is the gradient of item i's mean loss over R rows, the diagonal of the empirical
 * Fisher information of a row is R times the mean over items of g_i^2, up to the products of
 * different rows' gradients, which vanish in expectation at a minimum (docs/posterior.md).
 *
 * @param h       [count] in: sums of g_i^2, out: the Hessian
 * @param scale   R over the number of items
 * @param raised  added to: elements that were below min
 * @return the first element that is not finite; count when all are
 */
size_t curvature_finish(float *h, double scale, double min, size_t count, uint64_t *raised);

#endif
