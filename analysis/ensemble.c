/* Several runs can be averaged when they see the same data and answer the same question. */
#include "analysis/ensemble.h"

#include "runtime/agree.h"
#include "train/read_job.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 65536 /* as eval.samples */ };

bool ensemble_has_dropout(const job *j)
{
    const model_config config = job_model(j);
    return model_dropout(&config) > 0.0;
}

static bool wants_kfac(const ensemble_request *w)
{
    return w->posterior && strcmp(w->posterior, "kfac") == 0;
}

static status check_number(const ensemble_request *w, const char *name, double value)
{
    if (isnan(value) || (wants_kfac(w) && value >= 1e-30 && value <= 1e30)) return STATUS_OK;
    if (!wants_kfac(w))
        return fail(STATUS_INPUT, "vario %s: %s %g found, none expected without --posterior kfac",
                    w->verb, name, value);
    return fail(STATUS_INPUT, "vario %s: %s: %g found, a number in [1e-30, 1e30] expected", w->verb,
                name, value);
}

static status check_kfac(const ensemble_request *w)
{
    status result = check_number(w, "--ess", w->ess);
    if (!result) result = check_number(w, "--prior-precision", w->precision);
    if (result || wants_kfac(w) || w->factor_batches == 0) return result;
    return fail(STATUS_INPUT,
                "vario %s: --factor-batches %" PRIu64
                " found, none expected without --posterior kfac",
                w->verb, w->factor_batches);
}

static status check_request(const ensemble_request *w)
{
    static const char *const names[] = {"auto", "mean", "samples", "dropout", "kfac"};
    const char *name = w->posterior ? w->posterior : "auto";
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        known = known || strcmp(name, names[i]) == 0;
    if (!known)
        return fail(STATUS_INPUT,
                    "vario %s: --posterior: '%s' found, auto, mean, samples, dropout or kfac "
                    "expected",
                    w->verb, name);
    if (w->samples > MAX_SAMPLES)
        return fail(STATUS_INPUT, "vario %s: --samples: %" PRIu64 " found, at most %d expected",
                    w->verb, w->samples, MAX_SAMPLES);
    if (w->samples > 0 && strcmp(name, "mean") == 0)
        return fail(STATUS_INPUT,
                    "vario %s: --samples %" PRIu64
                    " found, none expected with --posterior mean, which draws nothing",
                    w->verb, w->samples);
    if (w->samples == 0 && strcmp(name, "auto") != 0 && strcmp(name, "mean") != 0)
        return fail(STATUS_INPUT, "vario %s: --posterior %s: --samples S of at least 1 expected",
                    w->verb, name);
    return check_kfac(w);
}

/* How a run's networks are drawn. */
static status choose_draw(draw_kind *draw, const job *j, const char *path,
                          const ensemble_request *w)
{
    const char *name = w->posterior ? w->posterior : "auto";
    bool automatic = strcmp(name, "auto") == 0;
    *draw = DRAW_MEAN;
    if (w->samples == 0) return STATUS_OK;
    if (wants_kfac(w))
        *draw = DRAW_SAMPLE;
    else if (job_has_posterior(j) && (automatic || strcmp(name, "samples") == 0))
        *draw = DRAW_SAMPLE;
    else if (ensemble_has_dropout(j) && (automatic || strcmp(name, "dropout") == 0))
        *draw = DRAW_DROPOUT;
    else if (strcmp(name, "dropout") == 0)
        return fail(STATUS_INPUT,
                    "vario %s: --posterior dropout: model.dropout above 0 expected, %s was trained "
                    "without",
                    w->verb, path);
    else
        return fail(STATUS_INPUT,
                    "vario %s: --samples %" PRIu64
                    ": a posterior (ivon, evon, bbb or swag)%s expected, %s was trained without",
                    w->verb, w->samples, automatic ? " or model.dropout above 0" : "", path);
    return STATUS_OK;
}

