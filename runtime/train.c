/* The life of a run: open or resume, then step, log, evaluate and save until the end or a stop. */
#include "runtime/train.h"

#include "io/agree.h"
#include "io/ceilings.h"
#include "io/checkpoint.h"
#include "io/run.h"
#include "kernels/kernels.h"
#include "runtime/guard.h"
#include "runtime/progress.h"
#include "runtime/trainer.h"
#include "runtime/utilization.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const job *job;
    comm *c;
    const train_options *options;
    char path[JOB_TEXT * 2 + 2]; /* of the run directory */
    run *run;                    /* rank 0 only */
    tokens *train, *valid;
    trainer trainer;
    checkpoint_writer *writer;
    checkpoint_facts facts;
    progress progress;
    double ceiling;         /* GFLOP/s of all ranks' products */
    double seconds;         /* of training, over all legs */
    double logged_seconds;  /* at the last row */
    uint64_t logged_tokens; /* at the last row */
    uint64_t saved;         /* steps of the newest checkpoint, UINT64_MAX for none */
    double total_sent[BYTES_KINDS];
    bool warned_bias, warned_rescue;
} training;

static bool first_rank(const training *g)
{
    return g->c->rank == 0;
}

static uint64_t tokens_a_step(const job *j)
{
    return j->batch.microbatches * j->batch.sequences * j->batch.length;
}

static void note(training *g, const char *event, const char *details)
{
    if (first_rank(g) && run_event(g->run, event, details)) {
        fprintf(stderr, "vario: warning: %s\n", status_message());
        status_clear();
    }
}

static void warn(training *g, const char *sentence)
{
    if (!first_rank(g)) return;
    progress_say(&g->progress, "warning: %s", sentence);
    char details[STATUS_MESSAGE_SIZE + 32];
    size_t n = (size_t)snprintf(details, sizeof details, "\"message\": \"");
    for (const char *s = sentence; *s && n + 4 < sizeof details; s++) {
        if (*s == '"' || *s == '\\') details[n++] = '\\';
        details[n++] = (unsigned char)*s < ' ' ? ' ' : *s;
    }
    snprintf(details + n, sizeof details - n, "\"");
    note(g, "warning", details);
}

/* Rank 0 locks the run and looks what is there. */
static status open_run(training *g, bool *resume)
{
    status result = STATUS_OK;
    if (first_rank(g)) {
        result = run_open(&g->run, g->job);
        /* Swept first: a checkpoint that comes back is one that --fresh has to see. */
        if (!result) checkpoint_sweep(run_path(g->run));
        if (!result && g->options->fresh) result = run_clear(g->run, g->options->force);
        if (!result) {
            snprintf(g->path, sizeof g->path, "%s", run_path(g->run));
            *resume = checkpoint_exists(g->path);
        }
    }
    result = agree(g->c->world, result);
    if (result) return result;
    MPI_Bcast(g->path, (int)sizeof g->path, MPI_BYTE, 0, g->c->world);
    MPI_Bcast(resume, (int)sizeof *resume, MPI_BYTE, 0, g->c->world);
    return STATUS_OK;
}

static status check_resume(const training *g)
{
    char path[sizeof g->path + 16];
    snprintf(path, sizeof path, "%s/job.yaml", g->path);
    job before;
    status result = job_read(&before, path, NULL, 0);
    return result ? result : job_resume_check(&before, g->job, g->path);
}

static status read_checkpoint(training *g)
{
    state *s = &g->trainer.state;
    status result = agree(g->c->world, first_rank(g) ? check_resume(g) : STATUS_OK);
    if (result) return result;
    checkpoint_array arrays[CHECKPOINT_ARRAYS];
    size_t count = state_checkpoint_arrays(s, arrays);
    char path[sizeof g->path + 32];
    result =
        checkpoint_read(g->c->world, g->path, &g->trainer.p, arrays, count, s->checkpoint_slices,
                        s->owned->owned_count, &g->facts, path, sizeof path);
    if (result) return result;
    s->updates = g->facts.updates;
    state_mean_in(s);
    state_share(s, g->c);
    g->saved = g->facts.steps;
    progress_say(&g->progress, "resumed from step %" PRIu64 " (%s)", g->facts.steps, path);
    if (g->facts.threads != (uint64_t)g->options->placement->threads) {
        char line[200];
        snprintf(line, sizeof line,
                 "the checkpoint was written with %" PRIu64
                 " threads a rank and this run has %d: its bits will differ from a run of "
                 "%" PRIu64,
                 g->facts.threads, g->options->placement->threads, g->facts.threads);
        warn(g, line);
    }
    return STATUS_OK;
}

