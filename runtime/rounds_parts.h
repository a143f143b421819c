/** What the files of rounds share. */
#ifndef VARIO_RUNTIME_ROUNDS_PARTS_H
#define VARIO_RUNTIME_ROUNDS_PARTS_H

#include "runtime/rounds.h"

/** Factor of an item's gradient with a norm: 1 where norms are not clipped by item. */
float rounds_clip_factor(const rounds *r, double norm_squared);

/** The step is not made, for what was found of an item. */
void rounds_skip(step_result *result, uint64_t item, uint64_t bad_unit);

/** What an item's norm means for the step. */
void rounds_note_norm(rounds *r, step_result *result, uint64_t item, double norm_squared,
                      uint64_t bad_unit);

/** Where norms are asked for of items that are sums of parts: join what is here, and note the norms
 * of the items that are whole; collective. */
void rounds_join_measured(rounds *r, step_result *result);

/** What adds up pieces that are all here. */
void rounds_consume(void *context, size_t unit_number);

/** Add this rank's own item to its local sums. */
void rounds_sum_locally(rounds *r, size_t unit_number);

#endif
