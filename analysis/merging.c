/* Verify all inputs, merge piece by piece, and only then touch what the new run may hold already.
 */
#include "analysis/merging.h"

#include "analysis/new_run.h"
#include "io/checkpoints/checkpoint_source.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/json_text.h"
#include "io/tokens/tokenizer.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "runtime/sharding.h"
#include "runtime/state.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 1 << 18 /* elements: a megabyte */,
    MERGED_BUFFERS = 3 /* mean, h, what it is written from */
};

typedef struct {
    const job *job;
    comm *c;
    const merging_options *o;
    parameters p;
    runtime_settings with;  /* of the result's job, which is the lead's */
    runtime_settings reads; /* of an input whose tensors are read as a whole, or the result's */
    sharding owned;
    size_t largest;                    /* elements that are read at once */
    checkpoint_source *base, **models; /* [run_count] */
    checkpoint_source *lead; /* the base, or the first model: the result keeps its prior */
    double *scales;          /* [run_count] */
    bool posterior;
    array_list list; /* of the result: the mean, then those of the posterior, h first */
    new_run made;
    bool torn;           /* the sink could not write: it tells why when it settles */
    float *buffers;      /* [MERGED_BUFFERS + 2 (1 + run_count)][largest] */
    merge_model *inputs; /* [run_count] */
    merge_counts counts;
} merging;

/* All inputs: the base, NULL where there is none, and the runs. */
static status open_new_run(merging *g)
{
    size_t runs = g->o->run_count;
    const char *inputs[runs + 1];
    inputs[0] = g->o->base;
    for (size_t i = 0; i < runs; i++) inputs[i + 1] = g->o->runs[i];
    status result = new_run_open(&g->made, g->job, g->c, g->o->force, inputs, runs + 1);
    if (result) return result;
    result = g->c->rank == 0 ? tokenizer_compare_runs(inputs, runs + 1) : STATUS_OK;
    return agree(g->c->world, result);
}

static size_t buffer_count(const merging *g)
{
    return MERGED_BUFFERS + 2 * (1 + g->o->run_count);
}

static runtime_settings settings_of(const merging *g, size_t number)
{
    return job_settings(g->o->jobs ? &g->o->jobs[number] : g->job);
}

/* Matrices that are written or read as a whole have one owner. */
static status open_parameters(merging *g)
{
    model_config config = job_model(g->job);
    status result = model_parameters(&g->p, &config);
    if (result) return result;
    g->with = g->reads = job_settings(g->job);
    for (size_t i = 0; i < g->o->run_count && !checkpoint_source_takes_whole(&g->reads); i++) {
        runtime_settings with = settings_of(g, i);
        if (checkpoint_source_takes_whole(&with)) g->reads = with;
    }
    g->largest = checkpoint_source_largest(&g->reads, &g->p, PIECE);
    return settings_shard(g->with.row->matrix ? &g->with : &g->reads, &g->owned, &g->p,
                          (size_t)g->c->size, (size_t)g->c->rank);
}

static double bytes_needed(const merging *g)
{
    double bytes = (double)(buffer_count(g) * g->largest * sizeof(float));
    if (g->o->base) bytes += (double)checkpoint_source_bytes(&g->with, &g->p);
    for (size_t i = 0; i < g->o->run_count; i++) {
        const runtime_settings with = settings_of(g, i);
        bytes += (double)checkpoint_source_bytes(&with, &g->p);
    }
    return bytes;
}

static status open_memory(merging *g)
{
    size_t models = g->o->run_count;
    g->models = calloc(models, sizeof *g->models);
    g->scales = calloc(models, sizeof *g->scales);
    g->inputs = calloc(models, sizeof *g->inputs);
    g->buffers = calloc(buffer_count(g), g->largest * sizeof(float));
    if (!g->models || !g->scales || !g->inputs || !g->buffers)
        return fail(STATUS_NOMEM, "memory for the pieces of %zu models", models);
    return array_list_open(&g->list, &g->with, &g->owned, true);
}

static status open_source(merging *g, checkpoint_source **s, const char *input,
                          const runtime_settings *with)
{
    return checkpoint_source_open(s, g->c->world, input, with, &g->p);
}