static status import_weights(training *g)
{
    state *s = &g->trainer.state;
    if (strcmp(g->job->model.init, "scratch") == 0) return STATUS_OK;
    status result = checkpoint_import(g->c->world, g->job->model.init, &g->trainer.p,
                                      s->g_sum.values, s->checkpoint_slices, s->owned->owned_count);
    if (result) return result;
    state_mean_in(s);
    state_share(s, g->c);
    return STATUS_OK;
}

static status check_space(const training *g)
{
    checkpoint_array arrays[CHECKPOINT_ARRAYS];
    size_t count = state_checkpoint_arrays(&g->trainer.state, arrays);
    uint64_t one = checkpoint_bytes(&g->trainer.p, arrays, count);
    return run_check_space(g->run, 2 * one);
}

/* After the trainer is open: what rank 0 writes before the first step. */
static status prepare_run(training *g)
{
    status result = check_space(g);
    if (!result) result = run_write_job(g->run, g->job);
    if (!result) result = run_metrics_open(g->run, g->facts.steps, &g->seconds);
    if (result) return result;
    char details[160];
    snprintf(details, sizeof details,
             "\"step\": %" PRIu64 ", \"ranks\": %d, \"threads\": %d, \"product_gflops\": %.6g",
             g->facts.steps, g->c->size, g->options->placement->threads, g->ceiling);
    note(g, g->facts.steps ? "resumed" : "started", details);
    if (*g->options->placement->warning) warn(g, g->options->placement->warning);
    char lines[8][STATUS_MESSAGE_SIZE];
    size_t warnings = job_warnings(g->job, tokens_count(g->train), lines, 8);
    for (size_t i = 0; i < warnings; i++) warn(g, lines[i]);
    return STATUS_OK;
}

static status open_data(training *g)
{
    const job *j = g->job;
    status result =
        tokens_open(&g->train, j->data.train, j->batch.length, j->model.gpt2.vocab_size);
    if (!result)
        result = tokens_open(&g->valid, j->data.valid, j->batch.length, j->model.gpt2.vocab_size);
    if (!result && tokens_windows(g->valid) < j->batch.sequences)
        result = fail(STATUS_INPUT,
                      "%s: %" PRIu64 " windows of %zu tokens found, at least one batch of %" PRIu64
                      " expected",
                      j->data.valid, tokens_windows(g->valid), j->batch.length, j->batch.sequences);
    return agree(g->c->world, result);
}

static void set_facts(training *g)
{
    checkpoint_facts *f = &g->facts;
    f->seed = g->job->seed;
    f->updates = g->trainer.state.updates;
    f->item = f->steps * g->job->batch.microbatches * g->job->batch.sequences;
    f->threads = (uint64_t)g->options->placement->threads;
    f->ranks = (uint64_t)g->c->size;
    snprintf(f->instruction_set, sizeof f->instruction_set, "%s", kernels_instruction_set());
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0';
    snprintf(f->libraries, sizeof f->libraries, "%s, %.100s", kernels_library_version(), mpi);
}

/* A failed checkpoint stops the run or not, as the job says. */
static status checkpoint_failed(training *g, status result)
{
    if (!result || g->job->checkpoint.on_error == ON_ERROR_STOP) return result;
    char line[STATUS_MESSAGE_SIZE];
    snprintf(line, sizeof line, "checkpoint not written: %.900s", status_message());
    status_clear();
    warn(g, line);
    return STATUS_OK;
}

static status finish_checkpoint(training *g)
{
    if (!g->writer) return STATUS_OK;
    status result = checkpoint_finish(&g->writer, g->job->checkpoint.keep);
    char details[64];
    snprintf(details, sizeof details, "\"step\": %" PRIu64, g->saved);
    if (!result)
        note(g, "checkpoint", details);
    else
        g->saved = UINT64_MAX;
    return checkpoint_failed(g, result);
}

