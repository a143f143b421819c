/* vario exact: the dense answer, and how far a run's posterior is from it. */
#include "report/exact.h"

#include "analysis/sensitivity.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/checkpoints/checkpoint.h"
#include "io/files/plot.h"
#include "posterior/metrics.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    const char *tensors, *data, *leave, *unknowns, *examples, *plot;
    double ess, prior, bias_prior;
    uint64_t samples, draws;
    option_list set;
    bool spectrum, maximize, no_test, json, quiet;
} arguments;

static status check_arguments(const arguments *a, leave_kind *leave)
{
    *leave = LEAVE_NONE;
    if (a->leave && strcmp(a->leave, "gram") == 0)
        *leave = LEAVE_GRAM;
    else if (a->leave && strcmp(a->leave, "precision") == 0)
        *leave = LEAVE_PRECISION;
    else if (a->leave)
        return fail(STATUS_INPUT,
                    "vario exact: --leave-out: '%s' found, gram or precision expected", a->leave);
    if (a->examples && !a->leave)
        return fail(STATUS_INPUT, "vario exact: --examples: --leave-out expected beside it");
    if (a->samples == 0)
        return fail(STATUS_INPUT, "vario exact: --samples: 0 found, 1 or more expected");
    if (!isnan(a->ess) && !(a->ess >= 1e-30 && a->ess <= 1e30))
        return fail(STATUS_INPUT,
                    "vario exact: --ess: %g found, a number in [1e-30, 1e30] expected", a->ess);
    if (!isnan(a->prior) && !(a->prior >= 0.0 && a->prior <= 1e30))
        return fail(STATUS_INPUT, "vario exact: --prior: %g found, a number in [0, 1e30] expected",
                    a->prior);
    if (!isnan(a->bias_prior) && !(a->bias_prior >= 0.0 && a->bias_prior <= 1e30))
        return fail(STATUS_INPUT,
                    "vario exact: --bias-prior: %g found, a number in [0, 1e30] expected",
                    a->bias_prior);
    return STATUS_OK;
}

static bool is_job_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Of a job file the model is linear: nothing is known of other weights than the initial ones. */
static status check_job(const job *j, const char *path)
{
    status result = job_refuse_waiting(j, "vario exact", path);
    if (result) return result;
    if (j->model.kind == MODEL_LINEAR) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario exact: %s: a job of a linear model, or a run, whose weights are trained, "
                "expected",
                path);
}

static status read_job(session *s, const arguments *a, job *j, const char *path, bool *is_run)
{
    bool file = s->c.rank == 0 && is_job_file(path);
    MPI_Bcast(&file, (int)sizeof file, MPI_BYTE, 0, s->c.world);
    *is_run = !file;
    if (*is_run && a->set.count > 0)
        return fail(STATUS_INPUT, "vario exact: --set: a job file expected, %s found", path);
    status result = file ? session_read_job(s, j, path, &a->set) : session_read_run(s, j, path);
    return result || *is_run ? result : check_job(j, path);
}

static status take(double **values, size_t count)
{
    *values = calloc(count + 1, sizeof **values);
    return *values ? STATUS_OK : fail(STATUS_NOMEM, "memory for %zu numbers", count);
}

static status open_report(exact_report *r, bool spectrum)
{
    const oracle *o = r->o;
    status result = take(&r->variances, o->unknowns);
    if (!result && spectrum) result = take(&r->spectrum, o->unknowns);
    if (!result && spectrum) result = take(&r->curvature, o->unknowns);
    if (!result && spectrum && r->posterior.sigma) result = take(&r->hessian, o->unknowns);
    return result;
}

static void close_report(exact_report *r)
{
    oracle_posterior_close(&r->posterior);
    free(r->variances);
    free(r->spectrum);
    free(r->curvature);
    free(r->hessian);
    free(r->left);
}

static status predict(oracle *o, const arguments *a, exact_report *r)
{
    dataset *data;
    status result =
        agree(o->r->rounds.c->world, dataset_open(&data, o->r->job, DATASET_VALID, a->data));
    if (!result)
        result = oracle_predict(o, data, r->posterior.sigma ? &r->posterior : NULL, a->samples,
                                r->scores);
    dataset_close(&data);
    r->predicted = !result;
    return result;
}

