/** What the files of rounds share. */
#ifndef VARIO_RUNTIME_ROUNDS_PARTS_H
#define VARIO_RUNTIME_ROUNDS_PARTS_H

#include "runtime/rounds.h"

/** Factor of an item's gradient: 1 where norms are not clipped by item. */
float rounds_clip_factor(const rounds *r, size_t from);

/** What adds up pieces that are all here. */
void rounds_consume(void *context, size_t unit_number);

/** Add this rank's own item to its local sums. */
void rounds_sum_locally(rounds *r, size_t unit_number);

#endif
