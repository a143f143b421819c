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

noise_key rounds_item_key(const rounds *r, size_t from)
{
    return (noise_key){.seed = r->state.settings.seed,
                       .stream = STREAM_WEIGHTS,
                       .sample = (uint32_t)(r->first_item + from),
                       .step = (uint32_t)r->t};
}

float rounds_clip_factor(const rounds *r, size_t from)
{
    if (!r->state.settings.holds_round) return 1.0F;
    double norm = sqrt(r->facts[from].norm_squared);
    return norm > r->state.settings.clip.norm ? (float)(r->state.settings.clip.norm / norm) : 1.0F;
}

static gradient_piece item_piece(const rounds *r, const slice *part, size_t from)
{
    bool matrix = tensor_is_matrix(&r->p.tensors[part->tensor]);
    return (gradient_piece){.values = pieces_slice(&r->pieces, part, from),
                            .type = matrix ? r->state.settings.wire : DTYPE_F32,
                            .scale = rounds_clip_factor(r, from),
                            .key = rounds_item_key(r, from)};
}

/* Add the pieces of a round, in the order of work items, to the owner's sums. */
static void sum_pieces(rounds *r, const slice *part)
{
    for (size_t from = 0; from < r->senders; from++) {
        gradient_piece piece = item_piece(r, part, from);
        state_accumulate(&r->state, part, &piece, r->first_item + from == 0);
    }
}

/* Update with the pieces of the step's last round, which the sums lack. */
static void update_with_pieces(rounds *r, const slice *part)
{
    gradient_piece last[r->senders];
    for (size_t from = 0; from < r->senders; from++) last[from] = item_piece(r, part, from);
    state_update_with(&r->state, part, last, r->senders, r->first_item == 0, r->updating);
}

static void consume_round(rounds *r, size_t u)
{
    for (size_t i = r->owned.unit_slices[u]; i < r->owned.unit_slices[u + 1]; i++)
        if (r->updating)
            update_with_pieces(r, &r->owned.owned[i]);
        else
            sum_pieces(r, &r->owned.owned[i]);
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
        consume_round(r, u);
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
                                .scale = rounds_clip_factor(r, me),
                                .key = rounds_item_key(r, me)};
        accumulate_piece(s->local_g + local, s->local_f ? s->local_f + local : NULL,
                         r->first_item == 0, &piece, r->state.settings.optimizer.hessian, t->index,
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
    if (works && r->measures) add_norm(r, u, source);
    if (!r->state.settings.sums_locally)
        pieces_start(&r->pieces, u, source, r->senders);
    else if (works && !r->state.settings.holds_round)
        rounds_sum_locally(r, u);
    timing_switch(&r->c->timing, before);
}
