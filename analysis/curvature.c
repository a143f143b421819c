/* Work items are added up as a step's are, some hundreds at a time, and these sums into the sums of
 * the pass: in fp32 one long sum of small squares would stand still. */
#include "analysis/curvature.h"

#include "analysis/new_run.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/json_text.h"
#include "io/weights/pretrained.h"
#include "kernels/kernels.h"
#include "posterior/curvature.h"
#include "runtime/agree.h"
#include "train/progress.h"
#include "train/trainer_parts.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PART = 256 /* work items that are added up at once */ };

typedef struct {
    comm *c;
    const curvature_options *o;
    const job *of; /* the run's */
    job pass;      /* what the trainer runs */
    job made;      /* the new run's */
    new_run n;
    dataset *data;
    trainer r;
    checkpoint_facts facts;
    char source[2 * JOB_TEXT]; /* the checkpoint that was read */
    progress progress;
    double loss, squares; /* sums over the batches */
    curvature_report *report;
} curvature;

/* Adds up gradients and their squares at the mean, and updates nothing; its files are IVON's. */
static const optimizer adds_squares = {
    .name = "squares",
    .arrays = {{"", true, NULL}, {"momentum.", false, NULL}},
    .array_count = 2,
    .spread = SPREAD_NONE,
    .estimates = true,
};

/* Sums in the order of work items, whatever the stage, and the plain gradient of each. */
static job pass_job(const job *j, const curvature_options *o)
{
    job pass = *j;
    pass.optimizer.hessian = HESSIAN_GRADSQ;
    pass.optimizer.mc_samples = 1;
    pass.swag.start = 0;
    pass.model.gpt2.dropout = pass.model.mlp.dropout = 0.0;
    pass.clip.norm = INFINITY;
    pass.batch.sequences = o->sequences;
    pass.batch.parts = 1;
    pass.batch.microbatches = PART;
    pass.parallel.wire = DTYPE_F32;
    if (pass.parallel.shard < SHARD_GRADIENTS) pass.parallel.shard = SHARD_GRADIENTS;
    return pass;
}

static const char *words(const curvature *x)
{
    return job_words(x->of)->items;
}

/* Squares of the gradients of batches add up where batches are of one size. */
static void warn_of_rest(const curvature *x, uint64_t there)
{
    uint64_t rest = there % x->o->sequences;
    if (rest == 0 || x->o->batches || x->c->rank != 0) return;
    status_warn("%s: the last %" PRIu64 " of %" PRIu64 " %s make no whole batch of %" PRIu64
                " (--sequences) and are left out",
                x->of->data.train, rest, there, words(x), x->o->sequences);
}

static status count_batches(curvature *x)
{
    uint64_t sequences = x->o->sequences, there = dataset_count(x->data) / sequences;
    x->report->batches = x->o->batches ? x->o->batches : there;
    if (x->of->data.leave_out != UINT64_MAX && sequences == 1)
        return fail(STATUS_INPUT,
                    "vario curvature: --sequences: 1 found, at least 2 expected: data.leave_out "
                    "takes one of a batch away");
    if (there > 0 && x->report->batches <= there) {
        warn_of_rest(x, dataset_count(x->data));
        return STATUS_OK;
    }
    return fail(STATUS_INPUT,
                "%s: %" PRIu64 " batches of %" PRIu64 " %s found in the training data, at least "
                "%" PRIu64 " expected",
                x->of->data.train, there, sequences, words(x), x->o->batches ? x->o->batches : 1);
}

static status open_data(curvature *x)
{
    status result = dataset_open(&x->data, &x->pass, DATASET_TRAIN, NULL);
    return result ? result : count_batches(x);
}

/* Weights from elsewhere. */
static status import_mean(curvature *x, saved_array *mean)
{
    const sharding *owned = &x->r.rounds.owned;
    snprintf(x->source, sizeof x->source, "%s", x->of->model.init);
    x->facts = (checkpoint_facts){.threads = (uint64_t)x->o->threads, .ranks = 1};
    snprintf(x->facts.instruction_set, sizeof x->facts.instruction_set, "%s",
             kernels_instruction_set());
    snprintf(x->facts.libraries, sizeof x->facts.libraries, "%s", kernels_library_version());
    pretrained *w;
    const model_config config = job_model(x->of);
    status result = pretrained_open(&w, x->c->world, x->source, &config);
    if (!result)
        result = pretrained_load(w, mean, owned->owned, owned->owned_count, &x->facts.init);
    pretrained_close(&w);
    return result;
}

