/** Passes of a model of one's own beside a trainer: at the trainer's mean, without dropout, a batch
 * a rank and round. Sensitivities, Jacobians and K-FAC are made of them. */
#ifndef VARIO_ANALYSIS_MEAN_PASS_H
#define VARIO_ANALYSIS_MEAN_PASS_H

#include "train/trainer.h"

/** The first member of whoever makes passes: hooks get its address for their context. */
typedef struct {
    trainer *r;
    job job; /**< the trainer's, without dropout and with batches of its own */
    model_config config;
    model_shape shape;
    layout layout;   /**< of gradients, fp32 */
    slots gradients; /**< of a pass for training */
    arena arena;     /**< of these */
    model *model;
    model_hooks hooks; /**< layer and gradients_done may be replaced once it is open */
    dataset_batch batch;
} mean_pass;

/** What the passes are for. */
typedef enum {
    MEAN_PASS_TRAINING, /**< gradients of the mean loss */
    MEAN_PASS_VARIANCES /**< of examples: model_variances and model_jacobian */
} mean_pass_kind;

/** Settle job and shape; allocates the layout alone. mean_pass_close takes it after a failure too.
 * @param p          of the job's model, kept
 * @param sequences  of a batch
 * @return STATUS_OK or STATUS_NOMEM (local) */
status mean_pass_plan(mean_pass *m, const job *j, const parameters *p, dtype precision,
                      size_t sequences, mean_pass_kind kind);

/** Bytes that mean_pass_open allocates for model and gradients, to the byte. */
size_t mean_pass_bytes(const mean_pass *m, const parameters *p);

/** Allocate, after mean_pass_plan; not collective.
 * @param r  kept, must outlive *m
 * @return STATUS_OK or STATUS_NOMEM */
status mean_pass_open(mean_pass *m, trainer *r);
void mean_pass_close(mean_pass *m);

/** Begin a pass, which mean_pass_end ends; collective.
 * @param active    ranks from this on have no batch (same on all ranks)
 * @param backward  (same on all ranks)
 * @param works     this rank has one (local): else it has nothing to do until the end
 * @return works */
bool mean_pass_begin(mean_pass *m, size_t active, bool backward, bool works);
void mean_pass_end(mean_pass *m);

/** Of rows 0 .. count - 1, `max` a batch: those of batch b, 0 past the end. */
static inline size_t mean_pass_rows(uint64_t count, uint64_t max, uint64_t b)
{
    if (b * max >= count) return 0;
    return (size_t)(count - b * max < max ? count - b * max : max);
}

/** Ranks that have a batch of them in a round. */
size_t mean_pass_active(const mean_pass *m, uint64_t count, uint64_t max, uint64_t round);

/** The gradient of tensor i, which the pass has just written. */
const float *mean_pass_gradient(const mean_pass *m, size_t i);

#endif
