/* One step: rounds of work items, of which the model makes gradients, then the update. */
#include "runtime/agree.h"
#include "runtime/guard.h"
#include "train/trainer_parts.h"

static const void *hook_weights(void *context, size_t u)
{
    trainer *r = context;
    time_kind before = timing_switch(&r->rounds.c->timing, TIME_SAMPLE);
    const void *theta = weights_get(&r->weights, u);
    timing_switch(&r->rounds.c->timing, before);
    return theta;
}

static void hook_poll(void *context)
{
    trainer *r = context;
    if (r->rounds.training) pieces_poll(&r->rounds.pieces);
}

static float *hook_gradients(void *context, size_t u)
{
    return rounds_gradient(&((trainer *)context)->rounds, u);
}

static void hook_gradients_done(void *context, size_t u)
{
    rounds_gradient_done(&((trainer *)context)->rounds, u);
}

model_hooks trainer_hooks(trainer *r)
{
    return (model_hooks){.context = r,
                         .weights = hook_weights,
                         .gradients = hook_gradients,
                         .gradients_done = hook_gradients_done,
                         .poll = hook_poll};
}

/* What a rank without work does in a round: enter everything in the same order. */
void trainer_idle_pass(trainer *r, bool backward)
{
    const model_hooks *h = &r->hooks;
    size_t last = r->rounds.p.unit_count - 1;
    for (size_t u = 0; u <= last; u++) h->weights(r, u);
    if (!backward) return;
    for (size_t u = last + 1; u-- > 0;) {
        if (u > 0 && u < last) h->weights(r, u);
        h->gradients_done(r, u);
    }
}

/* Part n of the step's. */
static status read_part(trainer *r, const dataset *data, uint64_t n)
{
    const job *j = r->job;
    uint64_t parts = r->rounds.state.settings.parts,
             microbatch = n / parts / j->optimizer.mc_samples;
    uint64_t q = (r->rounds.t * j->batch.microbatches + microbatch) * j->batch.sequences;
    return dataset_items(data, q + n % parts * job_sequences(j), &r->batch);
}

/* Before the next, and where a step is given up. */
static void end_round(trainer *r)
{
    weights_end(&r->weights);
    rounds_end(&r->rounds);
}

/* One round. Its pieces may be under way. */
static void run_round(trainer *r, uint64_t first, bool written, bool failed, step_result *result)
{
    rounds_begin_round(&r->rounds, first);
    weights_begin(&r->weights, &(weights_round){.active = r->rounds.senders,
                                                .keys = r->rounds.keys,
                                                .sampled = r->rounds.state.settings.variational,
                                                .trained = true,
                                                .backward = true});
    round_facts mine = {.written = written, .failed = failed};
    if ((size_t)r->rounds.c->rank < r->rounds.senders) {
        noise_key key = rounds_part_key(&r->rounds, (size_t)r->rounds.c->rank, STREAM_DROPOUT);
        time_kind before = timing_switch(&r->rounds.c->timing, TIME_FORWARD);
        mine.loss = model_backward(r->model, &r->hooks, &r->batch.view, key);
        timing_switch(&r->rounds.c->timing, before);
    } else {
        trainer_idle_pass(r, true);
    }
    mine.stop = guard_stop();
    rounds_share(&r->rounds, mine, result);
}

/* All rounds of a step, unless it stops or fails; the pieces of the last are still to be used. */
static status run_rounds(trainer *r, const dataset *data, uint64_t t, uint64_t items, bool written,
                         step_result *result)
{
    rounds_begin_step(&r->rounds, t, items, result);
    for (uint64_t first = 0; first < r->rounds.parts; first += (uint64_t)r->rounds.c->size) {
        uint64_t n = first + (uint64_t)r->rounds.c->rank;
        if (first > 0) end_round(r);
        time_kind before = timing_switch(&r->rounds.c->timing, TIME_DATA);
        status read = n < r->rounds.parts ? read_part(r, data, n) : STATUS_OK;
        timing_switch(&r->rounds.c->timing, before);
        run_round(r, first, written, read != STATUS_OK, result);
        bool failed = rounds_any_failed(&r->rounds);
        if (failed || result->stopped) {
            end_round(r);
            return failed ? agree(r->rounds.c->world, read) : STATUS_OK;
        }
    }
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
    uint64_t items = r->rounds.state.settings.items;
    status code = run_rounds(r, data, t, items, written, result);
    if (code || result->stopped) return code;
    weights_end(&r->weights);
    bool moves = r->job->optimizer.ess_final > 0.0;
    if (moves) r->rounds.next_ess = job_ess(r->job, t + 1);
    rounds_finish_step(&r->rounds, schedule_at(&r->job->schedule, t, r->job->steps), result,
                       statistics);
    if (!result->skipped || moves) weights_changed(&r->weights);
    return STATUS_OK;
}

status trainer_step(trainer *r, const dataset *data, uint64_t t, bool written, step_result *result,
                    state_statistics *statistics)
{
    activity_step(t + 1);
    timing_start(&r->rounds.c->timing, TIME_UPDATE);
    status code = run_step(r, data, t, written, result, statistics);
    timing_stop(&r->rounds.c->timing);
    return code;
}

void trainer_predict(trainer *r, const batch *b, size_t active, const noise_key *sample,
                     const noise_key *dropout, model_visit *visit, void *context)
{
    noise_key none = {0};
    for (size_t from = 0; from < (size_t)r->rounds.c->size; from++)
        r->rounds.keys[from] = sample ? *sample : none;
    weights_begin(
        &r->weights,
        &(weights_round){.active = active, .keys = r->rounds.keys, .sampled = sample != NULL});
    if (b)
        model_predict(r->model, &r->hooks, b, dropout != NULL, dropout ? *dropout : none, visit,
                      context);
    else
        trainer_idle_pass(r, false);
    weights_end(&r->weights);
}
