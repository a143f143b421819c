/* What a run tells: rows, events, warnings, progress. */
#include "io/files/json_text.h"
#include "io/runs/ceilings.h"
#include "runtime/agree.h"
#include "train/train_parts.h"
#include "train/utilization.h"

#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>

static uint64_t rows_a_step(const job *j)
{
    return j->batch.microbatches * j->batch.sequences * j->batch.length;
}

static void warn_of_statistics(training *g, const state_statistics *s, double rescued)
{
    char line[300];
    if (s->hessian_bias > 0.1 && !g->warned_bias) {
        g->warned_bias = true;
        snprintf(line, sizeof line,
                 "step %" PRIu64
                 ": the term with (1-beta2)^2 pushes h up by %.2g of h a step in the mean "
                 "(hessian_bias, 0.1 expected at most): a beta2 nearer to 1 makes h right",
                 g->facts.steps, s->hessian_bias);
        train_warn(g, line);
    }
    if (rescued > 0.0 && !g->warned_rescue) {
        g->warned_rescue = true;
        snprintf(line, sizeof line,
                 "step %" PRIu64
                 ": h + delta would not have stayed positive and finite in %.0f elements, which "
                 "kept their h",
                 g->facts.steps, rescued);
        train_warn(g, line);
    }
}

/* Sums over ranks, logged: what was clipped, rescued, sent, and where the time went. */
static void make_row(training *g, const finished_step *step, metrics *row)
{
    const state_report *report = &step->result.report;
    const state_statistics *stats = &step->statistics;
    double sums[3 + BYTES_KINDS + TIME_KINDS] = {(double)report->clipped, (double)report->rescued,
                                                 step->waited};
    double *time = sums + 3 + BYTES_KINDS;
    for (int k = 0; k < BYTES_KINDS; k++) sums[3 + k] = (double)step->sent[k];
    timing_take(&g->c->timing, time);
    comm_sum_ordered(g->c, sums, sizeof sums / sizeof sums[0]);
    for (int k = 0; k < TIME_KINDS; k++) time[k] /= (double)g->c->size;
    uint64_t rows_seen = g->facts.steps * rows_a_step(g->job);
    double bytes = 0.0;
    for (int k = 0; k < BYTES_KINDS; k++) bytes += sums[3 + k];
    bool ivon = job_optimizer(g->job)->spread == SPREAD_HESSIAN && !step->result.skipped;
    bool drawn = job_is_variational(g->job) && !step->result.skipped;
    double speed = (double)(rows_seen - g->logged_rows) / (g->seconds - g->logged_seconds);
    *row = (metrics){
        .step = g->facts.steps,
        .tokens = rows_seen,
        .seconds = g->seconds,
        .train_loss = step->result.loss,
        .valid_loss = NAN,
        .valid_loss_averaged = NAN,
        .loo_loss = NAN,
        .lr = schedule_at(&g->job->schedule, g->facts.steps - 1, g->job->steps),
        .grad_norm = report->grad_norm,
        .grad_clip_fraction = step->result.gradient_clip_fraction,
        .update_clip_fraction = sums[0] / (double)g->trainer.rounds.p.count,
        .sigma_mean = drawn ? stats->sigma_mean : NAN,
        .hessian_min = ivon ? stats->hessian_min : NAN,
        .hessian_mean = ivon ? stats->hessian_mean : NAN,
        .hessian_bias = ivon ? stats->hessian_bias : NAN,
        .tokens_per_second = speed,
        .model_flops_utilization = utilization_of(g->job, speed, g->ceiling),
        .bytes_sent = (uint64_t)bytes,
        .comm_fraction = sums[2] / ((double)g->c->size * step->seconds),
        .seconds_sample = time[TIME_SAMPLE],
        .seconds_forward = time[TIME_FORWARD],
        .seconds_backward = time[TIME_BACKWARD],
        .seconds_wait = time[TIME_WAIT],
        .seconds_update = time[TIME_UPDATE],
        .seconds_data = time[TIME_DATA],
        .seconds_checkpoint = time[TIME_CHECKPOINT],
    };
    /* What a run exceeds was measured while others used the machine: measure again next time. */
    if (train_first_rank(g) && row->model_flops_utilization > 1.0) ceilings_forget();
    g->logged_seconds = g->seconds;
    g->logged_rows = rows_seen;
    if (ivon) warn_of_statistics(g, stats, sums[1]);
}

static status evaluate(training *g, metrics *row)
{
    const job *j = g->job;
    validation found;
    status result =
        trainer_evaluate(&g->trainer, g->valid, j->eval.batches, j->eval.samples, &found);
    if (result) return result;
    row->valid_loss = found.loss;
    row->valid_loss_averaged = found.averaged;
    char averaged[40] = "", accuracy[60] = "";
    if (!isnan(found.averaged))
        snprintf(averaged, sizeof averaged, ", averaged %.4f", found.averaged);
    if (!isnan(found.accuracy))
        snprintf(accuracy, sizeof accuracy, "; accuracy %.4f", found.accuracy);
    progress_say(&g->progress, "step %" PRIu64 ": validation loss %.4f%s%s", g->facts.steps,
                 found.loss, averaged, accuracy);
    return STATUS_OK;
}

