/* Probabilities and their logarithms, without overflow. */
#include "posterior/metrics.h"

#include <math.h>

void metrics_softmax(double *p, const float *logits, size_t count)
{
    double most = -INFINITY, sum = 0.0;
    for (size_t i = 0; i < count; i++) most = fmax(most, (double)logits[i]);
    for (size_t i = 0; i < count; i++) sum += p[i] = exp((double)logits[i] - most);
    for (size_t i = 0; i < count; i++) p[i] /= sum;
}

double metrics_add_logarithms(double a, double b)
{
    return fmax(a, b) + log1p(exp(-fabs(a - b)));
}
