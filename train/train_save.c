/* Checkpoints of a run: where it goes on from, and what it leaves. */
#include "io/runs/job_checkpoint.h"
#include "io/runs/job_of_run.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"
#include "train/train_parts.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void say_renamed(training *g, const char *before)
{
    train_note(g, "renamed", json_pack("{ss ss}", "from", before, "to", g->job->name));
    progress_say(&g->progress, "%s: its name was %s, and it goes on as %s", g->path, before,
                 g->job->name);
}

static status check_resume(training *g)
{
    char said[STATUS_MESSAGE_SIZE], line[STATUS_MESSAGE_SIZE];
    job before;
    status result = job_of_run(&before, g->path, said);
    if (!result) result = job_resume_check(&before, g->job, g->path);
    if (result) return result;
    g->job_lost = *said;
    if (*said) {
        snprintf(line, sizeof line, "%.990s, and job.yaml is written anew", said);
        train_warn(g, line);
    }
    if (strcmp(before.name, g->job->name) != 0) say_renamed(g, before.name);
    return STATUS_OK;
}

status train_restore(training *g)
{
    state *s = &g->trainer.rounds.state;
    status result = agree(g->c->world, train_first_rank(g) ? check_resume(g) : STATUS_OK);
    if (result) return result;
    saved_array arrays[SAVED_ARRAYS];
    size_t count = state_saved_arrays(s, arrays);
    char path[sizeof g->path + 32];
    result = checkpoint_read(g->c->world, g->path, &g->trainer.rounds.p, arrays, count,
                             s->owned->owned, s->owned->owned_count, &g->facts, path, sizeof path);
    if (!result) result = state_check_bases(s, g->c, path);
    if (result) return result;
    s->updates = g->facts.updates;
    s->snapshots = g->facts.snapshots;
    trainer_set_ess(&g->trainer, g->facts.steps);
    state_share(s, g->c);
    g->saved = g->facts.steps;
    progress_say(&g->progress, "resumed from step %" PRIu64 " (%s)", g->facts.steps, path);
    if (g->facts.threads && g->facts.threads != (uint64_t)g->options->placement->threads) {
        char line[200];
        snprintf(line, sizeof line,
                 "the checkpoint was written with %" PRIu64
                 " threads a rank and this run has %d: its bits will differ from a run of "
                 "%" PRIu64,
                 g->facts.threads, g->options->placement->threads, g->facts.threads);
        train_warn(g, line);
    }
    return STATUS_OK;
}

status train_find_init(training *g)
{
    const model_config config = job_model(g->job);
    if (!job_init(g->job)) return STATUS_OK;
    return pretrained_open(&g->init, g->c->world, g->job->model.init, &config);
}

status train_read_init(training *g)
{
    state *s = &g->trainer.rounds.state;
    if (!g->init) return STATUS_OK;
    saved_array mean = {.values = s->mean.values, .whole = s->mean.whole};
    status result =
        pretrained_load(g->init, &mean, s->owned->owned, s->owned->owned_count, &g->facts.init);
    pretrained_close(&g->init);
    if (result) return result;
    state_share(s, g->c);
    return STATUS_OK;
}

status train_check_space(const training *g)
{
    saved_array arrays[SAVED_ARRAYS];
    size_t count = state_saved_arrays(&g->trainer.rounds.state, arrays);
    uint64_t one = checkpoint_bytes(&g->trainer.rounds.p, arrays, count);
    return run_check_space(g->run, 2 * one);
}

static void set_facts(training *g)
{
    checkpoint_facts *f = &g->facts;
    f->seed = g->job->seed;
    f->updates = g->trainer.rounds.state.updates;
    f->snapshots = g->trainer.rounds.state.snapshots;
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
    train_warn(g, line);
    return STATUS_OK;
}

static status finish_checkpoint(training *g)
{
    if (!g->writer) return STATUS_OK;
    status result = checkpoint_finish(&g->writer, g->job->checkpoint.keep);
    if (!result)
        train_note_step(g, "checkpoint", g->saved);
    else
        g->saved = UINT64_MAX;
    return checkpoint_failed(g, result);
}

static status begin_checkpoint(training *g)
{
    if (g->saved == g->facts.steps) return STATUS_OK;
    status result = finish_checkpoint(g);
    if (!result) result = agree(g->c->world, g->run ? run_check(g->run) : STATUS_OK);
    if (result) return result;
    state *s = &g->trainer.rounds.state;
    saved_array arrays[SAVED_ARRAYS];
    size_t count = state_saved_arrays(s, arrays);
    set_facts(g);
    result = job_checkpoint_begin(&g->writer, g->c->checkpoint, g->path, g->job, &g->facts,
                                  &g->trainer.rounds.p, arrays, count, s->owned->owned,
                                  s->owned->owned_count);
    if (!result) g->saved = g->facts.steps;
    return checkpoint_failed(g, result);
}

status train_save(training *g, bool written)
{
    const job *j = g->job;
    status result = STATUS_OK;
    timing_start(&g->c->timing, TIME_CHECKPOINT);
    if (g->writer && written) result = finish_checkpoint(g);
    if (!result && train_due(g->facts.steps, j->checkpoint.every, train_last(g)))
        result = begin_checkpoint(g);
    timing_stop(&g->c->timing);
    return result;
}

status train_save_now(training *g)
{
    status result = begin_checkpoint(g);
    return result ? result : finish_checkpoint(g);
}

/* A stop promises a checkpoint, whatever checkpoint.on_error says of lost ones. */
status train_save_to_stop(training *g)
{
    status result = train_save_now(g);
    if (!result && g->saved != g->facts.steps)
        result =
            fail(STATUS_IO, "%s: stopped, and no checkpoint of step %" PRIu64 " could be written",
                 g->path, g->facts.steps);
    return result;
}