static status read_arrays(curvature *x, const char *from, const saved_array *arrays, size_t count)
{
    const sharding *owned = &x->r.rounds.owned;
    char path[sizeof x->source];
    snprintf(path, sizeof path, "%s", from);
    return checkpoint_read(x->c->world, path, &x->r.rounds.p, arrays, count, owned->owned,
                           owned->owned_count, &x->facts, x->source, sizeof x->source);
}

/* Of what the run predicts with, which is verified whole: the average of snapshots where there are
 * some. */
static status read_run_mean(curvature *x, saved_array *arrays, size_t count)
{
    const state_array *mean = &x->r.rounds.state.mean;
    size_t a = 0;
    arrays[0].values = mean->values;
    arrays[0].whole = mean->whole;
    status result = read_arrays(x, x->o->run, arrays, count);
    if (result || x->facts.snapshots == 0) return result;
    while (strcmp(arrays[a].file, "swag.safetensors") != 0) a++;
    arrays[a].values = mean->values;
    arrays[a].whole = mean->whole;
    arrays[0].values = NULL;
    return read_arrays(x, x->source, arrays, count);
}

/* Arrays without values; where matrices are taken whole, dealt out as the run has them. */
static status read_run(curvature *x)
{
    const runtime_settings with = job_settings(x->of);
    const sharding *own = &x->r.rounds.owned;
    sharding dealt;
    array_list list = {0};
    status result = settings_shard(&with, &dealt, &x->r.rounds.p, own->ranks, own->rank);
    if (!result) result = array_list_open(&list, &with, &dealt, false);
    result = agree(x->c->world, result);
    if (!result) result = read_run_mean(x, list.arrays, list.count);
    array_list_close(&list);
    sharding_close(&dealt);
    return result;
}

static status read_mean(curvature *x)
{
    const state_array *mean = &x->r.rounds.state.mean;
    saved_array imported = {.values = mean->values, .whole = mean->whole};
    status result = x->o->run ? read_run(x) : import_mean(x, &imported);
    if (!result) state_share(&x->r.rounds.state, x->c);
    return result;
}

/* The sum of the squares of the matrices' weights, added up as a gradient's norm is. */
static double squared_weights(curvature *x, double *count)
{
    state *s = &x->r.rounds.state;
    state_report found;
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        bool matrix = x->r.rounds.p.tensors[part->tensor].dimensions == 2;
        float *sum = state_at(s, s->g_sum, part);
        memset(sum, 0, part->count * sizeof *sum);
        if (matrix) memcpy(sum, state_at(s, s->mean, part), part->count * sizeof *sum);
    }
    state_norm(s, x->c, 1, &found);
    *count = 0.0;
    for (size_t i = 0; i < x->r.rounds.p.tensor_count; i++)
        if (x->r.rounds.p.tensors[i].dimensions == 2)
            *count += (double)x->r.rounds.p.tensors[i].count;
    return found.grad_norm * found.grad_norm;
}

/* The run's own where it had a posterior; else lambda delta is that of a prior as wide as the
 * weights are. */
static double default_delta(curvature *x)
{
    if (job_is_variational(x->of) && !x->of->waiting && x->of->optimizer.weight_decay > 0.0)
        return x->of->optimizer.weight_decay;
    double count, squares = squared_weights(x, &count);
    return count / squares / x->report->lambda;
}

/* The same on all ranks. */
static status choose_prior(curvature *x)
{
    const curvature_options *o = x->o;
    curvature_report *out = x->report;
    uint64_t rows = dataset_count(x->data) * x->of->batch.length;
    if (x->of->data.leave_out != UINT64_MAX) rows--;
    out->lambda = isnan(o->ess) ? (double)rows : o->ess;
    out->delta = isnan(o->decay) ? default_delta(x) : o->decay;
    out->floor = isnan(o->floor) ? out->delta : o->floor;
    if (out->delta > 1e30 || isnan(out->delta))
        return fail(STATUS_INPUT,
                    "%s: finite weights that are not all 0 expected, whose width sets the prior's "
                    "(--decay DELTA sets it)",
                    x->source);
    if (out->floor > 0.0) return STATUS_OK;
    return fail(STATUS_INPUT, "vario curvature: --decay 0: --floor F above 0 expected with it");
}

