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

uint64_t trainer_items(const job *j)
{
    return j->batch.microbatches * j->optimizer.mc_samples;
}

/* Clipping an item needs its whole gradient's norm, so its pieces wait for the round's end. */
bool trainer_holds_round(const job *j)
{
    return j->clip.scope == SCOPE_MICROBATCH && isfinite(j->clip.norm);
}

bool trainer_takes_pieces(const job *j)
{
    return j->optimizer.kind == OPTIMIZER_IVON && trainer_holds_round(j) &&
           !trainer_sums_locally(j);
}

bool trainer_sums_locally(const job *j)
{
    return j->parallel.shard <= SHARD_OPTIMIZER;
}

static model_shape shape_of(const job *j, dtype precision, bool training)
{
    return (model_shape){.sequences = j->batch.sequences,
                         .length = j->batch.length,
                         .precision = precision,
                         .recompute = j->recompute,
                         .training = training};
}

static bool is_direct(const job *j, const sharding *owned)
{
    return !trainer_sums_locally(j) && pieces_are_direct(owned, j->parallel.wire);
}

static status gradient_bytes(const job *j, const sharding *owned, size_t *bytes)
{
    const parameters *p = owned->p;
    layout l = {0};
    slots s = {0};
    *bytes = 0;
    if (is_direct(j, owned)) return STATUS_OK;
    status result = layout_open(&l, p, DTYPE_F32);
    if (!result) result = slots_open(&s, p, trainer_sums_locally(j) && trainer_holds_round(j));
    if (!result) *bytes = slots_bytes(&s, p, l.unit_bytes);
    slots_close(&s);
    layout_close(&l);
    return result;
}

status trainer_plan(const job *j, const sharding *owned, dtype precision, trainer_memory *memory)
{
    model_shape shape = shape_of(j, precision, true);
    model_config config = job_model(j);
    *memory = (trainer_memory){.state = state_bytes(j, owned, true),
                               .activations = model_activation_bytes(&config, &shape),
                               .staging = state_saved(j) * owned->elements * sizeof(float)};
    status result = weights_bytes(j, owned, precision, &memory->weights);
    if (!result) result = gradient_bytes(j, owned, &memory->gradients);
    if (!result)
        result = pieces_bytes(owned, j->parallel.wire,
                              trainer_holds_round(j) && !trainer_sums_locally(j), &memory->pieces);
    if (!result && j->sensitivity.every > 0)
        result = sensitivity_bytes(j, owned, precision, &memory->sensitivity);
    return result;
}

static status open_gradients(trainer *r)
{
    size_t bytes = 0;
    r->direct = is_direct(r->job, &r->owned);
    if (r->direct) return STATUS_OK;
    status result = gradient_bytes(r->job, &r->owned, &bytes);
    if (!result) result = arena_open(&r->gradients_arena, "gradients", bytes);
    if (!result)
        result = slots_open(&r->gradients, &r->p,
                            trainer_sums_locally(r->job) && trainer_holds_round(r->job));
    if (!result)
        slots_take(&r->gradients, &r->p, r->state.gradient.unit_bytes, &r->gradients_arena);
    return result;
}

static size_t largest_tensor(const parameters *p)
{
    size_t most = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        if (p->tensors[i].count > most) most = p->tensors[i].count;
    return most;
}

static status open_small(trainer *r)
{
    size_t n = r->job->batch.sequences * r->job->batch.length;
    size_t ranks = (size_t)r->c->size;
    r->norm_blocks = calloc(largest_tensor(&r->p) / PARAMETER_BLOCK + 1, sizeof *r->norm_blocks);
    r->keys = calloc(ranks, sizeof *r->keys);
    r->facts = calloc(ranks, sizeof *r->facts);
    r->losses = calloc(n, sizeof *r->losses);
    if (r->norm_blocks && r->keys && r->facts && r->losses)
        return dataset_batch_open(&r->batch, r->job);
    return fail(STATUS_NOMEM, "memory for the losses of %zu rows", n);
}

static status open_here(trainer *r)
{
    const job *j = r->job;
    model_shape shape = shape_of(j, r->precision, r->training);
    status result = model_parameters(&r->p, &r->config);
    if (!result) result = sharding_open(&r->owned, &r->p, (size_t)r->c->size, (size_t)r->c->rank);
    if (!result) result = state_open(&r->state, j, &r->owned, r->training);
    if (!result) result = weights_open(&r->weights, r->c, &r->state, r->precision);
    if (!result) result = model_open(&r->model, &r->config, &shape);
    if (!result) result = open_small(r);
    if (result || !r->training) return result;
    result = open_gradients(r);
    if (!result)
        result =
            pieces_open(&r->pieces, r->c, &r->owned, &r->state.gradient, j->parallel.wire,
                        trainer_holds_round(j) && !trainer_sums_locally(j), trainer_consume, r);
    return result;
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
        fprintf(stderr,
                "vario: warning: %s: no snapshot yet (swag.start %" PRIu64
                "): mean and samples are the weights in training\n",
                found, r->job->swag.start);
    state_share(s, r->c);
    return STATUS_OK;
}

void trainer_close(trainer *r)
{
    if (r->pieces.owned) pieces_close(&r->pieces);
    slots_close(&r->gradients);
    arena_close(&r->gradients_arena);
    model_close(&r->model);
    if (r->weights.c) weights_close(&r->weights);
    state_close(&r->state);
    sharding_close(&r->owned);
    parameters_close(&r->p);
    free(r->norm_blocks);
    free(r->keys);
    free(r->facts);
    dataset_batch_close(&r->batch);
    free(r->losses);
    *r = (trainer){0};
}
