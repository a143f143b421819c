/* Probabilities and their logarithms, without overflow. */
#include "posterior/metrics.h"

#include <math.h>

void metrics_softmax_of(double *p, size_t count)
{
    double max = -INFINITY, sum = 0.0;
    for (size_t i = 0; i < count; i++) max = fmax(max, p[i]);
    for (size_t i = 0; i < count; i++) sum += p[i] = exp(p[i] - max);
    for (size_t i = 0; i < count; i++) p[i] /= sum;
}

void metrics_softmax(double *p, const float *logits, size_t count)
{
    for (size_t i = 0; i < count; i++) p[i] = (double)logits[i];
    metrics_softmax_of(p, count);
}

double metrics_add_logarithms(double a, double b)
{
    return fmax(a, b) + log1p(exp(-fabs(a - b)));
}
