/* Rank 0 holds the lock from before the work until the new run is whole. */
#include "analysis/new_run.h"

#include "io/checkpoints/safetensors.h"
#include "io/runs/job_checkpoint.h"
#include "io/runs/output.h"
#include "io/tokens/tokenizer.h"
#include "runtime/agree.h"

#include <jansson.h>
#include <stdio.h>

static status refuse_existing(const new_run *n)
{
    if (n->force || !checkpoint_exists(n->path)) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: a run with checkpoints found, a new one expected (--force replaces it)",
                n->path);
}

status new_run_open(new_run *n, const job *j, comm *c, bool force, const char *const *inputs,
                    size_t count)
{
    status result = STATUS_OK;
    *n = (new_run){.job = j, .c = c, .force = force};
    snprintf(n->path, sizeof n->path, "%s/%s", j->output, j->name);
    if (c->rank == 0) {
        char directory[4096];
        const char *init = job_init(j);
        for (size_t i = 0; i < count && !n->source; i++)
            if (inputs[i] && tokenizer_of_run(directory, sizeof directory, inputs[i]))
                n->source = inputs[i];
        result = output_check_run(n->path, inputs, count);
        if (!result) result = output_check_run(n->path, &init, 1);
        if (!result) result = refuse_existing(n);
    }
    return agree(c->world, result);
}

static status lock(new_run *n, uint64_t bytes)
{
    status result = run_open(&n->run, n->job);
    if (result) return result;
    checkpoint_sweep(n->path); /* a checkpoint may come back */
    result = refuse_existing(n);
    return result ? result : run_check_space(n->run, bytes);
}

status new_run_lock(new_run *n, const parameters *p, const saved_array *arrays, size_t count)
{
    status result = n->c->rank == 0 ? lock(n, checkpoint_bytes(p, arrays, count)) : STATUS_OK;
    return agree(n->c->world, result);
}

status new_run_begin(new_run *n, const checkpoint_facts *source, const checkpoint_prior *prior,
                     const parameters *p, const saved_array *arrays, size_t count)
{
    checkpoint_facts facts = *source;
    facts.steps = facts.updates = facts.skipped_in_row = facts.item = facts.snapshots = 0;
    facts.loo_made = facts.loo_waited = 0;
    facts.seed = n->job->seed;
    return job_checkpoint_open(&n->sink, n->c->checkpoint, n->path, n->job, prior, &facts, p,
                               arrays, count);
}

bool new_run_write_first(const new_run *n, const array_list *list, size_t array,
                         const sharding *owned, float *buffer, size_t count)
{
    const array_set *set = list->arrays[array].set;
    const parameters *p = set ? &set->p : owned->p;
    const slice *slices = set ? set->slices : owned->owned;
    bool good = true;
    for (size_t i = 0; i < (set ? set->count : owned->owned_count); i++)
        for (size_t at = 0; good && at < slices[i].count;) {
            slice part = safetensors_part(p, &slices[i], at, count);
            array_list_first(list, array, &part, buffer);
            good = checkpoint_sink_write(n->sink, array, &part, 1, buffer);
            at += part.count;
        }
    return good;
}

status new_run_settle(new_run *n)
{
    return checkpoint_sink_settle(n->sink);
}

static status keep_tokenizer(const new_run *n)
{
    char directory[4096];
    return n->source && tokenizer_of_run(directory, sizeof directory, n->source)
               ? tokenizer_copy(directory, n->path)
               : tokenizer_remove(n->path);
}

/* Rank 0: the run that the checkpoint belongs to. */
static status prepare(const new_run *n, const char *event, json_t *details)
{
    status result = details ? run_clear(n->run, n->force)
                            : fail(STATUS_NOMEM, "memory for an event of %s", n->path);
    if (!result) result = run_write_job(n->run, n->job);
    if (!result) result = keep_tokenizer(n);
    return result ? result : run_event(n->run, event, json_incref(details));
}

status new_run_publish(new_run *n, const char *event, json_t *details)
{
    bool first = n->c->rank == 0;
    status result = agree(n->c->world, first ? prepare(n, event, details) : STATUS_OK);
    if (result) return result;
    result = checkpoint_sink_finish(&n->sink, 0);
    /* A job without a checkpoint would begin from scratch. */
    if (result && first) run_clear(n->run, n->force);
    return result;
}

void new_run_close(new_run *n)
{
    checkpoint_sink_abandon(&n->sink);
    run_discard(&n->run);
}
