/* Gradients go to their owners, where sums are made in the order of work items. */
#include "runtime/rounds_parts.h"

#include <math.h>

/* The round's gradient of a unit, fp32 in the gradient layout. */
static float *gradient_of(rounds *r, size_t u)
{
    if (r->direct) return pieces_direct(&r->pieces, u);
    return (float *)(void *)slots_at(&r->gradients, u);
}

/* The first that is asked for ends the forward pass. */
float *rounds_gradient(rounds *r, size_t u)
{
    timing_switch(&r->c->timing, TIME_BACKWARD);
    if (r->direct) return gradient_of(r, u);
    size_t *occupant = &r->gradients.occupant[r->gradients.of_unit[u]];
    if (*occupant != r->p.unit_count && !r->state.settings.sums_locally)
        pieces_wait(&r->pieces, *occupant);
    *occupant = u;
    return gradient_of(r, u);
}

static noise_key key_of(const rounds *r, noise_stream stream, uint64_t sample)
{
    return (noise_key){.seed = r->state.settings.seed,
                       .stream = stream,
                       .sample = (uint32_t)sample,
                       .step = (uint32_t)r->t};
}

uint64_t rounds_item(const rounds *r, size_t from)
{
    return (r->first_part + from) / r->state.settings.parts;
}

noise_key rounds_item_key(const rounds *r, size_t from)
{
    return key_of(r, STREAM_WEIGHTS, rounds_item(r, from));
}

noise_key rounds_part_key(const rounds *r, size_t from, noise_stream stream)
{
    return key_of(r, stream, r->first_part + from);
}

float rounds_clip_factor(const rounds *r, double norm_squared)
{
    if (!r->state.settings.holds_round) return 1.0F;
    double norm = sqrt(norm_squared);
    return norm > r->state.settings.clip.norm ? (float)(r->state.settings.clip.norm / norm) : 1.0F;
}

void rounds_skip(step_result *result, uint64_t item, uint64_t bad_unit)
{
    if (!result->skipped) result->bad_item = item;
    result->skipped = true;
    if (bad_unit < result->bad_unit) result->bad_unit = bad_unit;
}

void rounds_note_norm(rounds *r, step_result *result, uint64_t item, double norm_squared,
                      uint64_t bad_unit)
{
    r->norm_max = fmax(r->norm_max, norm_squared);
    double factor = (double)rounds_clip_factor(r, norm_squared);
    if (factor < 1.0) r->gradient_clipped++;
    result->norm_squared += norm_squared;
    result->clipped_squared += factor * factor * norm_squared;
    if (!isfinite(norm_squared)) rounds_skip(result, item, bad_unit);
}

static gradient_piece item_piece(const rounds *r, const slice *part, size_t from)
{
    bool matrix = tensor_is_matrix(&r->p.tensors[part->tensor]);
    return (gradient_piece){.values = pieces_slice(&r->pieces, part, from),
                            .type = matrix ? r->state.settings.wire : DTYPE_F32,
                            .scale = rounds_clip_factor(r, r->facts[from].norm_squared),
                            .key = rounds_item_key(r, from)};
}

/* Add the pieces of a round, in the order of work items, to the owner's sums. */
static void sum_pieces(rounds *r, const slice *part)
{
    for (size_t from = 0; from < r->senders; from++) {
        gradient_piece piece = item_piece(r, part, from);
        state_accumulate(&r->state, part, &piece, rounds_item(r, from) == 0);
    }
}

/* Update with the pieces of the step's last round, which the sums lack. */
static void update_with_pieces(rounds *r, const slice *part)
{
    gradient_piece last[r->senders];
    for (size_t from = 0; from < r->senders; from++) last[from] = item_piece(r, part, from);
    state_update_with(&r->state, part, last, r->senders, r->first_part == 0, r->updating);
}

/* Add a part to the sum of its item's. @return whether the item is whole with it */
static bool join_part(rounds *r, const slice *part, size_t from)
{
    uint64_t parts = r->state.settings.parts, number = (r->first_part + from) % parts;
    gradient_piece piece = item_piece(r, part, from);
    piece.scale = (float)(1.0 / (double)parts);
    accumulate_piece(state_at(&r->state, r->state.joined, part), NULL, number == 0, &piece,
                     HESSIAN_PRICE, 0, part->count);
    return number == parts - 1;
}

static void add_joined(rounds *r, const slice *part, size_t from, float factor)
{
    gradient_piece whole = {.values = state_at(&r->state, r->state.joined, part),
                            .type = DTYPE_F32,
                            .scale = factor,
                            .key = rounds_item_key(r, from)};
    state_accumulate(&r->state, part, &whole, rounds_item(r, from) == 0);
}

/* Join the parts of a round, in their order. */
static void join_pieces(rounds *r, const slice *part)
{
    for (size_t from = 0; from < r->senders; from++)
        if (join_part(r, part, from)) add_joined(r, part, from, 1.0F);
}

