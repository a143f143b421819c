/* Bayes by backprop: Adam on the mean and on the logarithm of the deviation, one pass. */
#include "kernels/math.h"
#include "optimizer/optimizer.h"

#include <math.h>

enum { RUN = 1024 /* elements of one thread's turn */ };

/* Constants of a step, rounded once from double. */
typedef struct {
    float g_scale, f_scale, lambda, delta, keep1, keep2, correct1, correct2, epsilon, lr;
} constants;

static void sigma_run(float *sigma, const float *rho, size_t count)
{
    for (size_t i = 0; i < count; i++) sigma[i] = math_exp(rho[i]);
}

void bbb_sigma(float *sigma, const float *rho, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN)
        sigma_run(sigma + at, rho + at, count - at < RUN ? count - at : RUN);
}

static inline float moved(float value, float *first, float *second, float g, const constants *c)
{
    *first += c->keep1 * (g - *first);
    *second += c->keep2 * (g * g - *second);
    return value - c->lr * ((*first * c->correct1) / (sqrtf(*second * c->correct2) + c->epsilon));
}

static void mean_run(float *restrict m, float *restrict first, float *restrict second,
                     const float *restrict g_sum, const constants *c, size_t n)
{
    const constants k = *c;
    for (size_t i = 0; i < n; i++)
        m[i] = moved(m[i], &first[i], &second[i], k.g_scale * g_sum[i] + k.delta * m[i], &k);
}

/* Bounds keep the square of a wild gradient finite. */
static void rho_run(float *restrict rho, float *restrict first, float *restrict second,
                    const float *restrict f_sum, const constants *c, size_t n)
{
    const constants k = *c;
    for (size_t i = 0; i < n; i++) {
        float sigma = math_exp(rho[i]);
        float wanted = k.lambda * (sigma * (k.f_scale * f_sum[i] + k.delta * sigma)) - 1.0F;
        float upper = wanted > 1e18F ? 1e18F : wanted;
        float g = upper < -1e18F ? -1e18F : upper;
        rho[i] = moved(rho[i], &first[i], &second[i], g, &k);
    }
}

void bbb_update(float *m, float *rho, float *const first[2], float *const second[2],
                const float *g_sum, const float *f_sum, double g_scale, double f_scale,
                const bbb_step *step, size_t count)
{
    double updates = (double)step->updates;
    constants c = {.g_scale = (float)g_scale,
                   .f_scale = (float)f_scale,
                   .lambda = (float)step->lambda,
                   .delta = (float)step->delta,
                   .keep1 = (float)(1.0 - step->beta1),
                   .keep2 = (float)(1.0 - step->beta2),
                   .correct1 = (float)(1.0 / (1.0 - pow(step->beta1, updates))),
                   .correct2 = (float)(1.0 / (1.0 - pow(step->beta2, updates))),
                   .epsilon = (float)step->epsilon,
                   .lr = (float)step->lr};
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        mean_run(m + at, first[0] + at, second[0] + at, g_sum + at, &c, n);
        rho_run(rho + at, first[1] + at, second[1] + at, f_sum + at, &c, n);
    }
}
