/* Opening and closing a rank's part of a run, and what it weighs. */
#include "kernels/kernels.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "train/trainer_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static model_shape shape_of(const job *j, dtype precision, bool training)
{
    return (model_shape){.sequences = job_sequences(j),
                         .length = j->batch.length,
                         .precision = precision,
                         .recompute = j->recompute,
                         .training = training};
}

status trainer_plan(const job *j, const runtime_settings *with, const sharding *owned,
                    dtype precision, bool training, trainer_memory *memory)
{
    model_shape shape = shape_of(j, precision, training);
    model_config config = job_model(j);
    *memory = (trainer_memory){.state = state_bytes(with, owned, training),
                               .activations = model_activation_bytes(&config, &shape)};
    memory->node = state_shared_bytes(with, owned, training);
    if (with->keeps) memory->state += memory->node;
    status result = weights_bytes(with, owned, precision, &memory->weights);
    if (result || !training) return result;
    rounds_memory ranks;
    result = rounds_plan(with, owned, &ranks);
    memory->gradients = ranks.gradients;
    memory->pieces = ranks.pieces;
    memory->staging = state_saved_bytes(with, owned);
    return result;
}

/* The fewest parts that so many ranks can share; 0: there are none. */
static uint64_t parts_for(const job *j, uint64_t ranks)
{
    uint64_t sequences = j->batch.sequences, items = job_settings(j).items;
    if (j->parallel.shard < SHARD_GRADIENTS || j->data.leave_out != UINT64_MAX) return 0;
    for (uint64_t parts = (ranks + items - 1) / items; parts <= sequences; parts++)
        if (sequences % parts == 0) return parts;
    return 0;
}

status trainer_check_ranks(const job *j, const char *launch, uint64_t ranks)
{
    const runtime_settings with = job_settings(j);
    uint64_t max = with.items * with.parts;
    if (ranks <= max) return STATUS_OK;
    uint64_t parts = parts_for(j, ranks);
    char enough[120] = "";
    if (parts > 0)
        snprintf(enough, sizeof enough, "; batch.parts: %" PRIu64 " allows %" PRIu64, parts,
                 with.items * parts);
    return fail(STATUS_INPUT,
                "%s: %" PRIu64 " ranks found, at most %" PRIu64
                " expected: a step has so many parts of work items (batch.microbatches x "
                "optimizer.mc_samples x batch.parts)%s",
                launch, ranks, max, enough);
}

size_t trainer_memory_sum(const trainer_memory *m)
{
    return m->state + m->weights + m->gradients + m->pieces + m->activations + m->staging +
           m->sensitivity;
}

status trainer_check_memory(const job *j, const comm *c, const trainer_memory *m)
{
    return free_memory_check(
        c->world, (double)trainer_memory_sum(m) + TRAINER_BESIDE,
        "%s: rank %d is to take %.4g GB of memory (state %.3g, weights %.3g, gradients %.3g, "
        "pieces %.3g, "
        "activations %.3g, checkpoint %.3g, sensitivity %.3g)",
        j->name, c->rank, 1e-9 * (double)trainer_memory_sum(m), 1e-9 * (double)m->state,
        1e-9 * (double)m->weights, 1e-9 * (double)m->gradients, 1e-9 * (double)m->pieces,
        1e-9 * (double)m->activations, 1e-9 * (double)m->staging, 1e-9 * (double)m->sensitivity);
}

/* Before any of it is open. */
static status check_memory(const trainer *r)
{
    parameters p = {0};
    sharding owned = {0};
    trainer_memory memory;
    runtime_settings with = job_settings(r->job);
    settings_place(&with, (size_t)r->rounds.c->nodes.count, (size_t)r->rounds.c->nodes.place);
    status result = model_parameters(&p, &r->config);
    if (!result)
        result =
            settings_shard(&with, &owned, &p, (size_t)r->rounds.c->size, (size_t)r->rounds.c->rank);
    if (!result)
        result = trainer_plan(r->job, &with, &owned, r->precision, r->rounds.training, &memory);
    sharding_close(&owned);
    parameters_close(&p);
    result = agree(r->rounds.c->world, result);
    return result ? result : trainer_check_memory(r->job, r->rounds.c, &memory);
}

static status open_data(trainer *r)
{
    size_t n = job_sequences(r->job) * r->job->batch.length;
    r->losses = calloc(n, sizeof *r->losses);
    return r->losses ? dataset_batch_open(&r->batch, r->job)
                     : fail(STATUS_NOMEM, "memory for the losses of %zu rows", n);
}

static status trainer_open_local(trainer *r, const runtime_settings *with, bool measures)
{
    model_shape shape = shape_of(r->job, r->precision, r->rounds.training);
    status result = model_parameters(&r->rounds.p, &r->config);
    if (!result) result = rounds_open(&r->rounds, with, measures);
    if (!result) result = weights_open(&r->weights, r->rounds.c, &r->rounds.state, r->precision);
    if (!result) result = model_open(&r->model, &r->config, &shape);
    return result ? result : open_data(r);
}

static status open_with(trainer *r, const job *j, const runtime_settings *with, comm *c,
                        dtype precision, bool training, bool measures)
{
    runtime_settings here = *with;
    here.optimizer.products = precision;
    settings_place(&here, (size_t)c->nodes.count, (size_t)c->nodes.place);
    *r = (trainer){.job = j,
                   .config = job_model(j),
                   .rounds = {.c = c, .training = training},
                   .precision = precision};
    r->hooks = trainer_hooks(r);
    status result = check_memory(r);
    if (!result) result = agree(c->world, trainer_open_local(r, &here, measures));
    if (!result) result = state_open_shared(&r->rounds.state, c);
    if (result)
        trainer_close(r);
    else
        state_share(&r->rounds.state, c); /* sigma of the initial Hessian */
    return result;
}

status trainer_open(trainer *r, const job *j, comm *c, dtype precision, bool training)
{
    const runtime_settings with = job_settings(j);
    return open_with(r, j, &with, c, precision, training, false);
}

status trainer_open_measuring(trainer *r, const job *j, const runtime_settings *with, comm *c,
                              dtype precision)
{
    return open_with(r, j, with, c, precision, true, true);
}

void trainer_set_ess(trainer *r, uint64_t done)
{
    settings_set_ess(&r->rounds.state.settings, job_ess(r->job, done));
}

status trainer_read(trainer *r, const char *path, checkpoint_facts *facts)
{
    saved_array arrays[SAVED_ARRAYS];
    char found[2 * JOB_TEXT];
    state *s = &r->rounds.state;
    size_t count = state_saved_arrays(s, arrays);
    status result =
        checkpoint_read(r->rounds.c->world, path, &r->rounds.p, arrays, count, s->owned->owned,
                        s->owned->owned_count, facts, found, sizeof found);
    if (!result) result = state_check_bases(s, r->rounds.c, found);
    if (result) return result;
    s->snapshots = facts->snapshots;
    trainer_set_ess(r, facts->steps);
    if (job_collects(r->job) && s->snapshots == 0 && r->rounds.c->rank == 0)
        status_warn("%s: no snapshot yet (swag.start %" PRIu64
                    "): mean and samples are the weights in training",
                    found, r->job->swag.start);
    state_share(s, r->rounds.c);
    return STATUS_OK;
}

void trainer_close(trainer *r)
{
    model_close(&r->model);
    if (r->weights.c) weights_close(&r->weights);
    dataset_batch_close(&r->batch);
    free(r->losses);
    rounds_close(&r->rounds);
    *r = (trainer){0};
}
