/* Scores of single predictions, and how far their confidence and their intervals can be trusted. */
#include "posterior/metrics.h"

#include <assert.h>
#include <math.h>

prediction_score metrics_score(const double *p, size_t classes, size_t target)
{
    assert(target < classes);
    prediction_score s = {.top = 0, .entropy = metrics_entropy(p, classes)};
    for (size_t c = 0; c < classes; c++) {
        double off = p[c] - (c == target ? 1.0 : 0.0);
        s.brier += off * off;
        if (p[c] > p[s.top]) s.top = c;
    }
    s.confidence = isnan(s.brier) ? NAN : p[s.top];
    s.nll = 0.0 - log(p[target]); /* of 1: 0, not -0 */
    return s;
}

/* The ends of bins are the doubles nearest to b/B. A product with B can round up to the end of a
 * confidence's bin, never down past its beginning. */
static size_t bin_of(double confidence, size_t bin_count)
{
    if (!(confidence > 0.0)) return 0; /* NaN too */
    if (confidence >= 1.0) return bin_count - 1;
    size_t b = (size_t)(confidence * (double)bin_count);
    return b > 0 && confidence <= (double)b / (double)bin_count ? b - 1 : b;
}

calibration metrics_calibrate(calibration_bin *bins, size_t bin_count, const double *confidence,
                              const bool *right, size_t count)
{
    assert(bin_count > 0);
    for (size_t b = 0; b < bin_count; b++) bins[b] = (calibration_bin){0};
    for (size_t i = 0; i < count; i++) {
        calibration_bin *bin = &bins[bin_of(confidence[i], bin_count)];
        bin->count++;
        bin->confidence += confidence[i];
        bin->accuracy += right[i] ? 1.0 : 0.0;
    }
    calibration sums = {0};
    for (size_t b = 0; b < bin_count; b++) {
        sums.accuracy += bins[b].accuracy;
        sums.confidence += bins[b].confidence;
        sums.ece += fabs(bins[b].accuracy - bins[b].confidence);
        bins[b].accuracy /= (double)bins[b].count; /* 0/0 is NaN */
        bins[b].confidence /= (double)bins[b].count;
    }
    double n = (double)count;
    return (calibration){sums.accuracy / n, sums.confidence / n, sums.ece / n};
}

double metrics_level(size_t k)
{
    return (double)(k + 1) / (double)(METRICS_LEVELS + 1);
}

/* The least nominal coverage whose interval holds the target. */
static double level_of(double target, double mean, double variance)
{
    double off = fabs(target - mean);
    return off == 0.0 && variance == 0.0 ? 0.0 : erf(off / sqrt(2.0 * variance));
}

void metrics_cover(double *observed, const double *target, const double *mean,
                   const double *variance, size_t count)
{
    for (size_t k = 0; k < METRICS_LEVELS; k++) observed[k] = 0.0;
    for (size_t i = 0; i < count; i++) {
        double level = level_of(target[i], mean[i], variance[i]);
        for (size_t k = 0; k < METRICS_LEVELS; k++)
            observed[k] += isnan(level) ? NAN : level <= metrics_level(k) ? 1.0 : 0.0;
    }
    for (size_t k = 0; k < METRICS_LEVELS; k++) observed[k] /= (double)count;
}

double metrics_coverage_error(const double *observed)
{
    double sum = 0.0;
    for (size_t k = 0; k < METRICS_LEVELS; k++) sum += fabs(observed[k] - metrics_level(k));
    return sum / METRICS_LEVELS;
}