/* All units are joined before one is added: its factor is of the norm of all. */
static void join_measured(rounds *r, size_t from, step_result *result)
{
    const sharding *o = &r->owned;
    bool whole = (r->first_part + from) % r->state.settings.parts == r->state.settings.parts - 1;
    size_t bad_unit;
    for (size_t i = 0; i < o->owned_count; i++) join_part(r, &o->owned[i], from);
    if (!whole) return;
    double norm = state_squared_norm(&r->state, r->c, r->state.joined, 1.0, &bad_unit);
    rounds_note_norm(r, result, rounds_item(r, from), norm, bad_unit);
    for (size_t i = 0; i < o->owned_count; i++)
        add_joined(r, &o->owned[i], from, rounds_clip_factor(r, norm));
}

void rounds_join_measured(rounds *r, step_result *result)
{
    time_kind before = timing_switch(&r->c->timing, TIME_UPDATE);
    for (size_t u = r->p.unit_count; u-- > 0;) pieces_take(&r->pieces, u);
    for (size_t from = 0; from < r->senders; from++) join_measured(r, from, result);
    timing_switch(&r->c->timing, before);
}

static void consume_slice(rounds *r, const slice *part)
{
    if (r->updating)
        update_with_pieces(r, part);
    else if (r->state.settings.joins)
        join_pieces(r, part);
    else
        sum_pieces(r, part);
}

/* Add every rank's sum, in the order of ranks. */
static void consume_sums(rounds *r, size_t u)
{
    state *s = &r->state;
    state_array sum = r->exchanging_hessian ? s->f_sum : s->g_sum;
    for (size_t i = r->owned.unit_slices[u]; i < r->owned.unit_slices[u + 1]; i++) {
        const slice *part = &r->owned.owned[i];
        for (size_t from = 0; from < r->senders; from++) {
            gradient_piece piece = item_piece(r, part, from);
            piece.scale = 1.0F; /* items were clipped before */
            accumulate_piece(state_at(s, sum, part), NULL, from == 0, &piece,
                             r->state.settings.optimizer.hessian, 0, part->count);
        }
    }
}

void rounds_consume(void *context, size_t u)
{
    rounds *r = context;
    time_kind before = timing_switch(&r->c->timing, TIME_UPDATE);
    if (r->state.settings.sums_locally)
        consume_sums(r, u);
    else
        for (size_t i = r->owned.unit_slices[u]; i < r->owned.unit_slices[u + 1]; i++)
            consume_slice(r, &r->owned.owned[i]);
    timing_switch(&r->c->timing, before);
}

/* Add this rank's own item to its local sums (none, optimizer). */
void rounds_sum_locally(rounds *r, size_t u)
{
    state *s = &r->state;
    size_t me = (size_t)r->c->rank;
    const char *source = slots_at(&r->gradients, u);
    for (size_t i = r->p.units[u].first; i < r->p.units[u].first + r->p.units[u].tensors; i++) {
        const tensor *t = &r->p.tensors[i];
        size_t offset = s->gradient.tensor_offset[i];
        size_t local = s->gradient_start[u] + offset / sizeof(float);
        gradient_piece piece = {.values = source + offset,
                                .type = DTYPE_F32,
                                .scale = rounds_clip_factor(r, r->facts[me].norm_squared),
                                .key = rounds_item_key(r, me)};
        accumulate_piece(s->local_g + local, s->local_f ? s->local_f + local : NULL,
                         r->first_part == 0, &piece, r->state.settings.optimizer.hessian, t->index,
                         t->count);
    }
}

static void add_norm(rounds *r, size_t u, const float *source)
{
    double sum = 0.0;
    for (size_t i = r->p.units[u].first; i < r->p.units[u].first + r->p.units[u].tensors; i++) {
        size_t count = r->p.tensors[i].count;
        squared_blocks(r->norm_blocks, source + r->state.gradient.tensor_offset[i] / sizeof(float),
                       1.0, count);
        for (size_t b = 0; b < (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK; b++)
            sum += r->norm_blocks[b];
    }
    if (!isfinite(sum) && u < r->bad_unit) r->bad_unit = u;
    r->norm_squared += sum;
}

void rounds_gradient_done(rounds *r, size_t u)
{
    bool works = (size_t)r->c->rank < r->senders;
    time_kind before = timing_switch(&r->c->timing, TIME_UPDATE);
    const float *source = works ? gradient_of(r, u) : NULL;
    if (works && r->measures && !r->state.settings.joins) add_norm(r, u, source);
    if (!r->state.settings.sums_locally)
        pieces_start(&r->pieces, u, source, r->senders);
    else if (works && !r->state.settings.holds_round)
        rounds_sum_locally(r, u);
    timing_switch(&r->c->timing, before);
}
