/* One step: rounds of work items, of which the model makes gradients, then the update. */
#include "io/agree.h"
#include "runtime/guard.h"
#include "runtime/trainer_parts.h"

static status read_item(trainer *r, const dataset *data, uint64_t w)
{
    uint64_t j = w / r->job->optimizer.mc_samples;
    uint64_t q = (r->t * r->job->batch.microbatches + j) * r->job->batch.sequences;
    return dataset_items(data, q, &r->batch);
}

/* One round. Its pieces may be under way. */
static void run_round(trainer *r, uint64_t first, bool written, bool failed, step_result *result)
{
    trainer_begin_round(r, first);
    weights_begin(&r->weights, &(weights_round){.active = r->senders,
                                                .keys = r->keys,
                                                .sampled = job_is_variational(r->job),
                                                .trained = true,
                                                .backward = true});
    round_facts mine = {.written = written, .failed = failed};
    if ((size_t)r->c->rank < r->senders) {
        noise_key key = trainer_item_key(r, (size_t)r->c->rank);
        key.stream = STREAM_DROPOUT;
        time_kind before = timing_switch(&r->c->timing, TIME_FORWARD);
        mine.loss = model_backward(r->model, &r->hooks, &r->batch.view, key);
        timing_switch(&r->c->timing, before);
    } else {
        trainer_idle_pass(r, true);
    }
    mine.stop = guard_stop();
    trainer_share_round(r, mine, result);
}

/* All rounds of a step, unless it stops or fails; the pieces of the last are still to be used. */
static status run_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items, bool written,
                         step_result *result)
{
    trainer_begin_step(r, t, items, result);
    for (uint64_t first = 0; first < items; first += (uint64_t)r->c->size) {
        uint64_t w = first + (uint64_t)r->c->rank;
        if (first > 0) trainer_end_round(r);
        time_kind before = timing_switch(&r->c->timing, TIME_DATA);
        status read = w < items ? read_item(r, data, w) : STATUS_OK;
        timing_switch(&r->c->timing, before);
        run_round(r, first, written, read != STATUS_OK, result);
        bool failed = trainer_any_failed(r);
        if (failed || result->stopped) {
            trainer_end_round(r);
            return failed ? agree(r->c->world, read) : STATUS_OK;
        }
    }
    return STATUS_OK;
}

status trainer_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items,
                      step_result *result)
{
    status code = run_rounds(r, data, t, items, true, result);
    if (!code && !result->stopped) trainer_end_round(r);
    return code;
}

static status run_step(trainer *r, const dataset *data, uint64_t t, bool written,
                       step_result *result, state_statistics *statistics)
{
    uint64_t items = trainer_items(r->job);
    status code = run_rounds(r, data, t, items, written, result);
    if (!code && !result->stopped) trainer_finish_step(r, result, statistics);
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

void trainer_predict(trainer *r, const batch *b, size_t active, const noise_key *sample,
                     const noise_key *dropout, model_visit *visit, void *context)
{
    noise_key none = {0};
    for (size_t from = 0; from < (size_t)r->c->size; from++)
        r->keys[from] = sample ? *sample : none;
    weights_begin(&r->weights,
                  &(weights_round){.active = active, .keys = r->keys, .sampled = sample != NULL});
    if (b)
        model_predict(r->model, &r->hooks, b, dropout != NULL, dropout ? *dropout : none, visit,
                      context);
    else
        trainer_idle_pass(r, false);
    weights_end(&r->weights);
}
