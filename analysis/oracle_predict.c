/* A run's posterior beside the exact one: distances, and predictions on the same data. */
#include "analysis/oracle.h"
#include "analysis/oracle_parts.h"
#include "kernels/noise.h"
#include "posterior/metrics.h"
#include "posterior/small.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double share)
{
    double at = share * (double)(count - 1);
    size_t below = (size_t)at, above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

/* The precision along the run's directions, q' Lambda q. */
static status measure(const oracle *o, const oracle_posterior *q, double *along)
{
    enum { CHUNK = 128 };
    size_t n = o->unknowns, numbers[CHUNK], count = 0;
    double *ways = NULL, *turned = NULL;
    status result = oracle_take(&ways, q->block_count ? CHUNK : 0, n);
    if (!result) result = oracle_take(&turned, q->block_count ? CHUNK : 0, n);
    result = agree(o->r->rounds.c->world, result);
    for (size_t i = 0; !result && i < n; i++) {
        const oracle_block *block = oracle_posterior_block(q, i);
        along[i] = o->diagonal[i];
        if (block) {
            oracle_posterior_direction(q, block, i, ways + count * n);
            numbers[count++] = i;
        }
        if (count == 0 || (count < CHUNK && i + 1 < n)) continue;
        memcpy(turned, ways, count * n * sizeof *turned);
        result = exact_multiply_all(o->precision, turned, count);
        for (size_t k = 0; k < count; k++) {
            double sum = 0.0;
            for (size_t j = 0; j < n; j++) sum += ways[k * n + j] * turned[k * n + j];
            along[numbers[k]] = sum;
        }
        count = 0;
    }
    free(ways);
    free(turned);
    return result;
}

/* KL of Gaussians splits into what the mean, the variances and the missing correlations cost.
 * @param along  [unknowns] the precision along the directions */
static void add_distances(const oracle *o, const double *mean, const oracle_posterior *q,
                          const double *along, oracle_comparison *out)
{
    double distance = 0.0, norm = 0.0, product = 0.0, near = 0.0;
    for (size_t i = 0; i < o->unknowns; i++) o->step[i] = mean[i] - o->mode[i];
    exact_multiply(o->precision, o->step, o->gradient);
    for (size_t i = 0; i < o->unknowns; i++) {
        double d = o->step[i], spread = q->spread[i] * q->spread[i], ratio = spread * along[i];
        distance += d * d;
        norm += o->mode[i] * o->mode[i];
        product += d * o->gradient[i];
        near += d * d * o->diagonal[i];
        near += q->sigma[i] * q->sigma[i] * o->diagonal[i] - 1.0 - log(spread * o->diagonal[i]);
        out->kl_variance += 0.5 * (ratio - 1.0 - log(ratio));
        out->kl_basis += 0.5 * log(along[i]);
        out->kl_diagonal += 0.5 * log(o->diagonal[i]);
    }
    out->mean_error = sqrt(distance / norm);
    out->kl_mean = 0.5 * product;
    out->kl_basis -= 0.5 * o->log_determinant;
    out->kl_diagonal -= 0.5 * o->log_determinant;
    out->kl = out->kl_mean + out->kl_variance + out->kl_basis;
    out->kl_best = 0.5 * near;
}

status oracle_compare(const oracle *o, const double *mean, const oracle_posterior *q,
                      const double *variances, oracle_comparison *out)
{
    static const double shares[] = {0.05, 0.25, 0.5, 0.75, 0.95};
    double *ratios, *along = NULL;
    size_t n = o->unknowns;
    *out = (oracle_comparison){0};
    status result = oracle_take(&ratios, n, 1);
    if (!result) result = oracle_take(&along, n, 1);
    result = agree(o->r->rounds.c->world, result);
    if (result) goto done;
    result = measure(o, q, along);
    if (result) goto done;
    add_distances(o, mean, q, along, out);
    for (size_t i = 0; i < n; i++) ratios[i] = q->spread[i] * q->spread[i] * along[i];
    qsort(ratios, n, sizeof *ratios, by_value);
    for (size_t k = 0; k < 5; k++) out->quantiles[k] = quantile(ratios, n, shares[k]);
    for (size_t i = 0; i < n; i++) ratios[i] = q->sigma[i] * q->sigma[i] / variances[i];
    qsort(ratios, n, sizeof *ratios, by_value);
    out->inverse = quantile(ratios, n, 0.5);
done:
    free(ratios);
    free(along);
    return result;
}

/* Columns of what is known of a row of classes, and of a value. */
enum { CLASS_NLL, CLASS_CONFIDENCE, CLASS_RIGHT };
enum { VALUE_NLL, VALUE_TARGET, VALUE_MEAN, VALUE_VARIANCE, COLUMNS };

typedef struct {
    oracle *o;
    const dataset *data;
    const oracle_posterior *q;
    uint64_t samples;
    size_t cells;               /* rows of classes; values */
    double *facts[PREDICTIONS]; /* (COLUMNS, cells) */
    double *step;               /* mode - start */
    double *f, *covariance;     /* (examples, outputs) at the mode; (examples, outputs, outputs) */
    float *normals;             /* (samples, outputs) of an example */
    double *factor, *average, *p;
    bool *right; /* [cells] of classes */
} prediction;

static void draw_normals(prediction *w, uint64_t example)
{
    size_t C = w->o->outputs;
    noise_key key = {.seed = w->o->r->job->seed, .stream = STREAM_POSTERIOR, .step = 1};
    for (uint64_t s = 0; s < w->samples; s++) {
        key.sample = (uint32_t)s;
        for (size_t c = 0; c < C; c += NOISE_BLOCK)
            noise_normals(w->normals + s * C + c, NULL, key, example * C + c,
                          C - c < NOISE_BLOCK ? C - c : NOISE_BLOCK);
    }
}

/* The mean of softmax over draws of f with a covariance; NULL: f itself. */
static void average_classes(prediction *w, const double *f, const double *covariance)
{
    size_t C = w->o->outputs;
    memcpy(w->average, f, C * sizeof *f);
    if (!covariance) {
        metrics_softmax_of(w->average, C);
        return;
    }
    memset(w->average, 0, C * sizeof *w->average);
    memcpy(w->factor, covariance, C * C * sizeof *covariance);
    small_factor(w->factor, C);
    for (uint64_t s = 0; s < w->samples; s++) {
        const float *z = w->normals + s * C;
        for (size_t c = 0; c < C; c++) {
            w->p[c] = f[c];
            for (size_t k = 0; k <= c; k++) w->p[c] += w->factor[c * C + k] * (double)z[k];
        }
        metrics_softmax_of(w->p, C);
        for (size_t c = 0; c < C; c++) w->average[c] += w->p[c] / (double)w->samples;
    }
}

static void note(prediction *w, oracle_prediction kind, const jacobian_rows *b, size_t example,
                 const double *f, const double *covariance)
{
    const oracle *o = w->o;
    size_t C = o->outputs;
    double *facts = w->facts[kind];
    if (o->classes) {
        size_t at = b->first + example;
        average_classes(w, f, covariance);
        prediction_score s = metrics_score(w->average, C, b->targets[example]);
        facts[CLASS_NLL * w->cells + at] = s.nll;
        facts[CLASS_CONFIDENCE * w->cells + at] = s.confidence;
        facts[CLASS_RIGHT * w->cells + at] = s.top == b->targets[example];
        return;
    }
    for (size_t c = 0; c < C; c++) {
        size_t at = (b->first + example) * C + c;
        double target = (double)b->values[example * C + c], error = f[c] - target;
        double variance =
            o->r->config.mlp.noise_variance + (covariance ? covariance[c * C + c] : 0.0);
        facts[VALUE_NLL * w->cells + at] =
            0.5 * (error * error / variance + log(8.0 * atan(1.0) * variance));
        facts[VALUE_TARGET * w->cells + at] = target;
        facts[VALUE_MEAN * w->cells + at] = f[c];
        facts[VALUE_VARIANCE * w->cells + at] = variance;
    }
}

/* J Sigma J' of an example with the run's covariance; the rows are lost. */
static void run_covariance(const prediction *w, double *rows, double *out)
{
    size_t C = w->o->outputs, n = w->o->unknowns;
    for (size_t c = 0; c < C; c++) oracle_posterior_project(w->q, rows + c * n);
    for (size_t c = 0; c < C; c++)
        for (size_t k = 0; k < C; k++) {
            double sum = 0.0;
            for (size_t i = 0; i < n; i++) sum += rows[c * n + i] * rows[k * n + i];
            out[c * C + k] = sum;
        }
}

static status run_round(prediction *w, uint64_t round)
{
    oracle *o = w->o;
    size_t C = o->outputs, n = o->unknowns;
    jacobian_rows b;
    status result = jacobian_round(o->x, w->data, round, &b);
    if (result) return result;
    oracle_outputs(o, &b, w->step, w->f);
    result = exact_covariances(o->factor, b.rows, oracle_cells(o, &b), C, w->covariance);
    for (size_t s = 0; !result && s < b.examples; s++) {
        double *covariance = w->covariance + s * C * C;
        if (o->classes) draw_normals(w, b.first + s);
        note(w, PREDICT_MODE, &b, s, w->f + s * C, NULL);
        note(w, PREDICT_EXACT, &b, s, w->f + s * C, covariance);
        if (!w->q) continue;
        run_covariance(w, b.rows + s * C * n, covariance);
        note(w, PREDICT_RUN, &b, s, b.f + s * C, covariance);
    }
    return result;
}

static oracle_score score_classes(const prediction *w, const double *facts)
{
    oracle_score s = {.rmse = NAN, .coverage_error = NAN};
    calibration_bin bins[METRICS_BINS];
    for (size_t i = 0; i < w->cells; i++) w->right[i] = facts[CLASS_RIGHT * w->cells + i] > 0.0;
    calibration found = metrics_calibrate(bins, METRICS_BINS, facts + CLASS_CONFIDENCE * w->cells,
                                          w->right, w->cells);
    s.nll = metrics_mean(facts + CLASS_NLL * w->cells, w->cells);
    s.accuracy = found.accuracy;
    s.ece = found.ece;
    return s;
}

static oracle_score score_values(const prediction *w, const double *facts)
{
    double observed[METRICS_LEVELS], squares = 0.0;
    const double *target = facts + VALUE_TARGET * w->cells, *mean = facts + VALUE_MEAN * w->cells;
    for (size_t i = 0; i < w->cells; i++) squares += (mean[i] - target[i]) * (mean[i] - target[i]);
    metrics_cover(observed, target, mean, facts + VALUE_VARIANCE * w->cells, w->cells);
    return (oracle_score){.nll = metrics_mean(facts + VALUE_NLL * w->cells, w->cells),
                          .accuracy = NAN,
                          .ece = NAN,
                          .rmse = sqrt(squares / (double)w->cells),
                          .coverage_error = metrics_coverage_error(observed)};
}

static status open_prediction(prediction *w)
{
    const oracle *o = w->o;
    size_t C = o->outputs, max = jacobian_batch(o->x);
    status result = oracle_take(&w->step, o->unknowns, 1);
    if (!result) result = oracle_take(&w->f, max, C);
    if (!result) result = oracle_take(&w->covariance, max, C * C);
    for (size_t k = 0; !result && k < PREDICTIONS; k++)
        result = oracle_take(&w->facts[k], COLUMNS, w->cells);
    if (!result) result = oracle_take(&w->factor, C, C);
    if (!result) result = oracle_take(&w->average, C, 1);
    if (!result) result = oracle_take(&w->p, C, 1);
    w->normals = calloc((size_t)w->samples * C + 1, sizeof *w->normals);
    w->right = calloc(w->cells + 1, sizeof *w->right);
    if (!result && !(w->normals && w->right))
        result = fail(STATUS_NOMEM, "memory for samples of %zu outputs", C);
    return result;
}

static void close_prediction(prediction *w)
{
    for (size_t k = 0; k < PREDICTIONS; k++) free(w->facts[k]);
    free(w->step);
    free(w->f);
    free(w->covariance);
    free(w->normals);
    free(w->factor);
    free(w->average);
    free(w->p);
    free(w->right);
}

status oracle_predict(oracle *o, const dataset *data, const oracle_posterior *q, uint64_t samples,
                      oracle_score *scores)
{
    uint64_t count = dataset_count(data), round_count = jacobian_rounds(o->x, count);
    prediction w = {.o = o,
                    .data = data,
                    .q = q,
                    .samples = samples,
                    .cells = (size_t)count * (o->classes ? 1 : o->outputs)};
    status result = agree(o->r->rounds.c->world, open_prediction(&w));
    for (size_t i = 0; !result && i < o->unknowns; i++) w.step[i] = o->mode[i] - o->start[i];
    for (uint64_t round = 0; !result && round < round_count; round++) result = run_round(&w, round);
    for (size_t k = 0; !result && k < PREDICTIONS; k++) {
        comm_sum_ordered(o->r->rounds.c, w.facts[k], COLUMNS * w.cells);
        scores[k] = (o->classes ? score_classes : score_values)(&w, w.facts[k]);
    }
    close_prediction(&w);
    return result;
}
