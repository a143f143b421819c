/* Names, shapes and layouts are Hugging Face's already: what is added are biases of 0 where the
 * model has none, since transformers cannot do without. */
#include "analysis/exporting.h"

#include "io/checkpoints/checkpoint_source.h"
#include "io/files/json_text.h"
#include "io/runs/output.h"
#include "io/tokens/tokenizer.h"
#include "io/weights/export.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "runtime/sharding.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 18 /* elements: a megabyte */, BUFFERS = 2 /* mean, deviations */ };

typedef struct {
    const job *job;
    comm *c;
    const exporting_options *o;
    parameters p;
    sharding owned;
    checkpoint_source *source;
    export_sink *sink;
    bool posterior;
    runtime_settings with;
    size_t largest; /* elements that are read at once */
    float *buffers; /* [BUFFERS][largest] */
} exporting;

static status check_model(const job *j, const char *run)
{
    if (j->model.kind == MODEL_GPT2) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: a run of gpt2 expected, model.kind is %s: transformers does not have it", run,
                job_words(j)->name);
}

/* Other inputs may stand in the directory: a model's files are added to it. */
static bool takes(const char *name)
{
    return !*name;
}

/* Rank 0. */
static status check_place(const exporting *x)
{
    const char *inputs[] = {x->o->run, job_init(x->job)};
    return output_check_directory(x->o->out, inputs, 2, takes);
}

static status open_parameters(exporting *x)
{
    model_config config = job_model(x->job);
    x->with = job_settings(x->job);
    status result = model_parameters(&x->p, &config);
    if (!result) x->largest = checkpoint_source_largest(&x->with, &x->p, PIECE);
    return result
               ? result
               : settings_shard(&x->with, &x->owned, &x->p, (size_t)x->c->size, (size_t)x->c->rank);
}

static status open_memory(exporting *x)
{
    size_t bytes = BUFFERS * x->largest * sizeof *x->buffers;
    status result =
        free_memory_check(x->c->world, (double)(bytes + checkpoint_source_bytes(&x->with, &x->p)),
                          "vario export: buffers");
    if (result) return result;
    x->buffers = malloc(bytes);
    return agree(x->c->world,
                 x->buffers ? STATUS_OK : fail(STATUS_NOMEM, "memory for the pieces of a model"));
}

static status open_source(exporting *x)
{
    status result = checkpoint_source_open(&x->source, x->c->world, x->o->run, &x->with, &x->p);
    if (result) return result;
    x->posterior = checkpoint_source_prior(x->source)->lambda > 0.0;
    if (checkpoint_source_facts(x->source)->snapshots == 0) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: an average of SWAG's snapshots found, one mean expected: `vario curvature` "
                "makes a run of it, which can be exported",
                x->o->run);
}

static status export_piece(exporting *x, const slice *part)
{
    float *mean = x->buffers, *sigma = mean + x->largest;
    const tensor *t = &x->p.tensors[part->tensor];
    slice there = *part;
    there.tensor = parameters_find(export_parameters(x->sink), t->name);
    status result = checkpoint_source_read(x->source, SOURCE_MEAN, part, mean);
    if (!result) result = export_write(x->sink, EXPORT_MEAN, &there, mean);
    if (result || !x->posterior) return result;
    result = checkpoint_source_read(x->source, SOURCE_DEVIATION, part, sigma);
    return result ? result : export_write(x->sink, EXPORT_DEVIATION, &there, sigma);
}

/* This rank's part. */
static status export_owned(exporting *x)
{
    status result = STATUS_OK;
    for (size_t i = 0; i < x->owned.owned_count; i++) {
        const slice *whole = &x->owned.owned[i];
        for (size_t at = 0; !result && at < whole->count;) {
            slice part = checkpoint_source_part(&x->with, &x->p, whole, at, PIECE);
            result = export_piece(x, &part);
            at += part.count;
        }
    }
    return result;
}

/* Rank 0: tensors that the files have and the model has not, whose weights are certainly 0. */
static status export_zeros(exporting *x)
{
    const parameters *all = export_parameters(x->sink);
    status result = STATUS_OK;
    memset(x->buffers, 0, PIECE * sizeof *x->buffers);
    for (size_t i = 0; !result && i < all->tensor_count; i++) {
        const tensor *t = &all->tensors[i];
        if (parameters_find(&x->p, t->name) < x->p.tensor_count) continue;
        for (size_t at = 0; !result && at < t->count; at += PIECE) {
            size_t left = t->count - at;
            slice part = {.tensor = i, .first = at, .count = left < PIECE ? left : PIECE};
            result = export_write(x->sink, EXPORT_MEAN, &part, x->buffers);
            if (!result && x->posterior)
                result = export_write(x->sink, EXPORT_DEVIATION, &part, x->buffers);
        }
    }
    return result;
}

/* The directory of a path or pattern: what is before its last slash. */
static void directory_of(char out[JOB_TEXT], const char *path)
{
    snprintf(out, JOB_TEXT, "%s", path);
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = '\0';
    else
        snprintf(out, JOB_TEXT, ".");
}

static status finish(exporting *x)
{
    char data[JOB_TEXT], run[2 * JOB_TEXT];
    directory_of(data, x->job->data.train);
    bool kept = tokenizer_of_run(run, sizeof run, x->o->run);
    const char *tokenizers[] = {kept ? run : data, job_init(x->job) ? job_init(x->job) : data,
                                data};
    return export_finish(&x->sink, tokenizers, 3);
}

static status export_model(exporting *x, exporting_report *report)
{
    status result = check_model(x->job, x->o->run);
    if (!result) result = agree(x->c->world, x->c->rank == 0 ? check_place(x) : STATUS_OK);
    if (!result) result = agree(x->c->world, open_parameters(x));
    if (!result) result = open_memory(x);
    if (!result) result = open_source(x);
    if (!result)
        result = export_open(&x->sink, x->c->world, x->o->out, &x->job->model.gpt2, x->posterior,
                             x->o->force);
    if (result) return result;
    bool first = x->c->rank == 0;
    result = export_owned(x);
    if (!result && first) result = export_zeros(x);
    if (first)
        report->details = json_pack("{so so sI sb}", "checkpoint",
                                    json_text_string(checkpoint_source_path(x->source)), "out",
                                    json_text_string(x->o->out), "parameters",
                                    (json_int_t)x->p.count, "posterior", x->posterior);
    result = agree(x->c->world, result);
    report->parameters = x->p.count;
    report->posterior = x->posterior;
    return result ? result : finish(x);
}

status exporting_run(const job *j, comm *c, const exporting_options *options,
                     exporting_report *report)
{
    *report = (exporting_report){0};
    exporting x = {.job = j, .c = c, .o = options};
    status result = export_model(&x, report);
    export_abandon(&x.sink);
    checkpoint_source_close(&x.source);
    sharding_close(&x.owned);
    parameters_close(&x.p);
    free(x.buffers);
    return result;
}