static status begin_checkpoint(training *g)
{
    if (g->saved == g->facts.steps) return STATUS_OK;
    status result = finish_checkpoint(g);
    if (result) return result;
    state *s = &g->trainer.state;
    checkpoint_array arrays[CHECKPOINT_ARRAYS];
    size_t count = state_checkpoint_arrays(s, arrays);
    set_facts(g);
    state_mean_out(s);
    result =
        checkpoint_begin(&g->writer, g->c->checkpoint, g->path, g->job, &g->facts, &g->trainer.p,
                         arrays, count, s->checkpoint_slices, s->owned->owned_count);
    if (!result) g->saved = g->facts.steps;
    return checkpoint_failed(g, result);
}

static status save_now(training *g)
{
    status result = begin_checkpoint(g);
    return result ? result : finish_checkpoint(g);
}

/* A stop promises a checkpoint, whatever checkpoint.on_error says of lost ones. */
static status save_to_stop(training *g)
{
    status result = save_now(g);
    if (!result && g->saved != g->facts.steps)
        result =
            fail(STATUS_IO, "%s: stopped, and no checkpoint of step %" PRIu64 " could be written",
                 g->path, g->facts.steps);
    return result;
}

static bool due(uint64_t steps, uint64_t every, uint64_t last)
{
    return steps == last || (every > 0 && steps % every == 0);
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
        warn(g, line);
    }
    if (rescued > 0.0 && !g->warned_rescue) {
        g->warned_rescue = true;
        snprintf(line, sizeof line,
                 "step %" PRIu64
                 ": h + delta would not have stayed positive and finite in %.0f elements, which "
                 "kept their h",
                 g->facts.steps, rescued);
        warn(g, line);
    }
}

/* Sums over ranks, logged: what was clipped, rescued, sent, and where the time went. */
static void make_row(training *g, const step_result *step, const state_statistics *stats,
                     const uint64_t *sent_before, double step_seconds, double waited, metrics *row)
{
    double sums[3 + BYTES_KINDS + TIME_KINDS] = {(double)step->report.clipped,
                                                 (double)step->report.rescued, waited};
    double *time = sums + 3 + BYTES_KINDS;
    for (int k = 0; k < BYTES_KINDS; k++) sums[3 + k] = (double)(g->c->sent[k] - sent_before[k]);
    timing_take(&g->c->timing, time);
    comm_sum_ordered(g->c, sums, sizeof sums / sizeof sums[0]);
    for (int k = 0; k < TIME_KINDS; k++) time[k] /= (double)g->c->size;
    uint64_t tokens_seen = g->facts.steps * tokens_a_step(g->job);
    double bytes = 0.0;
    for (int k = 0; k < BYTES_KINDS; k++) bytes += sums[3 + k];
    bool ivon = g->job->optimizer.kind == OPTIMIZER_IVON && !step->skipped;
    double speed = (double)(tokens_seen - g->logged_tokens) / (g->seconds - g->logged_seconds);
    *row = (metrics){
        .step = g->facts.steps,
        .tokens = tokens_seen,
        .seconds = g->seconds,
        .train_loss = step->loss,
        .valid_loss = NAN,
        .valid_loss_averaged = NAN,
        .lr = schedule_at(&g->job->schedule, g->facts.steps - 1, g->job->steps),
        .grad_norm = step->report.grad_norm,
        .grad_clip_fraction = step->gradient_clip_fraction,
        .update_clip_fraction = sums[0] / (double)g->trainer.p.count,
        .sigma_mean = ivon ? stats->sigma_mean : NAN,
        .hessian_min = ivon ? stats->hessian_min : NAN,
        .hessian_mean = ivon ? stats->hessian_mean : NAN,
        .hessian_bias = ivon ? stats->hessian_bias : NAN,
        .tokens_per_second = speed,
        .model_flops_utilization = utilization_of(g->job, speed, g->ceiling),
        .bytes_sent = (uint64_t)bytes,
        .comm_fraction = sums[2] / ((double)g->c->size * step_seconds),
        .seconds_sample = time[TIME_SAMPLE],
        .seconds_forward = time[TIME_FORWARD],
        .seconds_backward = time[TIME_BACKWARD],
        .seconds_wait = time[TIME_WAIT],
        .seconds_update = time[TIME_UPDATE],
        .seconds_data = time[TIME_DATA],
        .seconds_checkpoint = time[TIME_CHECKPOINT],
    };
    /* What a run exceeds was measured while others used the machine: measure again next time. */
    if (first_rank(g) && row->model_flops_utilization > 1.0) ceilings_forget();
    g->logged_seconds = g->seconds;
    g->logged_tokens = tokens_seen;
    if (ivon) warn_of_statistics(g, stats, sums[1]);
}