/* Rank correlations with the estimates of `vario sensitivity`, on rank 0. */
static status correlate(exact_report *r, const sensitivity_table *t)
{
    double *x[4] = {0};
    status result = STATUS_OK;
    size_t used = 0;
    for (size_t k = 0; !result && k < 4; k++) result = take(&x[k], (size_t)t->count);
    for (uint64_t i = 0; !result && i < t->count; i++) {
        if (t->rows[i].left_out) continue;
        x[0][used] = r->left[i].loo_loss - r->left[i].loss;
        x[1][used] = t->rows[i].loo_loss - t->rows[i].loss;
        x[2][used] = r->left[i].moved;
        x[3][used++] = t->rows[i].sensitivity;
    }
    if (!result) result = metrics_spearman(&r->loo_correlation, x[0], x[1], used);
    if (!result) result = metrics_spearman(&r->moved_correlation, x[2], x[3], used);
    for (size_t k = 0; k < 4; k++) free(x[k]);
    return result;
}

static status compare_sensitivity(exact_report *r)
{
    const oracle *o = r->o;
    sensitivity *x = NULL;
    sensitivity_table table = {0};
    status result = sensitivity_open(&x, o->r, PER_EXAMPLE);
    if (!result) result = sensitivity_run(x, o->data, 0, r->examples, &table);
    if (!result)
        result = agree(o->r->rounds.c->world,
                       o->r->rounds.c->rank == 0 ? correlate(r, &table) : STATUS_OK);
    sensitivity_table_close(&table);
    sensitivity_close(&x);
    return result;
}

static status leave_out(oracle *o, leave_kind kind, exact_report *r)
{
    double used = 0.0;
    r->examples = dataset_count(o->data);
    r->loo_loss = 0.0;
    r->left = calloc((size_t)r->examples, sizeof *r->left);
    status result = agree(o->r->rounds.c->world,
                          r->left ? STATUS_OK : fail(STATUS_NOMEM, "memory for the examples"));
    if (!result) result = oracle_leave_out(o, kind == LEAVE_PRECISION, r->left);
    if (result) return result;
    for (uint64_t i = 0; i < r->examples; i++) {
        if (dataset_left_out(o->data, i)) continue;
        r->loo_loss += r->left[i].loo_loss;
        used += 1.0;
    }
    r->loo_loss /= used;
    return job_optimizer(o->r->job)->spread == SPREAD_HESSIAN && r->is_run ? compare_sensitivity(r)
                                                                           : STATUS_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status find_spectrum(oracle *o, exact_report *r)
{
    size_t n = o->unknowns;
    status result = oracle_spectrum(o, r->spectrum);
    for (size_t i = 0; !result && i < n; i++) {
        r->curvature[i] = (o->diagonal[i] - o->prior[i]) / o->ess;
        double spread = r->hessian ? r->posterior.spread[i] : 1.0;
        if (r->hessian) r->hessian[i] = (1.0 / (spread * spread) - o->prior[i]) / o->ess;
    }
    if (result) return result;
    qsort(r->curvature, n, sizeof *r->curvature, by_value);
    if (r->hessian) qsort(r->hessian, n, sizeof *r->hessian, by_value);
    return STATUS_OK;
}

static status sample(oracle *o, const arguments *a, exact_report *r)
{
    r->sampled = true;
    return oracle_sample(o, r->posterior.sigma ? &r->posterior : NULL, a->draws, &r->distances);
}

/* The factor is lost to the variances and to the spectrum: they come last. */
static status compute(oracle *o, const arguments *a, leave_kind leave, exact_report *r)
{
    status result = oracle_find(o);
    if (!result && !a->no_test && !o->fixed) result = predict(o, a, r);
    if (!result && leave != LEAVE_NONE) result = leave_out(o, leave, r);
    if (!result && a->draws > 0) result = sample(o, a, r);
    if (!result && a->maximize) result = oracle_maximize(o, &r->maximum);
    r->maximized = a->maximize;
    if (!result) result = oracle_variances(o, r->variances);
    if (!result && r->posterior.sigma)
        result = oracle_compare(o, o->start, &r->posterior, r->variances, &r->comparison);
    if (!result && a->spectrum) result = find_spectrum(o, r);
    return result;
}

static status speak(const arguments *a, const exact_report *r)
{
    status result = STATUS_OK;
    if (a->unknowns) result = exact_write_unknowns(r, a->unknowns);
    if (!result && a->examples) result = exact_write_examples(r, a->examples);
    if (!result && a->plot) result = exact_draw(r, a->plot);
    if (result) return result;
    if (a->json) return exact_print_json(r);
    exact_print(r);
    return STATUS_OK;
}

/* A run's posterior is compared where it has one of all unknowns. */
static status open_posterior(session *s, exact_report *r, const oracle *o, const trainer *t)
{
    if (!job_is_variational(t->job)) return STATUS_OK;
    const char *point = oracle_posterior_point(o->x, t);
    if (!point) return oracle_posterior_open(&r->posterior, o->x, t);
    if (s->c.rank == 0)
        status_warn("%s: '%s' is a point there (optimizer.rest: adamw), so its posterior is not "
                    "compared",
                    r->name, point);
    return STATUS_OK;
}

static status find(session *s, const arguments *a, leave_kind leave, trainer *t,
                   const dataset *data, exact_report *r)
{
    const oracle_options options = {.tensors = a->tensors,
                                    .ess = a->ess,
                                    .prior = a->prior,
                                    .bias_prior = a->bias_prior,
                                    .threads = s->threads,
                                    .spectrum = a->spectrum || a->maximize};
    oracle o;
    r->o = &o;
    status result = oracle_open(&o, t, data, &options);
    if (!result)
        result =
            agree(s->c.world, oracle_check(&o, leave != LEAVE_NONE, a->maximize, a->draws > 0));
    if (!result && r->is_run) result = open_posterior(s, r, &o, t);
    if (!result) result = agree(s->c.world, open_report(r, a->spectrum));
    if (!result) result = compute(&o, a, leave, r);
    if (!result) result = agree(s->c.world, s->c.rank == 0 ? speak(a, r) : STATUS_OK);
    close_report(r);
    oracle_close(&o);
    return result;
}

static status exact_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    leave_kind leave;
    trainer t = {0};
    dataset *data = NULL;
    checkpoint_facts facts = {0};
    exact_report r = {.loo_loss = NAN, .loo_correlation = NAN, .moved_correlation = NAN};
    job j;
    status result = agree(s->c.world, check_arguments(a, &leave));
    if (!result) result = read_job(s, a, &j, rest[0], &r.is_run);
    if (!result) result = session_compute(s, j.parallel.threads, a->quiet);
    if (result) return result;
    result = agree(s->c.world, dataset_open(&data, &j, DATASET_TRAIN, NULL));
    if (!result && r.is_run && s->c.rank == 0) dataset_warn_tokens(data, rest[0]);
    if (!result) result = trainer_open(&t, &j, &s->c, DTYPE_F32, false);
    if (!result && r.is_run) result = trainer_read(&t, rest[0], &facts);
    r.name = j.name;
    r.step = facts.steps;
    if (!result) result = find(s, a, leave, &t, data, &r);
    trainer_close(&t);
    dataset_close(&data);
    return result;
}

