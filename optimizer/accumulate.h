/** Sums of gradient pieces, one thread: the loop that accumulate_piece deals out, for a pass that
 * uses the sums at once. */
#ifndef VARIO_OPTIMIZER_ACCUMULATE_H
#define VARIO_OPTIMIZER_ACCUMULATE_H

#include "optimizer/optimizer.h"

/** Add elements at .. at + n - 1 of a slice's piece to g [n] and f [n] (NULL: no Hessian's sum).
 * @param index  logical index of the slice's first element */
void accumulate_run(float *g, float *f, const gradient_piece *piece, hessian_kind hessian,
                    uint64_t index, size_t at, size_t n);

#endif