static status evaluate(training *g, metrics *row)
{
    const job *j = g->job;
    status result = trainer_evaluate(&g->trainer, g->valid, j->eval.batches, j->eval.samples,
                                     &row->valid_loss, &row->valid_loss_averaged);
    if (result) return result;
    if (isnan(row->valid_loss_averaged))
        progress_say(&g->progress, "step %" PRIu64 ": validation loss %.4f", g->facts.steps,
                     row->valid_loss);
    else
        progress_say(&g->progress, "step %" PRIu64 ": validation loss %.4f, averaged %.4f",
                     g->facts.steps, row->valid_loss, row->valid_loss_averaged);
    return STATUS_OK;
}

/* A NaN or infinity: the step was dropped, the run goes on until there are too many in a row. */
static status note_skip(training *g, const step_result *step)
{
    if (!step->skipped) {
        g->facts.skipped_in_row = 0;
        return STATUS_OK;
    }
    g->facts.skipped_in_row++;
    const parameters *p = &g->trainer.p;
    const char *bad = step->bad_unit < p->unit_count
                          ? p->tensors[p->units[step->bad_unit].first].name
                          : "the loss";
    char details[200];
    snprintf(details, sizeof details, "\"step\": %" PRIu64 ", \"first_bad\": \"%s\"",
             g->facts.steps - 1, bad);
    note(g, "skipped", details);
    if (g->facts.skipped_in_row <= g->job->guard.max_skipped) return STATUS_OK;
    status result = save_to_stop(g);
    if (result) return result;
    return fail(STATUS_NUMERIC,
                "%s: %" PRIu64 " steps in a row had a loss or gradient that is not finite, at most "
                "%" PRIu64 " expected (guard.max_skipped); the first bad unit begins with %s",
                g->path, g->facts.skipped_in_row, g->job->guard.max_skipped, bad);
}

static status stop(training *g)
{
    status result = save_to_stop(g);
    if (result) return result;
    char details[64];
    snprintf(details, sizeof details, "\"step\": %" PRIu64, g->facts.steps);
    note(g, "stopped", details);
    return fail(STATUS_STOPPED,
                "%s: stopped by %s with a checkpoint of step %" PRIu64
                ", run the same command again to go on",
                g->path, guard_reason(), g->facts.steps);
}

/* After a whole step: log, evaluate and save what is due. */
static status after_step(training *g, const step_result *step, const state_statistics *stats,
                         const uint64_t *sent_before, double step_seconds, double waited)
{
    const job *j = g->job;
    uint64_t done = g->facts.steps;
    bool evaluating = due(done, j->eval.every, j->steps);
    status result = note_skip(g, step);
    if (!result && (evaluating || due(done, j->log.every, j->steps))) {
        metrics row;
        make_row(g, step, stats, sent_before, step_seconds, waited, &row);
        progress_step(&g->progress, done, step->loss, row.tokens_per_second,
                      row.model_flops_utilization, done == j->steps);
        if (evaluating) result = evaluate(g, &row);
        if (!result)
            result =
                agree(g->c->world, first_rank(g) ? run_metrics_append(g->run, &row) : STATUS_OK);
    } else if (!result) {
        double speed = (double)tokens_a_step(j) / step_seconds;
        progress_step(&g->progress, done, step->loss, speed, utilization_of(j, speed, g->ceiling),
                      false);
    }
    timing_start(&g->c->timing, TIME_CHECKPOINT);
    if (!result && g->writer && step->written) result = finish_checkpoint(g);
    if (!result && due(done, j->checkpoint.every, j->steps)) result = begin_checkpoint(g);
    timing_stop(&g->c->timing);
    return result;
}

