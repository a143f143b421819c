/* Rounds of work items whose gradients come from anywhere, and the update that ends a step. */
#include "runtime/rounds_parts.h"

#include <math.h>

void rounds_begin_step(rounds *r, uint64_t t, uint64_t items, step_result *result)
{
    *result = (step_result){.written = true, .bad_unit = r->p.unit_count};
    r->t = t;
    r->items = items;
    r->parts = items * r->state.settings.parts;
    r->gradient_clipped = 0;
    r->norm_max = 0.0;
    if ((uint64_t)r->c->rank >= r->parts) state_clear_local_sums(&r->state);
}

void rounds_begin_round(rounds *r, uint64_t first)
{
    size_t ranks = (size_t)r->c->size;
    r->first_part = first;
    r->senders = r->parts - first < ranks ? (size_t)(r->parts - first) : ranks;
    r->norm_squared = 0.0;
    r->bad_unit = r->p.unit_count;
    for (size_t from = 0; from < r->senders; from++) r->keys[from] = rounds_item_key(r, from);
}

static void share_facts(rounds *r, round_facts mine)
{
    time_kind before = timing_switch(&r->c->timing, TIME_WAIT);
    MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, r->facts, (int)sizeof mine, MPI_BYTE,
                  r->c->world);
    timing_switch(&r->c->timing, before);
    r->c->sent[BYTES_CONTROL] += (uint64_t)(r->c->size - 1) * sizeof mine;
}

/* What the round's facts mean for the step; in the order of work items. */
static void note_round(rounds *r, step_result *result)
{
    for (size_t from = 0; from < (size_t)r->c->size; from++) {
        const round_facts *facts = &r->facts[from];
        if (facts->stop) result->stopped = true;
        if (!facts->written) result->written = false;
        if (from >= r->senders) continue;
        result->loss += facts->loss;
        uint64_t item = rounds_item(r, from);
        if (!isfinite(facts->loss)) rounds_skip(result, item, facts->bad_unit);
        if (!r->state.settings.joins)
            rounds_note_norm(r, result, item, facts->norm_squared, facts->bad_unit);
    }
}

void rounds_share(rounds *r, round_facts mine, step_result *result)
{
    mine.norm_squared = r->norm_squared;
    mine.bad_unit = r->bad_unit;
    share_facts(r, mine);
    note_round(r, result);
    if (r->state.settings.joins && r->measures) rounds_join_measured(r, result);
    if (r->first_part + r->senders < r->parts) return;
    result->loss /= (double)r->parts;
    result->gradient_clip_fraction = (double)r->gradient_clipped / (double)r->items;
}

bool rounds_any_failed(const rounds *r)
{
    for (size_t from = 0; from < (size_t)r->c->size; from++)
        if (r->facts[from].failed) return true;
    return false;
}

void rounds_end(rounds *r)
{
    bool works = (size_t)r->c->rank < r->senders;
    for (size_t u = r->p.unit_count; u-- > 0;) {
        if (!r->state.settings.sums_locally)
            pieces_finish(&r->pieces, u);
        else if (works && r->state.settings.holds_round)
            rounds_sum_locally(r, u);
    }
}

static void exchange_sums(rounds *r)
{
    state *s = &r->state;
    r->senders = (size_t)r->c->size;
    for (int f = 0; f <= (s->local_f ? 1 : 0); f++) {
        const float *local = f ? s->local_f : s->local_g;
        r->exchanging_hessian = f;
        for (size_t u = 0; u < r->p.unit_count; u++)
            pieces_start(&r->pieces, u, local + s->gradient_start[u], r->senders);
        for (size_t u = 0; u < r->p.unit_count; u++) pieces_finish(&r->pieces, u);
    }
}

/* Whether no sum of the items leaves fp32's range, whatever they are rounded to on their way: what
 * the norm of the sums would have told. */
static bool sums_are_finite(const rounds *r)
{
    return (double)r->items * sqrt(r->norm_max) < 1e38;
}

static void update_from_sums(rounds *r, double lr, step_result *result,
                             state_statistics *statistics)
{
    state_report *report = &result->report;
    if (r->state.settings.sums_locally) exchange_sums(r);
    state_norm(&r->state, r->c, r->items, report);
    if (!isfinite(report->grad_norm)) {
        result->skipped = true;
        result->bad_unit = report->bad_unit;
        return;
    }
    if (report->clip_factor < 1.0) result->gradient_clip_fraction = 1.0;
    state_begin_update(&r->state, r->items, lr, report);
    state_update(&r->state, r->c, report, statistics);
}

/* The sums of the last round are neither written nor read again. */
static void update_from_pieces(rounds *r, double lr, step_result *result)
{
    result->report = (state_report){.grad_norm = NAN, .clip_factor = 1.0};
    state_begin_update(&r->state, r->items, lr, &result->report);
    r->updating = &result->report;
    rounds_end(r);
    r->updating = NULL;
}

void rounds_finish_step(rounds *r, double lr, step_result *result, state_statistics *statistics)
{
    if (r->state.settings.takes_pieces && !statistics && !result->skipped && sums_are_finite(r)) {
        update_from_pieces(r, lr, result);
    } else {
        rounds_end(r);
        if (!result->skipped) update_from_sums(r, lr, result, statistics);
    }
    bool moves = r->next_ess > 0.0; /* whatever became of the step */
    if (moves) settings_set_ess(&r->state.settings, r->next_ess);
    if (!result->skipped || moves) state_end_update(&r->state, r->c);
    if (!result->skipped) state_collect(&r->state, r->t + 1);
}
