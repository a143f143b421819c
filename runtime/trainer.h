/** One rank of a training run: everything that a step needs, allocated once. */
#ifndef VARIO_RUNTIME_TRAINER_H
#define VARIO_RUNTIME_TRAINER_H

#include "io/job.h"
#include "runtime/comm.h"
#include "runtime/dataset.h"
#include "runtime/pieces.h"
#include "runtime/sharding.h"
#include "runtime/state.h"
#include "runtime/weights.h"

/** One rank's part of a round, known to all at its end. */
typedef struct {
    double loss, norm_squared;
    double bad_unit; /**< first unit with a gradient that is not finite, or unit_count */
    double stop, written, failed; /**< flags */
} round_facts;

typedef struct {
    const job *job;
    comm *c;
    dtype precision; /**< in use: the job's, or fp32 where bf16 is missing */
    parameters p;
    sharding owned;
    state state;
    weights weights;
    pieces pieces;
    model_config config;
    model *model;
    model_hooks hooks;
    bool direct; /**< gradients are written where their pieces are kept */
    arena gradients_arena;
    slots gradients;
    double *norm_blocks; /**< scratch for one tensor's norm */
    noise_key *keys;     /**< [P] of the round */
    round_facts *facts;  /**< [P] of the round */
    dataset_batch batch; /**< what it computes on */
    float *losses;       /**< [sequences * length], for evaluation */
    bool training;
    /* The step and round in progress. */
    uint64_t t, items;   /**< step, and its work items */
    uint64_t first_item; /**< of rank 0 in this round */
    size_t senders;
    bool exchanging_hessian; /**< pieces carry f (none, optimizer) */
    double norm_squared, bad_unit;
    double norm_most;          /**< largest squared norm of the step's items */
    uint64_t gradient_clipped; /**< items */
    state_report *updating; /**< the update that takes the round's pieces; NULL: they are summed */
} trainer;

typedef struct {
    double loss; /**< mean of the step's sampled losses */
    double gradient_clip_fraction;
    bool stopped; /**< a rank wants to stop: nothing was changed */
    bool written; /**< every rank's checkpoint writer was done */
    bool skipped; /**< a loss or norm was not finite: parameters are unchanged */
    size_t bad_unit;
    uint64_t bad_item;   /**< the first, where skipped */
    double norm_squared; /**< sum over the items whose norms are measured */
    state_report report;
} step_result;

/** Bytes of this rank's arenas by what they are for, to the byte. */
typedef struct {
    size_t state, weights, gradients, pieces, activations, staging, sensitivity;
} trainer_memory;

/** Plan a rank's memory; not collective. */
status trainer_plan(const job *j, const sharding *owned, dtype precision, trainer_memory *memory);

/** @param training  false: evaluation only, no gradients
 * Collective. */
status trainer_open(trainer *r, const job *j, comm *c, dtype precision, bool training);
void trainer_close(trainer *r);

/** Read mean and posterior of a run's (or a checkpoint's) directory, for evaluation; collective. */
status trainer_read(trainer *r, const char *path, checkpoint_facts *facts);

/** Run step t; collective. Its time is counted in c->timing.
 * @param written     this rank's checkpoint writer is done (or there is none)
 * @param statistics  out, may be NULL
 * @return STATUS_OK or STATUS_INPUT (a bad token), the same on all ranks; parameters unchanged */
status trainer_step(trainer *r, const dataset *data, uint64_t t, bool written, step_result *result,
                    state_statistics *statistics);

/** What a validation finds; NAN for what was not asked for. */
typedef struct {
    double loss;     /**< at the mean, nats a row: a token or an example */
    double averaged; /**< -log of the mean over samples of the row's probability or density */
    double accuracy; /**< share of the examples whose class has the largest output, at the mean */
    double accuracy_averaged; /**< the same of the mean probabilities */
} validation;

/** Validate on the first `batches` batches (0: all); collective, the same bits whatever the number
 * of ranks.
 * @param samples  posterior samples to average over, 0 for none */
status trainer_evaluate(trainer *r, const dataset *data, uint64_t batches, uint64_t samples,
                        validation *out);

/** Work items of a step: G K. */
uint64_t trainer_items(const job *j);

#endif
