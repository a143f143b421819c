/* One step: rounds of work items, then the update. */
#include "io/agree.h"
#include "runtime/guard.h"
#include "runtime/trainer_parts.h"

#include <math.h>

static status read_item(trainer *r, const dataset *data, uint64_t w)
{
    uint64_t j = w / r->job->optimizer.mc_samples;
    uint64_t q = (r->t * r->job->batch.microbatches + j) * r->job->batch.sequences;
    return dataset_items(data, q, &r->batch);
}

static void share_facts(trainer *r, round_facts mine)
{
    time_kind before = timing_switch(&r->c->timing, TIME_WAIT);
    MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, r->facts, (int)sizeof mine, MPI_BYTE,
                  r->c->world);
    timing_switch(&r->c->timing, before);
    r->c->sent[BYTES_CONTROL] += (uint64_t)(r->c->size - 1) * sizeof mine;
}

/* Every piece is used: summed, or in the update. */
static void end_round(trainer *r)
{
    weights_end(&r->weights);
    bool works = (size_t)r->c->rank < r->senders;
    for (size_t u = r->p.unit_count; u-- > 0;) {
        if (!trainer_sums_locally(r->job))
            pieces_finish(&r->pieces, u);
        else if (works && trainer_holds_round(r->job))
            trainer_sum_locally(r, u);
    }
}

/* One round: work items first .. first + senders - 1, one a rank. Its pieces may be under way. */
static void run_round(trainer *r, uint64_t first, uint64_t items, bool written, bool failed)
{
    size_t ranks = (size_t)r->c->size, me = (size_t)r->c->rank;
    r->first_item = first;
    r->senders = items - first < ranks ? (size_t)(items - first) : ranks;
    r->norm_squared = 0.0;
    r->bad_unit = (double)r->p.unit_count;
    for (size_t from = 0; from < r->senders; from++) r->keys[from] = trainer_item_key(r, from);
    weights_begin(&r->weights, &(weights_round){.active = r->senders,
                                                .keys = r->keys,
                                                .sampled = job_is_variational(r->job),
                                                .trained = true,
                                                .backward = true});
    round_facts mine = {.written = written, .failed = failed};
    if (me < r->senders) {
        noise_key key = trainer_item_key(r, me);
        key.stream = STREAM_DROPOUT;
        time_kind before = timing_switch(&r->c->timing, TIME_FORWARD);
        mine.loss = model_backward(r->model, &r->hooks, &r->batch.view, key);
        timing_switch(&r->c->timing, before);
    } else {
        trainer_idle_pass(r, true);
    }
    mine.norm_squared = r->norm_squared;
    mine.bad_unit = r->bad_unit;
    mine.stop = guard_stop();
    share_facts(r, mine);
}

/* A rank that could not read its item goes through the round with others, so none waits in vain.
 */
static bool any_failed(const trainer *r)
{
    for (size_t from = 0; from < (size_t)r->c->size; from++)
        if (r->facts[from].failed != 0.0) return true;
    return false;
}

/* What the round's facts mean for the step; in the order of work items. */
static void note_round(trainer *r, step_result *result)
{
    for (size_t from = 0; from < (size_t)r->c->size; from++) {
        const round_facts *facts = &r->facts[from];
        if (facts->stop != 0.0) result->stopped = true;
        if (facts->written == 0.0) result->written = false;
        if (from >= r->senders) continue;
        result->loss += facts->loss;
        r->norm_most = fmax(r->norm_most, facts->norm_squared);
        if (trainer_clip_factor(r, from) < 1.0F) r->gradient_clipped++;
        result->norm_squared += facts->norm_squared;
        if (isfinite(facts->loss) && isfinite(facts->norm_squared)) continue;
        if (!result->skipped) result->bad_item = r->first_item + from;
        result->skipped = true;
        size_t bad = (size_t)facts->bad_unit;
        if (bad < result->bad_unit) result->bad_unit = bad;
    }
}

static void exchange_sums(trainer *r)
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
static bool sums_are_finite(const trainer *r, uint64_t items)
{
    return (double)items * sqrt(r->norm_most) < 1e38;
}

static void update_from_sums(trainer *r, uint64_t items, step_result *result,
                             state_statistics *statistics)
{
    state_report *report = &result->report;
    if (trainer_sums_locally(r->job)) exchange_sums(r);
    state_norm(&r->state, r->c, items, report);
    if (!isfinite(report->grad_norm)) {
        result->skipped = true;
        result->bad_unit = report->bad_unit;
        return;
    }
    if (report->clip_factor < 1.0) result->gradient_clip_fraction = 1.0;
    state_begin_update(&r->state, items, r->t, report);
    state_update(&r->state, r->c, report, statistics);
}

/* The sums of the last round are neither written nor read again. */
static void update_from_pieces(trainer *r, uint64_t items, step_result *result)
{
    result->report = (state_report){.grad_norm = NAN, .clip_factor = 1.0};
    state_begin_update(&r->state, items, r->t, &result->report);
    r->updating = &result->report;
    end_round(r);
    r->updating = NULL;
}

/* After the last round, whose pieces are still to be used. */
static void finish_step(trainer *r, uint64_t items, step_result *result,
                        state_statistics *statistics)
{
    if (trainer_takes_pieces(r->job) && !statistics && !result->skipped &&
        sums_are_finite(r, items)) {
        update_from_pieces(r, items, result);
    } else {
        end_round(r);
        if (!result->skipped) update_from_sums(r, items, result, statistics);
    }
    if (result->skipped) return;
    state_end_update(&r->state, r->c);
    state_collect(&r->state, r->t + 1);
    weights_changed(&r->weights);
}

/* All rounds of a step, unless it stops or fails; the pieces of the last are still to be used. */
static status run_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items, bool written,
                         step_result *result)
{
    *result = (step_result){.written = true, .bad_unit = r->p.unit_count};
    r->t = t;
    r->gradient_clipped = 0;
    r->norm_most = 0.0;
    if ((uint64_t)r->c->rank >= items) state_clear_local_sums(&r->state);
    for (uint64_t first = 0; first < items; first += (uint64_t)r->c->size) {
        uint64_t w = first + (uint64_t)r->c->rank;
        if (first > 0) end_round(r);
        time_kind before = timing_switch(&r->c->timing, TIME_DATA);
        status read = w < items ? read_item(r, data, w) : STATUS_OK;
        timing_switch(&r->c->timing, before);
        run_round(r, first, items, written, read != STATUS_OK);
        note_round(r, result);
        bool failed = any_failed(r);
        if (failed || result->stopped) {
            end_round(r);
            return failed ? agree(r->c->world, read) : STATUS_OK;
        }
    }
    result->loss /= (double)items;
    result->gradient_clip_fraction = (double)r->gradient_clipped / (double)items;
    return STATUS_OK;
}

status trainer_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items,
                      step_result *result)
{
    status code = run_rounds(r, data, t, items, true, result);
    if (!code && !result->stopped) end_round(r);
    return code;
}

static status run_step(trainer *r, const dataset *data, uint64_t t, bool written,
                       step_result *result, state_statistics *statistics)
{
    uint64_t items = trainer_items(r->job);
    status code = run_rounds(r, data, t, items, written, result);
    if (!code && !result->stopped) finish_step(r, items, result, statistics);
    return code;
}

status trainer_step(trainer *r, const dataset *data, uint64_t t, bool written, step_result *result,
                    state_statistics *statistics)
{
    timing_start(&r->c->timing, TIME_UPDATE);
    status code = run_step(r, data, t, written, result, statistics);
    timing_stop(&r->c->timing);
    return code;
}
