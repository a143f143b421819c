/** What the files of the trainer share. */
#ifndef VARIO_RUNTIME_TRAINER_PARTS_H
#define VARIO_RUNTIME_TRAINER_PARTS_H

#include "runtime/trainer.h"

/** Clipping an item needs its whole gradient's norm, so its pieces wait for the round's end. */
bool trainer_holds_round(const job *j);

/** The update takes the pieces of a step's last round, unless the step is logged or the gradients
 * are huge: then no sum has to be known before. */
bool trainer_takes_pieces(const job *j);

/** Ranks add up their own items and exchange sums once a step (none, optimizer). */
bool trainer_sums_locally(const job *j);

/** Noise of the item that a rank computes in the round in progress. */
noise_key trainer_item_key(const trainer *r, size_t from);

/** Factor of that item's gradient: 1 where norms are not clipped by item. */
float trainer_clip_factor(const trainer *r, size_t from);

/** Open and close all that needs no model; p, c, job and training are set, and p is closed with it.
 * Not collective. */
status trainer_open_exchange(trainer *r);
void trainer_close_exchange(trainer *r);

/** Bytes of the buffers that gradients are written to. */
status trainer_gradient_bytes(const job *j, const sharding *owned, size_t *bytes);

/** Begin step t of so many work items, and a round of them, one a rank from rank 0 on; local. */
void trainer_begin_step(trainer *r, uint64_t t, uint64_t items, step_result *result);
void trainer_begin_round(trainer *r, uint64_t first);

/** After the hooks had every unit's gradient of this rank's item: what the round's facts mean for
 * the step is in the result; collective.
 * @param mine  loss and flags of this rank */
void trainer_share_round(trainer *r, round_facts mine, step_result *result);

/** Whether a rank could not read its item: it goes through the round with the others, so that none
 * waits in vain. */
bool trainer_any_failed(const trainer *r);

/** Use all pieces of a round: before the next, and of a step's last one where it is given up. */
void trainer_end_round(trainer *r);

/** After the last round, whose pieces are still to be used: update, unless the result says that the
 * step is skipped or becomes so. Collective. */
void trainer_finish_step(trainer *r, step_result *result, state_statistics *statistics);

/** Set the model's hooks, and what adds up pieces. */
model_hooks trainer_hooks(trainer *r);
void trainer_consume(void *context, size_t unit_number);

/** The rounds of step t: the gradients of `items` work items, added up by their owners in the order
 * of items; nothing is updated. Collective. As trainer_step but for that.
 * @param items  at most those of a step */
status trainer_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items,
                      step_result *result);

/** Add this rank's own item to its local sums. */
void trainer_sum_locally(trainer *r, size_t unit_number);

/** A pass of a rank without work: it enters everything in the same order. */
void trainer_idle_pass(trainer *r, bool backward);

/** A forward pass of every rank that has a batch; collective.
 *
 * @param b        this rank's, NULL without one
 * @param active   ranks 0 .. active - 1 have one (same on all ranks)
 * @param sample   draws the weights, NULL: the mean (same on all ranks)
 * @param dropout  its key, NULL: none (local)
 * @param visit    gets b's outputs
 */
void trainer_predict(trainer *r, const batch *b, size_t active, const noise_key *sample,
                     const noise_key *dropout, model_visit *visit, void *context);

#endif