bool train_over(const training *g)
{
    return g->job->early_stop.kind == EARLY_STOP_LOO &&
           g->facts.loo_waited >= g->job->early_stop.patience;
}

bool train_finished(const training *g)
{
    return g->facts.steps >= g->job->steps || train_over(g);
}

static void note_estimate(training *g, const loo_estimate *found)
{
    checkpoint_facts *f = &g->facts;
    double loo_loss = isfinite(found->loo_loss) ? found->loo_loss : DBL_MAX;
    bool better = f->loo_made == 0 || loo_loss < f->loo_best;
    f->loo_made++;
    f->loo_waited = better ? 0 : f->loo_waited + 1;
    if (better) f->loo_best = loo_loss;
    progress_say(&g->progress,
                 "step %" PRIu64 ": leave-one-out loss %.4f, of the same examples seen %.4f",
                 f->steps, found->loo_loss, found->loss);
    train_note(g, "sensitivity",
               json_pack("{sI sf}", "step", (json_int_t)f->steps, "loo_loss", loo_loss));
}

static status estimate(training *g, metrics *row)
{
    uint64_t there = dataset_count(g->train), wanted = g->job->sensitivity.examples;
    loo_estimate found;
    status result = g->options->estimator->estimate(
        g->estimator, g->train, wanted == 0 || wanted > there ? there : wanted, &found);
    if (result) return result;
    row->loo_loss = found.loo_loss;
    note_estimate(g, &found);
    return STATUS_OK;
}

/* Not because of a pause: an estimate counts for early_stop. */
static bool estimates(const training *g, uint64_t steps)
{
    const job *j = g->job;
    return j->sensitivity.every > 0 && train_due(steps, j->sensitivity.every, j->steps);
}

void train_log_begin(training *g)
{
    g->logged_seconds = g->seconds;
    g->logged_rows = g->facts.steps * rows_a_step(g->job);
    progress before = g->progress;
    progress_open(&g->progress, before.shown, before.rows, g->facts.steps, g->job->steps);
    g->progress.terminal = before.terminal;
}

bool train_logs(const training *g, uint64_t steps)
{
    const job *j = g->job;
    uint64_t last = train_last(g);
    return train_due(steps, j->log.every, last) || train_due(steps, j->eval.every, last) ||
           estimates(g, steps);
}

/* A row that cannot be written stops the run or not, as the job says of checkpoints; it is said
 * once, and again when rows that waited are there. */
static status append_row(training *g, const metrics *row)
{
    char line[STATUS_MESSAGE_SIZE];
    status result = run_check(g->run);
    if (result) return result;
    result = run_metrics_append(g->run, row);
    if (result && g->job->checkpoint.on_error == ON_ERROR_STOP) return result;
    if (result && !g->warned_rows) {
        snprintf(line, sizeof line, "%.900s; rows wait until it can be", status_message());
        status_clear();
        train_warn(g, line);
    } else if (!result && g->warned_rows) {
        progress_say(&g->progress, "metrics.csv is written again, with the rows that waited");
    }
    status_clear();
    g->warned_rows = run_rows_waiting(g->run) > 0;
    return STATUS_OK;
}

static status write_row(training *g, const finished_step *step)
{
    const job *j = g->job;
    uint64_t done = g->facts.steps;
    metrics row;
    make_row(g, step, &row);
    progress_step(&g->progress, done, step->result.loss, row.tokens_per_second,
                  row.model_flops_utilization, done == train_last(g));
    status result = estimates(g, done) ? estimate(g, &row) : STATUS_OK;
    if (!result && (train_over(g) || train_due(done, j->eval.every, train_last(g))))
        result = evaluate(g, &row);
    if (result) return result;
    return agree(g->c->world, train_first_rank(g) ? append_row(g, &row) : STATUS_OK);
}

status train_log(training *g, const finished_step *step)
{
    if (train_logs(g, g->facts.steps)) return write_row(g, step);
    double speed = (double)rows_a_step(g->job) / step->seconds;
    progress_step(&g->progress, g->facts.steps, step->result.loss, speed,
                  utilization_of(g->job, speed, g->ceiling), false);
    return STATUS_OK;
}

/* Rank 0. */
static status say_end(training *g)
{
    json_t *sent = json_object(), *members;
    for (int k = 0; k < BYTES_KINDS; k++)
        json_text_set(&sent, bytes_names[k], json_integer((json_int_t)g->total_sent[k]));
    members = json_pack("{sI sf so}", "step", (json_int_t)g->facts.steps, "seconds",
                        round(g->seconds * 1e3) / 1e3, "bytes_sent", sent);
    train_note(g, train_finished(g) ? "finished" : "paused", json_incref(members));
    if (g->options->json) return json_text_print_run(stdout, g->path, members);
    json_decref(members);
    return STATUS_OK;
}

status train_log_end(training *g)
{
    comm_sum_ordered(g->c, g->total_sent, BYTES_KINDS);
    return agree(g->c->world, train_first_rank(g) ? say_end(g) : STATUS_OK);
}
