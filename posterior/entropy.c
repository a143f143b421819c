/* Entropies of predictions. */
#include "posterior/metrics.h"

#include <math.h>

double metrics_entropy(const double *p, size_t classes)
{
    double sum = 0.0;
    for (size_t c = 0; c < classes; c++)
        if (p[c] != 0.0) sum -= p[c] * log(p[c]);
    return sum < 0.0 ? 0.0 : sum; /* a probability of 1 can be rounded past it */
}

entropy_parts metrics_entropy_parts(const double *average, size_t classes, double expected)
{
    double predictive = metrics_entropy(average, classes), mutual = predictive - expected;
    return (entropy_parts){predictive, expected, mutual < 0.0 ? 0.0 : mutual};
}
