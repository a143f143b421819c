/* JSON keys are the names that docs/posterior.md defines; _averaged is the average over members. */
#include "report/eval_report.h"

#include "base/terminal.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/runs/job_of_run.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POSITIONS = 64 /* buckets at most */ };

const prediction_scores *evaluation_average(const evaluation *v)
{
    return v->averaged.points ? &v->curve[v->averaged.points - 1] : &v->at_mean;
}

static void put(json_t **o, const char *name, const char *suffix, double value)
{
    char key[64];
    snprintf(key, sizeof key, "%s%s", name, suffix);
    json_text_put(o, key, value);
}

static void put_scores(json_t **o, const evaluation *v, const prediction_scores *s,
                       const char *suffix)
{
    put(o, "valid_loss", suffix, s->nll);
    put(o, "nll", suffix, s->nll);
    put(o, "perplexity", suffix, v->mean.classes ? exp(s->nll) : NAN);
    put(o, "accuracy", suffix, s->accuracy);
    put(o, "brier", suffix, s->brier);
    put(o, "ece", suffix, s->ece);
    put(o, "auroc", suffix, s->auroc);
    put(o, "entropy", suffix, s->entropy);
    put(o, "rmse", suffix, s->rmse);
    put(o, "variance", suffix, s->variance);
    put(o, "coverage_error", suffix, s->coverage_error);
}

static json_t *curve_json(const evaluation *v)
{
    json_t *curve = json_array();
    for (size_t i = 0; i < v->averaged.points; i++) {
        const prediction_scores *s = &v->curve[i];
        json_t *o = json_pack("{s:I}", "samples", (json_int_t)s->members);
        put(&o, "nll", "", s->nll);
        put(&o, "accuracy", "", s->accuracy);
        put(&o, "brier", "", s->brier);
        put(&o, "ece", "", s->ece);
        put(&o, "rmse", "", s->rmse);
        put(&o, "coverage_error", "", s->coverage_error);
        json_text_add(&curve, o);
    }
    return curve;
}

/* Mean of a column over the rows whose position in their sequence is in [first, end). */
static double mean_at(const predictions *p, size_t point, size_t column, size_t first, size_t end)
{
    const double *values = predictions_column(p, point, column);
    double sum = 0.0;
    for (size_t start = 0; start < p->rows; start += p->length)
        for (size_t t = first; t < end; t++) sum += values[start + t];
    return sum / ((double)(p->rows / p->length) * (double)(end - first));
}

static json_t *positions_json(const evaluation *v)
{
    json_t *positions = json_array();
    size_t T = v->mean.length, buckets = T < POSITIONS ? T : POSITIONS;
    for (size_t k = 0; k < buckets; k++) {
        size_t first = k * T / buckets, end = (k + 1) * T / buckets;
        json_t *o = json_pack("{s:I,s:I}", "first", (json_int_t)first, "last", (json_int_t)end - 1);
        put(&o, "nll", "", mean_at(&v->mean, 0, CLASS_NLL, first, end));
        if (v->averaged.points)
            put(&o, "nll", "_averaged",
                mean_at(&v->averaged, v->averaged.points - 1, CLASS_NLL, first, end));
        json_text_add(&positions, o);
    }
    return positions;
}

static json_t *bins_json(const calibration_bin *bins, size_t count)
{
    json_t *array = json_array();
    for (size_t b = 0; b < count; b++) {
        json_t *o = json_pack("{s:I}", "count", (json_int_t)bins[b].count);
        put(&o, "confidence", "", bins[b].confidence);
        put(&o, "accuracy", "", bins[b].accuracy);
        json_text_add(&array, o);
    }
    return array;
}

static json_t *coverage_json(const double *observed)
{
    json_t *array = json_array();
    for (size_t k = 0; k < METRICS_LEVELS; k++) {
        json_t *o = json_object();
        put(&o, "nominal", "", metrics_level(k));
        put(&o, "observed", "", observed[k]);
        json_text_add(&array, o);
    }
    return array;
}

static json_t *reliability_json(const evaluation *v, const prediction_scores *s,
                                const calibration_bin *bins)
{
    return v->mean.classes ? bins_json(bins, v->bin_count) : coverage_json(s->coverage);
}

static json_t *runs_json(const ensemble *e)
{
    json_t *runs = json_array();
    for (size_t i = 0; i < e->count; i++) json_text_add(&runs, json_string(e->jobs[i].name));
    return runs;
}

/* How the first run's samples were drawn. */
static json_t *kfac_json(const kfac_posterior *q)
{
    return json_pack("{s:o,s:o,s:I,s:I,s:I,s:I}", "ess", json_text_number(q->lambda),
                     "prior_precision", json_text_number(q->tau), "rows", (json_int_t)q->rows,
                     "layers", (json_int_t)q->layers, "widest", (json_int_t)q->widest, "on_grid",
                     (json_int_t)q->on_grid);
}

static void put_average(json_t **o, const evaluation *v)
{
    const prediction_scores *s = evaluation_average(v);
    if (v->e->samples) json_text_set(o, "samples", json_integer((json_int_t)v->e->samples));
    if (ensemble_is_antithetic(v->e)) json_text_set(o, "antithetic", json_true());
    if (v->e->kfac) json_text_set(o, "kfac", kfac_json(&v->e->kfac[0]));
    json_text_set(o, "members", json_integer((json_int_t)s->members));
    put_scores(o, v, s, "_averaged");
    put(o, "expected_entropy", "", s->expected);
    put(o, "mutual_information", "", s->mutual);
    put(o, "spread", "", s->spread);
    json_text_set(o, "curve", curve_json(v));
}

