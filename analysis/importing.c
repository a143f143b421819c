/* What a run of this job would begin with, without a trainer. */
#include "analysis/importing.h"

#include "analysis/new_run.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/json_text.h"
#include "io/weights/pretrained.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "runtime/sharding.h"
#include "runtime/state.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 1 << 22 /* elements: 16 MiB, many rows of a matrix that is stored turned */ };

typedef struct {
    const job *job;
    comm *c;
    bool force;
    parameters p;
    sharding owned;
    pretrained *weights;
    array_list list; /* the mean, then others */
    new_run made;
    bool torn;     /* the sink could not write: it tells why when it settles */
    float *buffer; /* [PIECE] */
} importing;

static status open_memory(importing *x)
{
    const runtime_settings with = job_settings(x->job);
    model_config config = job_model(x->job);
    x->buffer = malloc(PIECE * sizeof *x->buffer);
    if (!x->buffer) return fail(STATUS_NOMEM, "memory for the pieces of a model");
    status result = model_parameters(&x->p, &config);
    if (!result)
        result = settings_shard(&with, &x->owned, &x->p, (size_t)x->c->size, (size_t)x->c->rank);
    return result ? result : array_list_open(&x->list, &with, &x->owned, true);
}

static status begin(importing *x)
{
    checkpoint_prior prior;
    checkpoint_facts facts = {.ranks = 1};
    snprintf(facts.instruction_set, sizeof facts.instruction_set, "%s", kernels_instruction_set());
    snprintf(facts.libraries, sizeof facts.libraries, "%s", kernels_library_version());
    const runtime_settings settings = job_settings(x->job);
    status result = agree(x->c->world, checkpoint_prior_of_settings(&prior, &settings, &x->p));
    if (!result)
        result = new_run_begin(&x->made, &facts, &prior, &x->p, x->list.arrays, x->list.count);
    checkpoint_prior_close(&prior);
    return result;
}

/* This rank's part of the mean, the first array. */
static status import_mean(importing *x)
{
    status result = STATUS_OK;
    for (size_t i = 0; i < x->owned.owned_count; i++) {
        const slice *whole = &x->owned.owned[i];
        for (size_t at = 0; !result && !x->torn && at < whole->count;) {
            slice part = safetensors_part(&x->p, whole, at, PIECE);
            result = pretrained_read(x->weights, &part, x->buffer);
            if (!result) x->torn = !checkpoint_sink_write(x->made.sink, 0, &part, 1, x->buffer);
            at += part.count;
        }
    }
    return result;
}

static status import_arrays(importing *x)
{
    status result = import_mean(x);
    for (size_t a = 1; !result && !x->torn && a < x->list.count; a++)
        x->torn = !new_run_write_first(&x->made, &x->list, a, &x->owned, x->buffer, PIECE);
    return result;
}

static status publish(importing *x, importing_report *report)
{
    status result = new_run_settle(&x->made);
    if (!result) result = pretrained_finish(x->weights, &report->checksum);
    if (result) return result;
    checkpoint_sink_set_init(x->made.sink, report->checksum);
    report->parameters = x->p.count;
    if (x->c->rank == 0)
        report->details = json_pack("{so so sI}", "source", json_text_string(x->job->model.init),
                                    "checksum", json_sprintf("%016" PRIx64, report->checksum),
                                    "parameters", (json_int_t)x->p.count);
    return new_run_publish(&x->made, "imported", report->details);
}

static status import_model(importing *x, importing_report *report)
{
    const char *path = x->job->model.init;
    const model_config config = job_model(x->job);
    status result = new_run_open(&x->made, x->job, x->c, x->force, &path, 1);
    if (!result)
        result = free_memory_check(x->c->world, (double)(PIECE * sizeof(float)),
                                   "vario import: buffers");
    if (!result) result = agree(x->c->world, open_memory(x));
    if (!result) result = pretrained_open(&x->weights, x->c->world, path, &config);
    if (!result) result = new_run_lock(&x->made, &x->p, x->list.arrays, x->list.count);
    if (!result) result = begin(x);
    if (!result) result = agree(x->c->world, import_arrays(x));
    return result ? result : publish(x, report);
}

status importing_run(const job *j, comm *c, bool force, importing_report *report)
{
    *report = (importing_report){0};
    importing x = {.job = j, .c = c, .force = force};
    status result = import_model(&x, report);
    new_run_close(&x.made);
    pretrained_close(&x.weights);
    array_list_close(&x.list);
    sharding_close(&x.owned);
    parameters_close(&x.p);
    free(x.buffer);
    return result;
}
