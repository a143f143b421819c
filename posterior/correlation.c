/* Means, deviations and correlations. */
#include "base/memory.h"
#include "posterior/metrics.h"

#include <math.h>
#include <stdlib.h>

double metrics_mean(const double *values, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count; /* 0/0 is NaN */
}

double metrics_deviation(const double *values, size_t count)
{
    if (count < 2) return NAN;
    double mean = metrics_mean(values, count), squares = 0.0;
    for (size_t i = 0; i < count; i++) squares += (values[i] - mean) * (values[i] - mean);
    return sqrt(squares / (double)(count - 1));
}

static bool constant(const double *values, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (values[i] != values[0]) return false;
    return true;
}

double metrics_pearson(const double *x, const double *y, size_t count)
{
    /* Deviations of a constant from its rounded mean need not be 0. */
    if (constant(x, count) || constant(y, count)) return NAN;
    double x_mean = metrics_mean(x, count), y_mean = metrics_mean(y, count);
    double xx = 0.0, yy = 0.0, xy = 0.0;
    for (size_t i = 0; i < count; i++) {
        double u = x[i] - x_mean, v = y[i] - y_mean;
        xx += u * u;
        yy += v * v;
        xy += u * v;
    }
    double r = xy / (sqrt(xx) * sqrt(yy));
    return r > 1.0 ? 1.0 : r < -1.0 ? -1.0 : r;
}

typedef struct {
    double value;
    size_t index;
} placed;

static int by_rising_value(const void *a, const void *b)
{
    double x = ((const placed *)a)->value, y = ((const placed *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1, equal values sharing the mean of theirs; false when a value is NaN.
 * ranks [count] out, order [count] scratch. */
static bool rank_values(double *ranks, placed *order, const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) return false;
        order[i] = (placed){values[i], i};
    }
    qsort(order, count, sizeof *order, by_rising_value);
    for (size_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && order[end].value == order[begin].value;) end++;
        for (size_t i = begin; i < end; i++)
            ranks[order[i].index] = 0.5 * (double)(begin + 1 + end);
    }
    return true;
}

status metrics_spearman(double *rho, const double *x, const double *y, size_t count)
{
    *rho = NAN;
    if (count < 2) return STATUS_OK;
    size_t bytes;
    bool fits = memory_product(&bytes, count, 2 * sizeof(double) + sizeof(placed));
    double *ranks = fits ? malloc(bytes) : NULL;
    if (!ranks) return fail(STATUS_NOMEM, "correlation: no memory to rank %zu values", count);
    placed *order = (placed *)(ranks + 2 * count);
    if (rank_values(ranks, order, x, count) && rank_values(ranks + count, order, y, count))
        *rho = metrics_pearson(ranks, ranks + count, count);
    free(ranks);
    return STATUS_OK;
}
