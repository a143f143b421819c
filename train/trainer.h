/** One rank of a training run: everything that a step needs, allocated once. */
#ifndef VARIO_TRAIN_TRAINER_H
#define VARIO_TRAIN_TRAINER_H

#include "io/checkpoints/checkpoint.h"
#include "io/jobs/job.h"
#include "runtime/rounds.h"
#include "runtime/weights.h"
#include "train/dataset.h"

typedef struct {
    const job *job;
    dtype precision; /**< in use: the job's, or fp32 where bf16 is missing */
    rounds rounds;   /**< the ranks, their parameters and state */
    weights weights;
    model_config config;
    model *model;
    model_hooks hooks;
    dataset_batch batch; /**< what it computes on */
    float *losses;       /**< [sequences * length], for evaluation */
} trainer;

/** Bytes of this rank's arenas by what they are for, to the byte. */
typedef struct {
    size_t state, weights, gradients, pieces, activations, staging;
    size_t node;        /**< of the state: what lies once a node, and is one of its ranks' */
    size_t sensitivity; /**< of an estimator beside it (train/estimator.h), by who opens it */
} trainer_memory;

/** Plan a rank's memory; not collective.
 * @param with      the job's settings, and where the rank is (settings_place)
 * @param training  as trainer_open's */
status trainer_plan(const job *j, const runtime_settings *with, const sharding *owned,
                    dtype precision, bool training, trainer_memory *memory);

/** What a rank's libraries allocate beside it when they are first used. */
enum { TRAINER_BESIDE = 8 << 20 };

/** All of it. */
size_t trainer_memory_sum(const trainer_memory *m);

/** Refuse what this rank's node has not the memory for (runtime/free_memory.h); collective.
 * @param m  this rank's plan (local)
 * @return STATUS_OK or STATUS_NOMEM, the same on all ranks */
status trainer_check_memory(const job *j, const comm *c, const trainer_memory *m);

/** Open, after the memory was checked (trainer_check_memory); collective.
 * @param training  false: evaluation only, no gradients */
status trainer_open(trainer *r, const job *j, comm *c, dtype precision, bool training);

/** The same for training with settings that are not the job's, and the norm of every item's
 * gradient. */
status trainer_open_measuring(trainer *r, const job *j, const runtime_settings *with, comm *c,
                              dtype precision);
void trainer_close(trainer *r);

/** The posterior after so many steps of the job: its ess may be on a course. */
void trainer_set_ess(trainer *r, uint64_t done);

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

/** Whether a step has work for so many ranks; not collective.
 * @param launch  where the number comes from, which the message begins with
 * @return STATUS_OK or STATUS_INPUT */
status trainer_check_ranks(const job *j, const char *launch, uint64_t ranks);

#endif
