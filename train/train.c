/* The life of a run: open or resume, then step, log, evaluate and save until the end or a stop. */
#include "io/files/json_text.h"
#include "io/runs/ceilings.h"
#include "io/runs/history.h"
#include "io/tokens/tokenizer.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"
#include "runtime/guard.h"
#include "runtime/watch.h"
#include "train/train_parts.h"
#include "train/utilization.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rank 0 locks the run and looks what is there. */
static status open_run(training *g, bool *resume)
{
    status result = STATUS_OK;
    if (train_first_rank(g)) {
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

/* Where a restart begins and what computes it. */
static void note_restart(training *g)
{
    char processor[100];
    const placement *p = g->options->placement;
    ceilings_processor(processor, sizeof processor);
    train_note(g, g->facts.steps ? "resumed" : "started",
               json_pack("{sI si si si si so ss ss ss so}", "step", (json_int_t)g->facts.steps,
                         "ranks", g->c->size, "threads", p->threads, "nodes", p->nodes,
                         "memory_nodes", g->c->nodes.count, "processor",
                         json_text_string(processor), "instructions", kernels_instruction_set(),
                         "precision", g->options->precision == DTYPE_BF16 ? "bf16" : "fp32",
                         "version", VARIO_VERSION, "product_gflops", json_text_number(g->ceiling)));
}

/* What the first step begins with, where it is not initial weights of the run's own. */
static void note_init(training *g)
{
    if (g->facts.steps > 0 || !g->facts.init) return;
    train_note(g, "init",
               json_pack("{so}", "checksum", json_sprintf("%016" PRIx64, g->facts.init)));
    progress_say(&g->progress, "begins with the weights of %s (checksum %016" PRIx64 ")",
                 g->job->model.init, g->facts.init);
}

/* Say what a comparison found. @return whether tokens mean the same */
static bool warn_of_tokens(training *g, status found)
{
    if (!found) return true;
    char sentence[STATUS_MESSAGE_SIZE];
    snprintf(sentence, sizeof sentence, "%s", status_message());
    status_clear();
    train_warn(g, sentence);
    return false;
}

static status write_tokenizer(const char *path, const tokens_meaning *data)
{
    if (data->directory) return tokenizer_copy(data->directory, path);
    status result = tokenizer_remove(path);
    return result || !data->bytes ? result : tokenizer_write_bytes(path);
}

/* The run keeps the tokenizer that it began with: text is written with it. It is the data's; files
 * that came with the weights are preferred where they say the same, as there may be more of them,
 * and are all there is to know where the data do not say. */
static status keep_tokenizer(training *g, bool resume)
{
    char directory[sizeof g->path];
    const tokens_meaning data = dataset_means(g->train, "the training data");
    const tokens_meaning valid = dataset_means(g->valid, "the validation data");
    const char *begun = resume ? g->path : job_init(g->job);
    bool is_data = data.directory || data.bytes;
    bool there = begun && tokenizer_of_run(directory, sizeof directory, begun);
    warn_of_tokens(g, tokenizer_compare(&valid, &data));
    bool same = warn_of_tokens(
        g, dataset_check_tokens(g->train, "the training data", begun, "the weights"));
    if (there && g->facts.steps > 0) return STATUS_OK;
    if (there && (same || !is_data)) return tokenizer_copy(directory, g->path);
    return is_data || !resume ? write_tokenizer(g->path, &data) : STATUS_OK;
}

/* After the trainer is open: what rank 0 writes before the first step. */
static status prepare_run(training *g, bool resume)
{
    status result = train_check_space(g);
    if (!result) result = run_write_job(g->run, g->job);
    if (!result) result = keep_tokenizer(g, resume);
    char said[STATUS_MESSAGE_SIZE];
    if (!result) result = run_metrics_open(g->run, g->facts.steps, &g->seconds, said);
    if (result) return result;
    if (g->job->log.tensorboard) run_tensorboard_open(g->run, g->facts.steps);
    note_restart(g);
    note_init(g);
    train_note_settings(g);
    if (*said) train_warn(g, said);
    if (*g->options->placement->warning) train_warn(g, g->options->placement->warning);
    char lines[8][STATUS_MESSAGE_SIZE];
    size_t warnings = job_warnings(g->job, dataset_rows(g->train), lines, 8);
    for (size_t i = 0; i < warnings; i++) train_warn(g, lines[i]);
    return STATUS_OK;
}

static status open_data(training *g)
{
    status result = dataset_open(&g->train, g->job, DATASET_TRAIN, NULL);
    if (!result) result = dataset_open(&g->valid, g->job, DATASET_VALID, NULL);
    return agree(g->c->world, result);
}

/* A NaN or infinity: the step was dropped, the run goes on until there are too many in a row. */
static status note_skip(training *g, const step_result *step)
{
    if (!step->skipped) {
        g->facts.skipped_in_row = 0;
        return STATUS_OK;
    }
    g->facts.skipped_in_row++;
    const parameters *p = &g->trainer.rounds.p;
    const char *bad = step->bad_unit < p->unit_count
                          ? p->tensors[p->units[step->bad_unit].first].name
                          : "the loss";
    train_note(g, "skipped",
               json_pack("{sI ss}", "step", (json_int_t)g->facts.steps - 1, "first_bad", bad));
    if (g->facts.skipped_in_row <= g->job->guard.max_skipped) return STATUS_OK;
    status result = train_save_to_stop(g);
    if (result) return result;
    train_note_step(g, "diverged", g->facts.steps);
    return fail(STATUS_NUMERIC,
                "%s: %" PRIu64 " steps in a row had a loss or gradient that is not finite, at most "
                "%" PRIu64 " expected (guard.max_skipped); the first bad unit begins with %s",
                g->path, g->facts.skipped_in_row, g->job->guard.max_skipped, bad);
}

static status stop(training *g)
{
    status result = train_save_to_stop(g);
    if (result) return result;
    train_note_step(g, "stopped", g->facts.steps);
    return fail(STATUS_STOPPED,
                "%s: stopped by %s with a checkpoint of step %" PRIu64
                ", run the same command again to go on",
                g->path, guard_reason(), g->facts.steps);
}

/* Run the next step, unless a rank wants to stop, and measure what it takes. */
static status run_step(training *g, finished_step *step)
{
    uint64_t t = g->facts.steps, before[BYTES_KINDS];
    memcpy(before, g->c->sent, sizeof before);
    double start = timing_clock(), waited = g->c->timing.seconds[TIME_WAIT];
    bool written = !g->writer || checkpoint_written(g->writer);
    status result = trainer_step(&g->trainer, g->train, t, written, &step->result,
                                 train_logs(g, t + 1) ? &step->statistics : NULL);
    if (result || step->result.stopped) return result;
    step->seconds = timing_clock() - start;
    step->waited = g->c->timing.seconds[TIME_WAIT] - waited;
    for (int k = 0; k < BYTES_KINDS; k++) {
        step->sent[k] = g->c->sent[k] - before[k];
        g->total_sent[k] += (double)step->sent[k];
    }
    g->seconds += step->seconds;
    g->facts.steps++;
    return STATUS_OK;
}

static void say_over(training *g)
{
    progress_say(&g->progress,
                 "%s: ended at step %" PRIu64 " of %" PRIu64 ": %" PRIu64
                 " estimates in a row of the leave-one-out loss above the least, %.4f",
                 g->path, g->facts.steps, g->job->steps, g->facts.loo_waited, g->facts.loo_best);
    train_note_step(g, "early_stop", g->facts.steps);
}

static status run_steps(training *g)
{
    while (g->facts.steps < train_last(g)) {
        finished_step step = {0};
        status result = run_step(g, &step);
        if (result) return result;
        if (step.result.stopped) return stop(g);
        result = note_skip(g, &step.result);
        if (!result) result = train_log(g, &step);
        if (!result) result = train_save(g, step.result.written);
        if (result) return result;
        if (train_over(g)) break;
    }
    bool paused = !train_finished(g);
    status result = paused ? train_save_to_stop(g) : train_save_now(g);
    if (!result && train_over(g)) say_over(g);
    if (!result && paused)
        progress_say(&g->progress, "%s: paused at step %" PRIu64 " of %" PRIu64, g->path,
                     g->facts.steps, g->job->steps);
    return result;
}

/* Rank 0, of a run with nothing to do. A process that was killed after its last checkpoint has not
 * said that the run finished, or paused. */
static status note_end(training *g)
{
    bool broken;
    status result = g->job_lost ? run_write_job(g->run, g->job) : STATUS_OK;
    if (!result) result = history_broken(&broken, g->path);
    if (!result && broken)
        train_note_step(g, train_finished(g) ? "finished" : "paused", g->facts.steps);
    return result;
}

static status run_open_run(training *g)
{
    bool resume = false;
    status result = open_run(g, &resume);
    if (!result) result = open_data(g);
    if (!result) result = train_find_settings(g, resume);
    if (!result && !resume) result = train_find_init(g);
    if (!result) result = trainer_open(&g->trainer, g->job, g->c, g->options->precision, true);
    if (!result && g->job->sensitivity.every > 0)
        result = g->options->estimator->open(&g->estimator, &g->trainer);
    if (!result) result = resume ? train_restore(g) : train_read_init(g);
    if (result) return result;
    if (g->facts.steps >= train_last(g) || train_over(g)) {
        progress_say(&g->progress, "%s: %s at step %" PRIu64 ", nothing to do", g->path,
                     train_finished(g) ? "finished" : "paused", g->facts.steps);
        return agree(g->c->world, train_first_rank(g) ? note_end(g) : STATUS_OK);
    }
    g->ceiling = utilization_ceiling(g->c, g->options->precision, g->options->placement);
    result = agree(g->c->world, train_first_rank(g) ? prepare_run(g, resume) : STATUS_OK);
    if (train_first_rank(g)) watch_listen(train_note_stall, g);
    guard_save(true);
    if (!result && g->facts.steps == 0 && g->job->checkpoint.initial) result = train_save_now(g);
    MPI_Bcast(&g->seconds, 1, MPI_DOUBLE, 0, g->c->world);
    train_log_begin(g);
    if (!result) result = run_steps(g);
    if (!result) result = train_log_end(g);
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
    *g = (training){.c = c, .options = options, .saved = UINT64_MAX, .own = *j};
    g->job = &g->own;
    progress_open(&g->progress, c->rank == 0 && !options->quiet, job_words(j)->rows, 0, j->steps);
    if (options->precision != j->precision)
        progress_say(&g->progress, "notice: this processor (%s) does not multiply bf16: fp32 used",
                     kernels_instruction_set());
    result = agree(c->world, guard_open(j->checkpoint.margin_seconds));
    if (!result) result = run_open_run(g);
    if (g->run && (!result || result == STATUS_STOPPED)) run_settle(g->run);
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
    guard_save(false);
    if (!result) watch_settle();
    watch_listen(NULL, NULL);
    pretrained_close(&g->init);
    if (g->estimator) options->estimator->close(&g->estimator);
    trainer_close(&g->trainer);
    dataset_close(&g->train);
    dataset_close(&g->valid);
    run_close(&g->run);
    free(g);
    return result;
}