static status open_sources(merging *g)
{
    status result = g->o->base ? open_source(g, &g->base, g->o->base, &g->with) : STATUS_OK;
    for (size_t i = 0; !result && i < g->o->run_count; i++) {
        const runtime_settings with = settings_of(g, i);
        result = open_source(g, &g->models[i], g->o->runs[i], &with);
    }
    g->lead = g->base ? g->base : g->models[0];
    return result;
}

static double lambda_of(const checkpoint_source *s)
{
    return checkpoint_source_prior(s)->lambda;
}

/* The first input without a posterior, NULL when all have one. */
static const char *without_posterior(const merging *g)
{
    if (g->base && lambda_of(g->base) == 0.0) return g->o->base;
    for (size_t i = 0; i < g->o->run_count; i++)
        if (lambda_of(g->models[i]) == 0.0) return g->o->runs[i];
    return NULL;
}

/* What the result has a Hessian of, all inputs have; a point takes what it is given. */
static status check_hessians(const merging *g, const checkpoint_source *s, const char *input)
{
    for (size_t i = 0; i < g->p.tensor_count; i++)
        if (checkpoint_source_has_hessian(g->lead, i) && !checkpoint_source_has_hessian(s, i))
            return fail(STATUS_INPUT,
                        "%s: tensor '%s' is a point there, a Hessian of it expected, as %s has",
                        input, g->p.tensors[i].name, g->o->base ? g->o->base : g->o->runs[0]);
    return STATUS_OK;
}

/* The same on all ranks. */
static status choose_posterior(merging *g)
{
    const char *lacking = without_posterior(g);
    g->posterior = !lacking;
    if (job_optimizer(g->job)->spread == SPREAD_LOG)
        return fail(STATUS_INPUT,
                    "%s: a run of bbb found, one of another optimizer expected: log deviations do "
                    "not merge",
                    g->o->base ? g->o->base : g->o->runs[0]);
    if (lacking && g->o->method == MERGE_HESSIAN)
        return fail(STATUS_INPUT,
                    "%s: no posterior with a Hessian found, one expected with --method hessian",
                    lacking);
    if (lacking && job_optimizer(g->job)->spread == SPREAD_HESSIAN)
        return fail(STATUS_INPUT,
                    "%s: no posterior with a Hessian found, one expected: the merged run would go "
                    "on with %s",
                    lacking, job_optimizer(g->job)->name);
    if (lacking && g->o->scales)
        return fail(STATUS_INPUT,
                    "%s: no posterior with a Hessian found, one expected with --scale", lacking);
    for (size_t i = 0; i < g->o->run_count; i++) {
        g->scales[i] = g->o->scales   ? g->o->scales[i]
                       : g->posterior ? lambda_of(g->models[i]) / lambda_of(g->lead)
                                      : 1.0;
        g->inputs[i].scale = g->scales[i];
    }
    status result = STATUS_OK;
    for (size_t i = 0; !result && g->posterior && i < g->o->run_count; i++)
        result = check_hessians(g, g->models[i], g->o->runs[i]);
    return result;
}

/* What training writes, and a posterior where only the merge knows of it. */
static void choose_arrays(merging *g)
{
    array_list *l = &g->list;
    if (!g->posterior || job_optimizer(g->job)->spread == SPREAD_HESSIAN) return;
    memmove(&l->arrays[2], &l->arrays[1], (l->count - 1) * sizeof *l->arrays);
    memmove(&l->first[2], &l->first[1], (l->count - 1) * sizeof *l->first);
    memmove(&l->identity[2], &l->identity[1], (l->count - 1) * sizeof *l->identity);
    l->arrays[1] = (saved_array){.file = "posterior.safetensors"};
    l->first[1] = 0.0F;
    l->identity[1] = false;
    l->count++;
}

static status begin_checkpoint(merging *g)
{
    checkpoint_prior prior = *checkpoint_source_prior(g->lead);
    if (!g->posterior) prior.lambda = 0.0;
    return new_run_begin(&g->made, checkpoint_source_facts(g->lead), &prior, &g->p, g->list.arrays,
                         g->list.count);
}