static status refuse_gradient(const curvature *x, uint64_t number, const step_result *found)
{
    const parameters *p = &x->r.rounds.p;
    size_t u = found->bad_unit;
    return fail(STATUS_NUMERIC,
                "%s: batch %" PRIu64 " of %" PRIu64 " has %s that is not finite; no posterior was "
                "written%s%s",
                x->source, number, x->report->batches, u < p->unit_count ? "a gradient" : "a loss",
                u < p->unit_count ? "; the first bad unit begins with " : "",
                u < p->unit_count ? p->tensors[p->units[u].first].name : "");
}

/* The sums of a part of the batches into those of the pass. */
static void add_part(curvature *x)
{
    const state *s = &x->r.rounds.state;
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        curvature_add(state_at(s, s->arrays[0], part), state_at(s, s->f_sum, part), part->count);
        curvature_add(state_at(s, s->arrays[1], part), state_at(s, s->g_sum, part), part->count);
    }
}

static status run_part(curvature *x, uint64_t t)
{
    uint64_t first = t * PART, left = x->report->batches - first;
    uint64_t items = left < PART ? left : PART;
    step_result found;
    status result = trainer_rounds(&x->r, x->data, t, items, &found);
    if (result) return result;
    if (found.skipped) return refuse_gradient(x, first + found.bad_item, &found);
    x->loss += found.loss * (double)items;
    x->squares += found.norm_squared;
    add_part(x);
    return STATUS_OK;
}

static status run_pass(curvature *x)
{
    double start = timing_clock(), rows = (double)(x->o->sequences * x->of->batch.length);
    uint64_t batches = x->report->batches;
    status result = STATUS_OK;
    progress_open(&x->progress, x->c->rank == 0 && !x->o->quiet, job_words(x->of)->rows, 0,
                  batches);
    for (uint64_t t = 0, done = 0; !result && done < batches; t++) {
        result = run_part(x, t);
        done = batches - done < PART ? batches : done + PART;
        if (result) break;
        progress_step(&x->progress, done, x->loss / (double)done,
                      (double)done * rows / (timing_clock() - start), NAN, false);
    }
    progress_close(&x->progress);
    return result;
}

/* The norm of the mean gradient, as a step's is found; what its sum is kept in becomes the new
 * run's momentum, 0. */
static double take_gradient(curvature *x)
{
    state *s = &x->r.rounds.state;
    state_report found;
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        float *sum = state_at(s, s->arrays[1], part);
        memcpy(state_at(s, s->g_sum, part), sum, part->count * sizeof *sum);
        memset(sum, 0, part->count * sizeof *sum);
    }
    state_norm(s, x->c, x->report->batches, &found);
    return found.grad_norm;
}

static status refuse_curvature(const curvature *x, const slice *part, size_t at)
{
    return fail(STATUS_NUMERIC,
                "%s: tensor '%s': the squared gradients of element %zu add up to no finite h; no "
                "posterior was written",
                x->source, x->r.rounds.p.tensors[part->tensor].name, part->first + at);
}

static status finish_hessian(curvature *x)
{
    const state *s = &x->r.rounds.state;
    curvature_report *out = x->report;
    double scale = (double)(x->o->sequences * x->of->batch.length) / (double)out->batches;
    status result = STATUS_OK;
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        double delta = x->r.rounds.p.tensors[part->tensor].dimensions == 2 ? out->delta : 0.0;
        size_t bad = curvature_finish(state_at(s, s->arrays[0], part), scale,
                                      fmax(out->floor - delta, 0.0), part->count, &out->raised);
        if (bad < part->count && !result) result = refuse_curvature(x, part, bad);
    }
    MPI_Allreduce(MPI_IN_PLACE, &out->raised, 1, MPI_UINT64_T, MPI_SUM, x->c->world);
    out->hessian_mean = scale * x->squares / (double)x->r.rounds.p.count;
    return agree(x->c->world, result);
}