int exact_main(int argc, char **argv)
{
    arguments a = {.ess = NAN, .prior = NAN, .bias_prior = NAN, .samples = 64};
    const option options[] = {
        {"--tensors", OPTION_TEXT, &a.tensors, "NAMES",
         "unknowns: tensors, or beginnings of names up to a dot (the last layer; of gpt2 none)"},
        {"--ess", OPTION_NUMBER, &a.ess, "LAMBDA",
         "effective sample size (the job's of ivon and bbb, else the training examples)"},
        {"--prior", OPTION_NUMBER, &a.prior, "P",
         "the prior's precision of matrices (ess weight_decay of ivon and bbb)"},
        {"--bias-prior", OPTION_NUMBER, &a.bias_prior, "P",
         "of 1-D tensors (0, as in training; of bbb not to be given)"},
        {"--data", OPTION_INPUT, &a.data, "TEXT", "examples to predict, instead of data.valid"},
        {"--samples", OPTION_COUNT, &a.samples, "S", "draws of the outputs of a classifier (64)"},
        {"--draws", OPTION_COUNT, &a.draws, "D",
         "distances from the posterior of classes itself, not from its Gaussian, by D draws"},
        {"--no-test", OPTION_FLAG, &a.no_test, NULL, "predict nothing"},
        {"--leave-out", OPTION_TEXT, &a.leave, "HOW",
         "leave out each training example, by the inverse of the gram matrix or by the precision"},
        {"--maximize", OPTION_FLAG, &a.maximize, NULL,
         "the prior and the noise variance of a regression that have the largest evidence"},
        {"--spectrum", OPTION_FLAG, &a.spectrum, NULL, "eigenvalues of the curvature"},
        {"--unknowns", OPTION_OUTPUT, &a.unknowns, "FILE", "write means and deviations as CSV"},
        {"--examples", OPTION_OUTPUT, &a.examples, "FILE", "write what leaving out does as CSV"},
        {"--plot", OPTION_OUTPUT, &a.plot, "FILE", "draw them (.png or .svg)"},
        {"--set", OPTION_LIST, &a.set, "KEY=VALUE", "override a key of a job file"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {"exact",
                                "JOB|RUN [--tensors NAMES] [--leave-out HOW] [--spectrum]",
                                "The Gaussian posterior with all correlations, by dense algebra on "
                                "all ranks, and how far\na run's is from it. A JOB "
                                "needs no run where its model is linear.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                1};
    return session_main(&table, argc, argv, exact_verb, &a);
}
