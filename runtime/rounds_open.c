/* State, gradients and their way to the owners: opened and closed. */
#include "runtime/rounds_parts.h"

#include <math.h>
#include <stdlib.h>

static bool is_direct(const runtime_settings *with, const sharding *owned)
{
    return !with->sums_locally && pieces_are_direct(owned, with->wire);
}

static status gradient_bytes(const runtime_settings *with, const sharding *owned, size_t *bytes)
{
    const parameters *p = owned->p;
    layout l = {0};
    slots s = {0};
    *bytes = 0;
    if (is_direct(with, owned)) return STATUS_OK;
    status result = layout_open(&l, p, DTYPE_F32);
    if (!result) result = slots_open(&s, p, with->sums_locally && with->holds_round);
    if (!result) *bytes = slots_bytes(&s, p, l.unit_bytes);
    slots_close(&s);
    layout_close(&l);
    return result;
}

/* Whether pieces wait for the round's end. */
static bool holds_pieces(const runtime_settings *with, bool measures)
{
    return !with->sums_locally && (with->holds_round || (with->joins && measures));
}

status rounds_plan(const runtime_settings *with, const sharding *owned, rounds_memory *memory)
{
    *memory = (rounds_memory){.state = state_bytes(with, owned, true)};
    status result = gradient_bytes(with, owned, &memory->gradients);
    return result ? result
                  : pieces_bytes(owned, with->wire, holds_pieces(with, false), &memory->pieces);
}

static status open_gradients(rounds *r, const runtime_settings *with)
{
    size_t bytes = 0;
    r->direct = is_direct(with, &r->owned);
    if (r->direct) return STATUS_OK;
    status result = gradient_bytes(with, &r->owned, &bytes);
    if (!result) result = arena_open(&r->gradients_arena, "gradients", bytes);
    if (!result) result = slots_open(&r->gradients, &r->p, with->sums_locally && with->holds_round);
    if (!result)
        slots_take(&r->gradients, &r->p, r->state.gradient.unit_bytes, &r->gradients_arena);
    return result;
}

static size_t largest_tensor(const parameters *p)
{
    size_t max = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        if (p->tensors[i].count > max) max = p->tensors[i].count;
    return max;
}

static status open_small(rounds *r)
{
    size_t ranks = (size_t)r->c->size;
    r->norm_blocks = calloc(largest_tensor(&r->p) / PARAMETER_BLOCK + 1, sizeof *r->norm_blocks);
    r->keys = calloc(ranks, sizeof *r->keys);
    r->facts = calloc(ranks, sizeof *r->facts);
    if (r->norm_blocks && r->keys && r->facts) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for the facts of %zu ranks", ranks);
}

status rounds_open(rounds *r, const runtime_settings *with, bool measures)
{
    r->measures = measures || with->holds_round;
    status result = settings_shard(with, &r->owned, &r->p, (size_t)r->c->size, (size_t)r->c->rank);
    if (!result) result = state_open(&r->state, with, &r->owned, r->training);
    if (!result) result = open_small(r);
    if (result || !r->training) return result;
    result = open_gradients(r, with);
    if (!result)
        result = pieces_open(&r->pieces, r->c, &r->owned, &r->state.gradient, with->wire,
                             holds_pieces(with, measures), rounds_consume, r);
    return result;
}

void rounds_close(rounds *r)
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
