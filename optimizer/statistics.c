/* Statistics in double, in element order. */
#include "optimizer/statistics.h"

#include <math.h>

void ivon_statistics(ivon_sums *sums, const float *h, const float *f_sum, double f_scale,
                     double lambda, double delta, double beta2, hessian_kind hessian, size_t count)
{
    ivon_sums s = *sums;
    double rate = 0.5 * (1.0 - beta2);
    for (size_t i = 0; i < count; i++) {
        double hi = (double)h[i], precision = hi + delta;
        double sigma = 1.0 / sqrt(lambda * precision);
        double f = f_scale * (double)f_sum[i];
        f = hessian == HESSIAN_PRICE ? f / sigma : f * lambda;
        s.sigma += sigma;
        s.hessian += hi;
        s.hessian_min = hi < s.hessian_min ? hi : s.hessian_min;
        s.bias += rate * (hi - f) * (hi - f) / precision;
    }
    *sums = s;
}

double bbb_sigma_sum(const float *rho, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += exp((double)rho[i]);
    return sum;
}