static json_t *evaluation_json(const evaluation *v)
{
    const ensemble *e = v->e;
    json_t *o = json_pack("{s:s}", "run", e->jobs[0].name);
    if (e->count > 1) json_text_set(&o, "runs", runs_json(e));
    json_text_set(&o, "step", json_integer((json_int_t)e->facts[0].steps));
    json_text_set(&o, "rows", json_integer((json_int_t)v->mean.rows));
    put_scores(&o, v, &v->at_mean, "");
    if (v->averaged.points) put_average(&o, v);
    if (v->mean.length > 1) json_text_set(&o, "by_position", positions_json(v));
    json_text_set(&o, "reliability", reliability_json(v, &v->at_mean, v->mean_bins));
    if (v->averaged.points)
        json_text_set(&o, "reliability_averaged",
                      reliability_json(v, evaluation_average(v), v->averaged_bins));
    return o;
}

status evaluation_print_json(const evaluation *v)
{
    return json_text_print(stdout, evaluation_json(v), 0);
}

status evaluation_keep(const evaluation *v)
{
    char path[4096];
    if (v->e->count > 1 || !job_run_exists(v->e->paths[0])) return STATUS_OK;
    snprintf(path, sizeof path, "%.3900s/evaluation.json", v->e->paths[0]);
    status result = json_text_write(path, evaluation_json(v), 0);
    if (result != STATUS_IO) return result;
    status_warn("%s", status_message());
    status_clear();
    return STATUS_OK;
}

/* What a loss says: of tokens a perplexity, of classes an accuracy. */
static void print_scores(const evaluation *v, const prediction_scores *s, const char *of)
{
    bool tokens = job_reads_tokens(&v->e->jobs[0]);
    printf(": loss %.4f%s", s->nll, of);
    if (tokens) printf(", perplexity %.3f", exp(s->nll));
    if (!v->mean.classes) {
        printf(", root mean squared error %.4f, deviation %.4f, coverage error %.4f\n", s->rmse,
               sqrt(s->variance), s->coverage_error);
        return;
    }
    printf(", accuracy %.4f\n    Brier %.4f, ECE %.4f, AUROC of confidence %.4f, entropy %.4f",
           s->accuracy, s->brier, s->ece, s->auroc, s->entropy);
    if (s->members > 1) printf(" (%.4f expected, %.4f mutual information)", s->expected, s->mutual);
    putchar('\n');
}

void evaluation_print(const evaluation *v)
{
    char words[128];
    const ensemble *e = v->e;
    terminal_print(stdout, "%s, step %" PRIu64 "\n  at the mean", e->jobs[0].name,
                   e->facts[0].steps);
    print_scores(v, &v->at_mean,
                 job_reads_tokens(&e->jobs[0]) ? " nats a token" : " nats an example");
    if (!v->averaged.points) return;
    ensemble_describe(e, words, sizeof words);
    printf("  averaged over %s", words);
    print_scores(v, evaluation_average(v), "");
    const kfac_posterior *q = e->kfac;
    if (q)
        printf("    K-FAC of %zu layers, factors of %" PRIu64 " rows up to %zu wide; lambda %g, "
               "prior's precision %g\n",
               q->layers, q->rows, q->widest, q->lambda, q->tau);
}

static void write_classes(FILE *out, const predictions *p, size_t point)
{
    static const size_t columns[] = {CLASS_NLL,     CLASS_CONFIDENCE, CLASS_BRIER,
                                     CLASS_ENTROPY, CLASS_EXPECTED,   CLASS_MUTUAL};
    const double *target = predictions_column(p, point, CLASS_TARGET);
    const double *top = predictions_column(p, point, CLASS_TOP);
    fprintf(out, "row,target,predicted,right,nll,confidence,brier,entropy,expected_entropy,"
                 "mutual_information\n");
    for (size_t row = 0; row < p->rows; row++) {
        fprintf(out, "%zu,%.0f,%.0f,%d", row, target[row], top[row], target[row] == top[row]);
        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++)
            fprintf(out, ",%.17g", predictions_column(p, point, columns[k])[row]);
        fputc('\n', out);
    }
}

static void write_values(FILE *out, const evaluation *v, const predictions *p, size_t point)
{
    bool inputs = v->rows.count > 0;
    fprintf(out, "row,%snll", inputs ? "input," : "");
    for (size_t o = 0; o < p->outputs; o++)
        fprintf(out, ",target_%zu,mean_%zu,variance_%zu,spread_%zu", o, o, o, o);
    fputc('\n', out);
    for (size_t row = 0; row < p->rows; row++) {
        fprintf(out, "%zu", row);
        if (inputs) fprintf(out, ",%.9g", v->rows.x[row]);
        fprintf(out, ",%.17g", predictions_column(p, point, VALUE_NLL)[row]);
        for (size_t k = VALUE_OF; k < p->columns; k++)
            fprintf(out, ",%.17g", predictions_column(p, point, k)[row]);
        fputc('\n', out);
    }
}

static void write_rows(FILE *out, const void *context)
{
    const evaluation *v = context;
    const predictions *p = v->averaged.points ? &v->averaged : &v->mean;
    size_t point = v->averaged.points ? v->averaged.points - 1 : 0;
    if (v->mean.classes)
        write_classes(out, p, point);
    else
        write_values(out, v, p, point);
}

status evaluation_write_rows(const evaluation *v, const char *path)
{
    return file_print_atomic(path, write_rows, v);
}