/* h is NULL where the result is a point. */
static status read_model(const merging *g, checkpoint_source *s, merge_model *x, float *m,
                         const slice *part, bool hessian)
{
    float *h = hessian ? m + g->largest : NULL;
    status result = checkpoint_source_read(s, SOURCE_MEAN, part, m);
    if (!result && h) result = checkpoint_source_read(s, SOURCE_HESSIAN, part, h);
    x->m = m;
    x->h = h;
    x->delta = checkpoint_source_prior(s)->delta[part->tensor];
    return result;
}

static status refuse_values(const merging *g, const char *whose, const slice *part,
                            const merge_model *x)
{
    const char *name = g->p.tensors[part->tensor].name;
    size_t i = 0;
    while (i < part->count && merge_is_good(x->m[i], x->h ? &x->h[i] : NULL, x->delta)) i++;
    if (i == part->count) return STATUS_OK;
    if (!isfinite(x->m[i]))
        return fail(STATUS_INPUT, "%s: tensor '%s': element %zu is %g, a finite weight expected",
                    whose, name, part->first + i, (double)x->m[i]);
    return fail(STATUS_INPUT,
                "%s: posterior of tensor '%s': h of element %zu is %.9g, h + delta above 0 "
                "expected, and delta is %g",
                whose, name, part->first + i, (double)x->h[i], x->delta);
}

/* An input is to blame, or what was asked for. */
static status refuse_piece(const merging *g, const slice *part, const merge_model *base,
                           const merge_model *merged)
{
    status result = g->base ? refuse_values(g, g->o->base, part, base) : STATUS_OK;
    for (size_t i = 0; !result && i < g->o->run_count; i++)
        result = refuse_values(g, g->o->runs[i], part, &g->inputs[i]);
    return result ? result : refuse_values(g, "the merged model", part, merged);
}

static bool is_hessian(const saved_array *array)
{
    return strcmp(array->file, "posterior.safetensors") == 0 && !*array->prefix;
}

static void write_part(merging *g, size_t array, const slice *part, const float *values)
{
    g->torn = g->torn || !checkpoint_sink_write(g->made.sink, array, part, 1, values);
}

/* Matrices side by side in a tensor's columns, one after the other. */
static void part_matrices(float *out, const float *in, const tensor *t)
{
    size_t rows = t->shape[0], columns = t->shape[1] / t->matrices;
    for (size_t k = 0; k < t->matrices; k++)
        for (size_t r = 0; r < rows; r++, out += columns)
            memcpy(out, in + r * t->shape[1] + k * columns, columns * sizeof *out);
}

/* To the array that has the tensor. */
static void write_hessian(merging *g, const slice *part, const float *h, float *scratch)
{
    const tensor *t = &g->p.tensors[part->tensor];
    for (size_t a = 1; a < g->list.count; a++) {
        const saved_array *array = &g->list.arrays[a];
        slice there = *part;
        if (!is_hessian(array)) continue;
        const parameters *own = safetensors_tensors(array, &g->p);
        there.tensor = parameters_find(own, t->name);
        if (there.tensor == own->tensor_count) continue;
        bool parted = array->set && t->matrices > 1;
        if (parted) part_matrices(scratch, h, t);
        write_part(g, a, &there, parted ? scratch : h);
    }
}

static status merge_piece(merging *g, const slice *part)
{
    float *m = g->buffers, *h = m + g->largest, *scratch = h + g->largest, *at = scratch;
    bool hessian = g->posterior && checkpoint_source_has_hessian(g->lead, part->tensor);
    merge_model base = {.scale = 1.0};
    at += g->largest;
    status result = g->base ? read_model(g, g->base, &base, at, part, hessian) : STATUS_OK;
    for (size_t i = 0; !result && i < g->o->run_count; i++) {
        at += 2 * g->largest;
        result = read_model(g, g->models[i], &g->inputs[i], at, part, hessian);
    }
    if (result) return result;
    merge_values(m, hessian ? h : NULL, g->o->method, g->base ? &base : NULL, g->inputs,
                 g->o->run_count, g->o->alpha, part->count, &g->counts);
    const merge_model merged = {m, hessian ? h : NULL, 1.0,
                                checkpoint_source_prior(g->lead)->delta[part->tensor]};
    if (g->counts.bad) return refuse_piece(g, part, &base, &merged);
    write_part(g, 0, part, m);
    if (hessian) write_hessian(g, part, h, scratch);
    return STATUS_OK;
}