/* Sizes and data that a run must share with the first. */
static status check_alike(const ensemble *e, size_t i, bool own_data)
{
    const job *a = &e->jobs[0], *b = &e->jobs[i];
    const char *here = e->paths[i], *first = e->paths[0];
    model_config x = job_model(a), y = job_model(b);
    if (x.kind != y.kind)
        return fail(STATUS_INPUT, "%s: another model.kind found, that of %s expected", here, first);
    if (model_has_classes(&x) != model_has_classes(&y))
        return fail(STATUS_INPUT, "%s: another model.loss found, that of %s expected", here, first);
    if (model_outputs(&x) != model_outputs(&y))
        return fail(STATUS_INPUT, "%s: %zu outputs found, the %zu of %s expected", here,
                    model_outputs(&y), model_outputs(&x), first);
    if (!model_reads_tokens(&x) && x.mlp.inputs != y.mlp.inputs)
        return fail(STATUS_INPUT, "%s: %zu inputs found, the %zu of %s expected", here,
                    y.mlp.inputs, x.mlp.inputs, first);
    if (a->batch.length != b->batch.length)
        return fail(STATUS_INPUT,
                    "%s: batch.length %" PRIu64 " found, the %" PRIu64 " of %s expected", here,
                    b->batch.length, a->batch.length, first);
    if (!model_reads_tokens(&x) &&
        (a->data.seed != b->data.seed || a->data.features != b->data.features))
        return fail(STATUS_INPUT,
                    "%s: another data.seed or data.features found, those of %s "
                    "expected",
                    here, first);
    if (!own_data && strcmp(a->data.valid, b->data.valid) != 0)
        return fail(STATUS_INPUT, "%.300s: data.valid %.200s found, the %.200s of %.200s expected",
                    here, b->data.valid, a->data.valid, first);
    return STATUS_OK;
}

static status check_runs(ensemble *e, const ensemble_request *w)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < e->count; i++) {
        if (i > 0) result = check_alike(e, i, w->own_data);
        if (!result) result = choose_draw(&e->draws[i], &e->jobs[i], e->paths[i], w);
        e->jobs[i].batch.sequences = w->sequences ? w->sequences : job_sequences(&e->jobs[0]);
        e->jobs[i].batch.parts = 1;
        if (w->antithetic) e->jobs[i].eval.antithetic = true;
    }
    return result;
}

static status check_sequences(const ensemble *e, const ensemble_request *w)
{
    uint64_t max = (UINT64_C(1) << 30) / e->jobs[0].batch.length;
    if (w->sequences <= max) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario %s: --sequences: %" PRIu64 " found, at most %" PRIu64 " expected", w->verb,
                w->sequences, max);
}

static status allocate(ensemble *e, bool kfac)
{
    uint64_t draws = e->samples ? e->samples : 1;
    e->member_count = (size_t)draws * e->count;
    e->jobs = calloc(e->count, sizeof *e->jobs);
    e->trainers = calloc(e->count, sizeof *e->trainers);
    e->facts = calloc(e->count, sizeof *e->facts);
    e->draws = calloc(e->count, sizeof *e->draws);
    e->members = calloc(e->member_count, sizeof *e->members);
    if (kfac) e->kfac = calloc(e->count, sizeof *e->kfac);
    bool enough = e->jobs && e->trainers && e->facts && e->draws && e->members;
    if (enough && (e->kfac || !kfac)) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for %zu members of an average", e->member_count);
}

status ensemble_read(ensemble *e, comm *c, const char **paths, const ensemble_request *request)
{
    *e = (ensemble){.samples = request->samples,
                    .kfac_options = {.ess = request->ess,
                                     .precision = request->precision,
                                     .batches = request->factor_batches,
                                     .samples = (size_t)request->samples}};
    while (e->count < ENSEMBLE_RUNS && paths[e->count]) {
        e->paths[e->count] = paths[e->count];
        e->count++;
    }
    status result = check_request(request);
    if (!result) result = agree(c->world, allocate(e, wants_kfac(request)));
    for (size_t i = 0; !result && i < e->count; i++)
        result = job_read_of_run(c, &e->jobs[i], e->paths[i]);
    if (!result) result = check_sequences(e, request);
    if (!result) result = check_runs(e, request);
    if (result || !job_reads_tokens(&e->jobs[0])) return result;
    result = c->rank == 0 ? tokenizer_compare_runs(e->paths, e->count) : STATUS_OK;
    return agree(c->world, result);
}