static status run_steps(training *g)
{
    const job *j = g->job;
    while (g->facts.steps < j->steps) {
        uint64_t t = g->facts.steps, sent_before[BYTES_KINDS];
        memcpy(sent_before, g->c->sent, sizeof sent_before);
        bool logged = due(t + 1, j->log.every, j->steps) || due(t + 1, j->eval.every, j->steps);
        step_result step;
        state_statistics stats = {0};
        double start = timing_clock(), waited = g->c->timing.seconds[TIME_WAIT];
        bool written = !g->writer || checkpoint_written(g->writer);
        status result =
            trainer_step(&g->trainer, g->train, t, written, &step, logged ? &stats : NULL);
        if (result) return result;
        if (step.stopped) return stop(g);
        double seconds = timing_clock() - start;
        g->seconds += seconds;
        for (int k = 0; k < BYTES_KINDS; k++)
            g->total_sent[k] += (double)(g->c->sent[k] - sent_before[k]);
        g->facts.steps++;
        waited = g->c->timing.seconds[TIME_WAIT] - waited;
        result = after_step(g, &step, &stats, sent_before, seconds, waited);
        if (result) return result;
    }
    return save_now(g);
}

static void say_end(training *g)
{
    comm_sum_ordered(g->c, g->total_sent, BYTES_KINDS);
    if (!first_rank(g)) return;
    char details[512];
    size_t n = (size_t)snprintf(details, sizeof details,
                                "\"step\": %" PRIu64 ", \"seconds\": %.3f, \"bytes_sent\": {",
                                g->facts.steps, g->seconds);
    for (int k = 0; k < BYTES_KINDS; k++)
        n += (size_t)snprintf(details + n, sizeof details - n, "%s\"%s\": %.0f", k ? ", " : "",
                              bytes_names[k], g->total_sent[k]);
    snprintf(details + n, sizeof details - n, "}");
    note(g, "finished", details);
    if (g->options->json) printf("{\"run\": \"%s\", %s}\n", g->path, details);
}

static status run_open_run(training *g)
{
    bool resume = false;
    status result = open_run(g, &resume);
    if (!result) result = open_data(g);
    if (!result) result = trainer_open(&g->trainer, g->job, g->c, g->options->precision, true);
    if (!result) result = resume ? read_checkpoint(g) : import_weights(g);
    if (result) return result;
    if (g->facts.steps >= g->job->steps) {
        progress_say(&g->progress, "%s: finished at step %" PRIu64 ", nothing to do", g->path,
                     g->facts.steps);
        return STATUS_OK;
    }
    g->ceiling = utilization_ceiling(g->c, g->options->precision, g->options->placement);
    result = agree(g->c->world, first_rank(g) ? prepare_run(g) : STATUS_OK);
    if (!result && g->facts.steps == 0 && g->job->checkpoint.initial) result = save_now(g);
    MPI_Bcast(&g->seconds, 1, MPI_DOUBLE, 0, g->c->world);
    g->logged_seconds = g->seconds;
    g->logged_tokens = g->facts.steps * tokens_a_step(g->job);
    bool terminal = g->progress.terminal;
    progress_open(&g->progress, g->progress.shown, g->facts.steps, g->job->steps);
    g->progress.terminal = terminal;
    if (!result) result = run_steps(g);
    if (!result) say_end(g);
    return result;
}

status train_run(const job *j, comm *c, const train_options *options)
{
    training *g = calloc(1, sizeof *g);
    status result = agree(c->world, g ? STATUS_OK : fail(STATUS_NOMEM, "memory for a run"));
    if (result) {
        free(g);
        return result;
    }
    *g = (training){.job = j, .c = c, .options = options, .saved = UINT64_MAX};
    progress_open(&g->progress, c->rank == 0 && !options->quiet, 0, j->steps);
    if (options->precision != j->precision)
        progress_say(&g->progress, "notice: this processor (%s) does not multiply bf16: fp32 used",
                     kernels_instruction_set());
    result = agree(c->world, guard_open(j->checkpoint.margin_seconds));
    if (!result) result = run_open_run(g);
    progress_close(&g->progress);
    if (g->writer) {
        /* On the way out of a failure: let the writer end, keep the first message. */
        char message[STATUS_MESSAGE_SIZE];
        snprintf(message, sizeof message, "%s", status_message());
        status_clear();
        checkpoint_finish(&g->writer, 0);
        status_clear();
        fail(result, "%s", message);
    }
    trainer_close(&g->trainer);
    tokens_close(&g->train);
    tokens_close(&g->valid);
    run_close(&g->run);
    free(g);
    return result;
}
