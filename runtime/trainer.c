/* Opening and closing a rank's part of a run, and what it weighs. */
#include "io/agree.h"
#include "kernels/kernels.h"
#include "runtime/sensitivity.h"
#include "runtime/state_arrays.h"
#include "runtime/trainer_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static model_shape shape_of(const job *j, dtype precision, bool training)
{
    return (model_shape){.sequences = j->batch.sequences,
                         .length = j->batch.length,
                         .precision = precision,
                         .recompute = j->recompute,
                         .training = training};
}

status trainer_plan(const job *j, const sharding *owned, dtype precision, trainer_memory *memory)
{
    model_shape shape = shape_of(j, precision, true);
    model_config config = job_model(j);
    *memory = (trainer_memory){.state = state_bytes(j, owned, true),
                               .activations = model_activation_bytes(&config, &shape),
                               .staging = state_saved(j) * owned->elements * sizeof(float)};
    status result = weights_bytes(j, owned, precision, &memory->weights);
    if (!result) result = trainer_gradient_bytes(j, owned, &memory->gradients);
    if (!result)
        result = pieces_bytes(owned, j->parallel.wire,
                              trainer_holds_round(j) && !trainer_sums_locally(j), &memory->pieces);
    if (!result && j->sensitivity.every > 0)
        result = sensitivity_bytes(j, owned, precision, &memory->sensitivity);
    return result;
}

static status open_data(trainer *r)
{
    size_t n = r->job->batch.sequences * r->job->batch.length;
    r->losses = calloc(n, sizeof *r->losses);
    return r->losses ? dataset_batch_open(&r->batch, r->job)
                     : fail(STATUS_NOMEM, "memory for the losses of %zu rows", n);
}

static status open_here(trainer *r)
{
    model_shape shape = shape_of(r->job, r->precision, r->training);
    status result = model_parameters(&r->p, &r->config);
    if (!result) result = trainer_open_exchange(r);
    if (!result) result = weights_open(&r->weights, r->c, &r->state, r->precision);
    if (!result) result = model_open(&r->model, &r->config, &shape);
    return result ? result : open_data(r);
}

status trainer_open(trainer *r, const job *j, comm *c, dtype precision, bool training)
{
    *r = (trainer){
        .job = j, .config = job_model(j), .c = c, .precision = precision, .training = training};
    r->hooks = trainer_hooks(r);
    status result = agree(c->world, open_here(r));
    if (result)
        trainer_close(r);
    else
        state_share(&r->state, c); /* sigma of the initial Hessian */
    return result;
}

status trainer_read(trainer *r, const char *path, checkpoint_facts *facts)
{
    checkpoint_array arrays[CHECKPOINT_ARRAYS];
    char found[2 * JOB_TEXT];
    state *s = &r->state;
    size_t count = state_checkpoint_arrays(s, arrays);
    status result = checkpoint_read(r->c->world, path, &r->p, arrays, count, s->owned->owned,
                                    s->owned->owned_count, facts, found, sizeof found);
    if (result) return result;
    s->snapshots = facts->snapshots;
    if (job_collects(r->job) && s->snapshots == 0 && r->c->rank == 0)
        status_warn("%s: no snapshot yet (swag.start %" PRIu64
                    "): mean and samples are the weights in training",
                    found, r->job->swag.start);
    state_share(s, r->c);
    return STATUS_OK;
}

void trainer_close(trainer *r)
{
    model_close(&r->model);
    if (r->weights.c) weights_close(&r->weights);
    dataset_batch_close(&r->batch);
    free(r->losses);
    trainer_close_exchange(r);
    *r = (trainer){0};
}