static void report_pass(curvature *x)
{
    curvature_report *out = x->report;
    double batches = (double)out->batches, norm = take_gradient(x);
    out->parameters = x->r.rounds.p.count;
    out->loss = x->loss / batches;
    out->share = x->squares > 0.0 ? norm * norm / (x->squares / batches) : 0.0;
}

static json_t *curvature_json(const curvature *x)
{
    const curvature_report *out = x->report;
    json_t *o =
        json_pack("{so sI sI}", "source", json_text_string(x->source), "batches",
                  (json_int_t)out->batches, words(x), (json_int_t)(out->batches * x->o->sequences));
    json_text_put(&o, "loss", out->loss);
    json_text_put(&o, "hessian_mean", out->hessian_mean);
    json_text_put(&o, "gradient_share", out->share);
    json_text_put(&o, "lambda", out->lambda);
    json_text_put(&o, "delta", out->delta);
    json_text_put(&o, "floor", out->floor);
    json_text_set(&o, "raised", json_integer((json_int_t)out->raised));
    json_text_set(&o, "parameters", json_integer((json_int_t)out->parameters));
    return o;
}

static void write_arrays(curvature *x, const saved_array *arrays, size_t count)
{
    const sharding *owned = &x->r.rounds.owned;
    for (size_t a = 0; a < count; a++)
        for (size_t i = 0; i < owned->owned_count; i++) {
            slice part = owned->owned[i];
            const float *values = safetensors_values(&arrays[a], &x->r.rounds.p, &part);
            part.offset = 0;
            checkpoint_sink_write(x->n.sink, a, &part, 1, values); /* told when it settles */
        }
}

static status write_run(curvature *x, const saved_array *arrays, size_t count)
{
    curvature_report *out = x->report;
    checkpoint_prior prior;
    double typical = fmin(fmax(out->hessian_mean, out->floor), 1e30); /* what a job may say */
    job_become_ivon(&x->made, out->lambda, out->delta, typical);
    const runtime_settings settings = job_settings(&x->made);
    status result =
        agree(x->c->world, checkpoint_prior_of_settings(&prior, &settings, &x->r.rounds.p));
    if (!result) result = new_run_begin(&x->n, &x->facts, &prior, &x->r.rounds.p, arrays, count);
    checkpoint_prior_close(&prior);
    if (result) return result;
    write_arrays(x, arrays, count);
    result = new_run_settle(&x->n);
    if (result) return result;
    if (x->c->rank == 0) out->details = curvature_json(x);
    return new_run_publish(&x->n, "curvature", out->details);
}

static status make_run(curvature *x)
{
    saved_array arrays[SAVED_ARRAYS];
    const char *from = x->o->run ? x->o->run : x->of->model.init;
    status result = new_run_open(&x->n, &x->made, x->c, x->o->force, &from, 1);
    if (!result) result = agree(x->c->world, open_data(x));
    if (!result && x->c->rank == 0) dataset_warn_tokens(x->data, from);
    runtime_settings with = job_settings(&x->pass);
    with.row = &adds_squares;
    settings_decide(&with);
    if (!result) result = trainer_open_measuring(&x->r, &x->pass, &with, x->c, x->o->precision);
    if (!result) result = read_mean(x);
    if (!result) result = choose_prior(x);
    if (result) return result;
    size_t count = state_saved_arrays(&x->r.rounds.state, arrays);
    result = new_run_lock(&x->n, &x->r.rounds.p, arrays, count);
    if (!result) result = run_pass(x);
    if (!result) result = finish_hessian(x);
    if (result) return result;
    report_pass(x);
    return write_run(x, arrays, count);
}

status curvature_run(const job *j, comm *c, const curvature_options *options,
                     curvature_report *report)
{
    *report = (curvature_report){0};
    curvature *x = calloc(1, sizeof *x);
    status result = agree(c->world, x ? STATUS_OK : fail(STATUS_NOMEM, "memory for a posterior"));
    if (!result) {
        *x = (curvature){.c = c,
                         .o = options,
                         .of = j,
                         .pass = pass_job(j, options),
                         .made = *j,
                         .report = report};
        result = make_run(x);
        new_run_close(&x->n);
        trainer_close(&x->r);
        dataset_close(&x->data);
    }
    free(x);
    return result;
}
