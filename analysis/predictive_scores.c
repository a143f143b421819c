/* What the rows of a data set add up to. */
#include "analysis/predictive.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

/* Sums of batches, added in the order of batches: a validation's loss to the bit. */
static double mean_by_batch(const predictions *p, const double *values)
{
    double total = 0.0;
    for (size_t first = 0; first < p->rows; first += p->batch_rows) {
        size_t end = p->rows - first < p->batch_rows ? p->rows : first + p->batch_rows;
        double sum = 0.0;
        for (size_t row = first; row < end; row++) sum += values[row];
        total += sum;
    }
    return total / (double)p->rows;
}

static double mean_of(const predictions *p, size_t point, size_t column)
{
    return metrics_mean(predictions_column(p, point, column), p->rows);
}

static status score_classes(const predictions *p, size_t point, calibration_bin *bins,
                            size_t bin_count, prediction_scores *out)
{
    const double *top = predictions_column(p, point, CLASS_TOP);
    const double *target = predictions_column(p, point, CLASS_TARGET);
    const double *confidence = predictions_column(p, point, CLASS_CONFIDENCE);
    bool *right = calloc(p->rows + 1, sizeof *right);
    ranking ranks;
    if (!right) return fail(STATUS_NOMEM, "memory for the scores of %zu rows", p->rows);
    for (size_t row = 0; row < p->rows; row++) right[row] = top[row] == target[row];
    calibration c = metrics_calibrate(bins, bin_count, confidence, right, p->rows);
    status result = metrics_rank(&ranks, confidence, right, p->rows, METRICS_TPR);
    free(right);
    out->accuracy = c.accuracy;
    out->ece = c.ece;
    out->auroc = ranks.auroc;
    out->brier = mean_of(p, point, CLASS_BRIER);
    out->entropy = mean_of(p, point, CLASS_ENTROPY);
    out->expected = mean_of(p, point, CLASS_EXPECTED);
    out->mutual = mean_of(p, point, CLASS_MUTUAL);
    return result;
}

/* Every output has as many rows, so shares of all targets are means of those of the outputs. */
static void add_coverage(const predictions *p, size_t point, size_t column, double *coverage)
{
    double observed[METRICS_LEVELS];
    metrics_cover(observed, predictions_column(p, point, column + VALUE_TARGET),
                  predictions_column(p, point, column + VALUE_MEAN),
                  predictions_column(p, point, column + VALUE_VARIANCE), p->rows);
    for (size_t k = 0; k < METRICS_LEVELS; k++) coverage[k] += observed[k] / (double)p->outputs;
}

static void score_values(const predictions *p, size_t point, prediction_scores *out)
{
    double outputs = (double)p->outputs;
    out->rmse = sqrt(mean_of(p, point, VALUE_ERROR) / outputs);
    out->variance = out->spread = 0.0;
    for (size_t o = 0; o < p->outputs; o++) {
        size_t column = VALUE_OF + o * VALUE_STRIDE;
        out->variance += mean_of(p, point, column + VALUE_VARIANCE) / outputs;
        out->spread += mean_of(p, point, column + VALUE_SPREAD) / outputs;
        add_coverage(p, point, column, out->coverage);
    }
    out->coverage_error = metrics_coverage_error(out->coverage);
}

status predictions_score(const predictions *p, size_t point, calibration_bin *bins,
                         size_t bin_count, prediction_scores *out)
{
    *out = (prediction_scores){.members = p->members[point],
                               .accuracy = NAN,
                               .brier = NAN,
                               .ece = NAN,
                               .auroc = NAN,
                               .entropy = NAN,
                               .expected = NAN,
                               .mutual = NAN,
                               .rmse = NAN,
                               .variance = NAN,
                               .spread = NAN,
                               .coverage_error = NAN};
    out->nll = mean_by_batch(p, predictions_column(p, point, p->classes ? CLASS_NLL : VALUE_NLL));
    if (p->classes) return score_classes(p, point, bins, bin_count, out);
    score_values(p, point, out);
    return STATUS_OK;
}
