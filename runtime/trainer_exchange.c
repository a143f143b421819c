/* The half of a trainer that knows no model: state, gradients and their way to the owners. */
#include "runtime/trainer_parts.h"

#include <math.h>
#include <stdlib.h>

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

static bool is_direct(const job *j, const sharding *owned)
{
    return !trainer_sums_locally(j) && pieces_are_direct(owned, j->parallel.wire);
}

status trainer_gradient_bytes(const job *j, const sharding *owned, size_t *bytes)
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

static status open_gradients(trainer *r)
{
    size_t bytes = 0;
    r->direct = is_direct(r->job, &r->owned);
    if (r->direct) return STATUS_OK;
    status result = trainer_gradient_bytes(r->job, &r->owned, &bytes);
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
    size_t ranks = (size_t)r->c->size;
    r->norm_blocks = calloc(largest_tensor(&r->p) / PARAMETER_BLOCK + 1, sizeof *r->norm_blocks);
    r->keys = calloc(ranks, sizeof *r->keys);
    r->facts = calloc(ranks, sizeof *r->facts);
    if (r->norm_blocks && r->keys && r->facts) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for the facts of %zu ranks", ranks);
}

status trainer_open_exchange(trainer *r)
{
    const job *j = r->job;
    status result = sharding_open(&r->owned, &r->p, (size_t)r->c->size, (size_t)r->c->rank);
    if (!result) result = state_open(&r->state, j, &r->owned, r->training);
    if (!result) result = open_small(r);
    if (result || !r->training) return result;
    result = open_gradients(r);
    if (!result)
        result =
            pieces_open(&r->pieces, r->c, &r->owned, &r->state.gradient, j->parallel.wire,
                        trainer_holds_round(j) && !trainer_sums_locally(j), trainer_consume, r);
    return result;
}

void trainer_close_exchange(trainer *r)
{
    if (r->pieces.owned) pieces_close(&r->pieces);
    slots_close(&r->gradients);
    arena_close(&r->gradients_arena);
    state_close(&r->state);
    sharding_close(&r->owned);
    parameters_close(&r->p);
    free(r->norm_blocks);
    free(r->keys);
    free(r->facts);
}