/* They have one tokenizer, as far as they know it. */
void ensemble_warn_tokens(const ensemble *e, const comm *c, const dataset *data)
{
    char directory[2 * JOB_TEXT];
    size_t i = 0;
    while (i + 1 < e->count && !tokenizer_of_run(directory, sizeof directory, e->paths[i])) i++;
    if (c->rank == 0) dataset_warn_tokens(data, e->paths[i]);
}

/* K-FAC reads a run's training data itself, and says what fails. */
static void warn_of_training_data(const job *j, const comm *c, const char *path)
{
    dataset *data = NULL;
    if (c->rank == 0 && dataset_open(&data, j, DATASET_TRAIN, NULL) == STATUS_OK)
        dataset_warn_tokens(data, path);
    status_clear();
    dataset_close(&data);
}

static void set_members(ensemble *e)
{
    for (size_t i = 0; i < e->member_count; i++) {
        size_t run = i % e->count;
        e->members[i] = (member){.r = &e->trainers[run],
                                 .draw = e->draws[run],
                                 .number = (uint32_t)(i / e->count),
                                 .antithetic = e->jobs[run].eval.antithetic && !e->kfac};
    }
}

status ensemble_open(ensemble *e, comm *c, bool native)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < e->count; i++) {
        job *j = &e->jobs[i];
        result = trainer_open(&e->trainers[i], j, c, precision_here(j, native), false);
        if (!result) result = trainer_read(&e->trainers[i], e->paths[i], &e->facts[i]);
        if (!result && e->kfac) warn_of_training_data(j, c, e->paths[i]);
        e->kfac_options.antithetic = j->eval.antithetic;
        if (!result && e->kfac) result = kfac_draw(&e->kfac[i], &e->trainers[i], &e->kfac_options);
    }
    set_members(e);
    return result;
}

void ensemble_close(ensemble *e)
{
    for (size_t i = 0; e->trainers && i < e->count; i++) trainer_close(&e->trainers[i]);
    for (size_t i = 0; e->kfac && i < e->count; i++) kfac_close(&e->kfac[i]);
    free(e->jobs);
    free(e->trainers);
    free(e->facts);
    free(e->draws);
    free(e->kfac);
    free(e->members);
    *e = (ensemble){0};
}

member ensemble_mean(const ensemble *e)
{
    return (member){.r = &e->trainers[0], .draw = DRAW_MEAN};
}

bool ensemble_has_average(const ensemble *e)
{
    return e->samples > 0 || e->count > 1;
}

bool ensemble_is_antithetic(const ensemble *e)
{
    return e->samples > 0 && e->draws[0] == DRAW_SAMPLE && e->jobs[0].eval.antithetic;
}

void ensemble_describe(const ensemble *e, char *text, size_t size)
{
    static const char *const names[] = {"means", "posterior samples", "dropouts"};
    const char *name = e->kfac ? "K-FAC samples" : names[e->draws[0]];
    for (size_t i = 1; i < e->count; i++)
        if (e->draws[i] != e->draws[0]) name = "samples and dropouts";
    const char *how = ensemble_is_antithetic(e) ? "antithetic " : "";
    if (e->samples == 0)
        snprintf(text, size, "the means of %zu runs", e->count);
    else if (e->count == 1)
        snprintf(text, size, "%" PRIu64 " %s%s", e->samples, how, name);
    else
        snprintf(text, size, "%" PRIu64 " %s%s of each of %zu runs", e->samples, how, name,
                 e->count);
}