/* Arrays that a run begins with as any does. */
static void write_first(merging *g)
{
    float *scratch = g->buffers + 2 * g->largest;
    for (size_t a = 1; !g->torn && a < g->list.count; a++)
        if (!(g->posterior && is_hessian(&g->list.arrays[a])))
            g->torn = !new_run_write_first(&g->made, &g->list, a, &g->owned, scratch, PIECE);
}

/* This rank's part. */
static status merge_owned(merging *g)
{
    status result = STATUS_OK;
    for (size_t i = 0; i < g->owned.owned_count; i++) {
        const slice *whole = &g->owned.owned[i];
        for (size_t at = 0; !result && !g->torn && at < whole->count;) {
            slice part = checkpoint_source_part(&g->reads, &g->p, whole, at, PIECE);
            result = merge_piece(g, &part);
            at += part.count;
        }
    }
    if (!result) write_first(g);
    return result;
}

static json_t *source_json(const merging *g, const checkpoint_source *s, double scale)
{
    json_t *o = json_pack("{so}", "checkpoint", json_text_string(checkpoint_source_path(s)));
    if (g->posterior) json_text_put(&o, "scale", scale);
    return o;
}

static json_t *merging_json(const merging *g)
{
    json_t *models = json_array();
    for (size_t i = 0; i < g->o->run_count; i++)
        json_text_add(&models, source_json(g, g->models[i], g->scales[i]));
    json_t *o = json_pack("{ss}", "method", merge_method_names[g->o->method]);
    if (g->base) {
        json_text_put(&o, "alpha", g->o->alpha);
        json_text_set(&o, "base", source_json(g, g->base, 1.0));
    }
    json_text_set(&o, "models", models);
    json_text_set(&o, "parameters", json_integer((json_int_t)g->p.count));
    if (g->posterior) {
        json_text_put(&o, "lambda", lambda_of(g->lead));
        json_text_set(&o, "negative", json_integer((json_int_t)g->counts.negative));
    }
    return o;
}

static status publish(merging *g, merging_report *report)
{
    MPI_Allreduce(MPI_IN_PLACE, &g->counts.negative, 1, MPI_UINT64_T, MPI_SUM, g->c->world);
    status result = new_run_settle(&g->made);
    if (result) return result;
    if (g->c->rank == 0) report->details = merging_json(g);
    report->parameters = g->p.count;
    report->posterior = g->posterior;
    report->negative = g->counts.negative;
    return new_run_publish(&g->made, "merged", report->details);
}

static status merge_runs(merging *g, merging_report *report)
{
    status result = open_new_run(g);
    if (!result) result = agree(g->c->world, open_parameters(g));
    if (!result)
        result = free_memory_check(g->c->world, bytes_needed(g),
                                   "vario merge: buffers for %zu runs", g->o->run_count);
    if (!result) result = agree(g->c->world, open_memory(g));
    if (!result) result = open_sources(g);
    if (!result) result = agree(g->c->world, choose_posterior(g));
    if (result) return result;
    choose_arrays(g);
    result = new_run_lock(&g->made, &g->p, g->list.arrays, g->list.count);
    if (!result) result = begin_checkpoint(g);
    if (!result) result = agree(g->c->world, merge_owned(g));
    return result ? result : publish(g, report);
}

status merging_run(const job *j, comm *c, const merging_options *options, merging_report *report)
{
    *report = (merging_report){0};
    merging g = {.job = j, .c = c, .o = options};
    status result = merge_runs(&g, report);
    new_run_close(&g.made);
    checkpoint_source_close(&g.base);
    for (size_t i = 0; g.models && i < options->run_count; i++)
        checkpoint_source_close(&g.models[i]);
    array_list_close(&g.list);
    sharding_close(&g.owned);
    parameters_close(&g.p);
    free(g.models);
    free(g.scales);
    free(g.inputs);
    free(g.buffers);
    return result;
}
