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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 22 /* elements: 16 MiB, many rows of a matrix that is stored turned */ };

typedef struct {
    const job *job;
    comm *c;
    bool force;
    parameters p;
    sharding owned;
    pretrained *weights;
    saved_array arrays[SAVED_ARRAYS]; /* the mean, then others */
    size_t array_count;
    new_run made;
    bool torn;     /* the sink could not write: it tells why when it settles */
    float *buffer; /* [PIECE] */
} importing;

static status open_memory(importing *x)
{
    const state names = {.settings = job_settings(x->job),
                         .training = true}; /* arrays without values */
    model_config config = job_model(x->job);
    x->array_count = state_saved_arrays(&names, x->arrays);
    x->buffer = malloc(PIECE * sizeof *x->buffer);
    if (!x->buffer) return fail(STATUS_NOMEM, "memory for the pieces of a model");
    status result = model_parameters(&x->p, &config);
    return result ? result
                  : sharding_open(&x->owned, &x->p, (size_t)x->c->size, (size_t)x->c->rank);
}

static status begin(importing *x)
{
    checkpoint_prior prior;
    checkpoint_facts facts = {.ranks = 1};
    snprintf(facts.instruction_set, sizeof facts.instruction_set, "%s", kernels_instruction_set());
    snprintf(facts.libraries, sizeof facts.libraries, "%s", kernels_library_version());
    const runtime_settings settings = job_settings(x->job);
    status result = agree(x->c->world, checkpoint_prior_of_settings(&prior, &settings, &x->p));
    if (!result) result = new_run_begin(&x->made, &facts, &prior, &x->p, x->arrays, x->array_count);
    checkpoint_prior_close(&prior);
    return result;
}

/* What training begins with in every element of an array. */
static float first_value(const importing *x, const saved_array *array)
{
    const optimizer_array *spread = job_optimizer(x->job)->arrays;
    if (strcmp(array->file, "posterior.safetensors") != 0) return 0.0F;
    return (float)spread->initial(&x->job->optimizer);
}

static void write_piece(importing *x, size_t array, const slice *part)
{
    x->torn = x->torn || !checkpoint_sink_write(x->made.sink, array, part, 1, x->buffer);
}

static void fill(const importing *x, size_t array)
{
    float value = first_value(x, &x->arrays[array]);
    for (size_t e = 0; e < PIECE; e++) x->buffer[e] = value;
}

/* This rank's part of an array; the first is the mean. */
static status import_array(importing *x, size_t array)
{
    status result = STATUS_OK;
    if (array > 0) fill(x, array);
    for (size_t i = 0; i < x->owned.owned_count; i++) {
        const slice *whole = &x->owned.owned[i];
        for (size_t at = 0; !result && !x->torn && at < whole->count;) {
            slice part = safetensors_part(&x->p, whole, at, PIECE);
            if (array == 0) result = pretrained_read(x->weights, &part, x->buffer);
            if (!result) write_piece(x, array, &part);
            at += part.count;
        }
    }
    return result;
}

static status import_arrays(importing *x)
{
    status result = STATUS_OK;
    for (size_t a = 0; !result && a < x->array_count; a++) result = import_array(x, a);
    return result;
}

static status importing_describe(const importing *x, importing_report *report)
{
    size_t size = 0;
    FILE *out = open_memstream(&report->details, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to describe an import");
    fprintf(out, "\"source\": ");
    json_text_print(out, x->job->model.init);
    fprintf(out, ", \"checksum\": \"%016" PRIx64 "\", \"parameters\": %zu", report->checksum,
            x->p.count);
    return fclose(out) == 0 ? STATUS_OK : fail(STATUS_NOMEM, "memory to describe an import");
}

static status publish(importing *x, importing_report *report)
{
    status result = new_run_settle(&x->made);
    if (!result) result = pretrained_finish(x->weights, &report->checksum);
    if (result) return result;
    checkpoint_sink_set_init(x->made.sink, report->checksum);
    report->parameters = x->p.count;
    result = agree(x->c->world, x->c->rank == 0 ? importing_describe(x, report) : STATUS_OK);
    return result ? result : new_run_publish(&x->made, "imported", report->details);
}

static status import_model(importing *x, importing_report *report)
{
    const char *path = x->job->model.init;
    const model_config config = job_model(x->job);
    status result = job_check_slices(x->job, path, "vario import");
    if (!result) result = new_run_open(&x->made, x->job, x->c, x->force, &path, 1);
    if (!result)
        result = free_memory_check(x->c->world, (double)(PIECE * sizeof(float)),
                                   "vario import: buffers");
    if (!result) result = agree(x->c->world, open_memory(x));
    if (!result) result = pretrained_open(&x->weights, x->c->world, path, &config);
    if (!result) result = new_run_lock(&x->made, &x->p, x->arrays, x->array_count);
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
    sharding_close(&x.owned);
    parameters_close(&x.p);
    free(x.buffer);
    return result;
}
