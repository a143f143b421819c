/* Statistics in double. */
#include "optimizer/statistics.h"

#include <math.h>

enum { PART = 1 << 16 /* elements that one thread adds up */ };

/* Only plain selections and sums: the loop must stay one vector loop. */
static posterior_sums part_sums(const float *h, const float *f_sum, double f_scale, double lambda,
                                double delta, double rate, bool price, double clip, size_t count)
{
    double sigmas = 0.0, hessian = 0.0, smallest = INFINITY, bias = 0.0;
#pragma omp simd reduction(+ : sigmas, hessian, bias) reduction(min : smallest)
    for (size_t i = 0; i < count; i++) {
        double hi = (double)h[i], precision = hi + delta, root = sqrt(lambda * precision);
        double estimate = f_scale * (double)f_sum[i] * (price ? root : lambda);
        double limit = clip < INFINITY ? clip * fabs(hi) : INFINITY;
        double upper = estimate > limit ? limit : estimate, f = upper < -limit ? -limit : upper;
        sigmas += 1.0 / root;
        hessian += hi;
        smallest = hi < smallest ? hi : smallest;
        bias += rate * (hi - f) * (hi - f) / precision;
    }
    return (posterior_sums){sigmas, hessian, smallest, bias};
}

static void add_parts(posterior_sums *sums, const float *h, const float *f_sum, double f_scale,
                      double lambda, double delta, double rate, bool price, double clip,
                      size_t count)
{
    size_t parts = (count + PART - 1) / PART;
    posterior_sums part[parts];
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < parts; i++) {
        size_t at = i * PART, n = count - at < PART ? count - at : PART;
        part[i] = part_sums(h + at, f_sum + at, f_scale, lambda, delta, rate, price, clip, n);
    }
    for (size_t i = 0; i < parts; i++) {
        sums->sigma += part[i].sigma;
        sums->hessian += part[i].hessian;
        sums->hessian_min = fmin(sums->hessian_min, part[i].hessian_min);
        sums->bias += part[i].bias;
    }
}

void ivon_statistics(posterior_sums *sums, const float *h, const float *f_sum, double f_scale,
                     double lambda, double delta, double beta2, hessian_kind hessian, size_t count)
{
    add_parts(sums, h, f_sum, f_scale, lambda, delta, 0.5 * (1.0 - beta2), hessian == HESSIAN_PRICE,
              INFINITY, count);
}

void evon_statistics(posterior_sums *sums, const float *h, const float *f_sum, double f_scale,
                     double lambda, double delta, double beta2, double clip, size_t count)
{
    add_parts(sums, h, f_sum, f_scale, lambda, delta, 0.5 * (1.0 - beta2), true, clip, count);
}

double bbb_sigma_sum(const float *rho, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += exp((double)rho[i]);
    return sum;
}
