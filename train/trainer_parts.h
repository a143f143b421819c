/** What the files of the trainer share. */
#ifndef VARIO_TRAIN_TRAINER_PARTS_H
#define VARIO_TRAIN_TRAINER_PARTS_H

#include "train/trainer.h"

/** The model's hooks on a trainer. */
model_hooks trainer_hooks(trainer *r);

/** The rounds of step t: the gradients of `items` work items, added up by their owners in the order
 * of items; nothing is updated. Collective. As trainer_step but for that.
 * @param items  at most those of a step */
status trainer_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items,
                      step_result *result);

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
