/* IVON's update (Shen et al., ICML 2024, algorithm 1), one pass over the state. */
#include "kernels/clones.h"
#include "optimizer/optimizer.h"

#include <math.h>

enum { RUN = 4096 /* elements of one thread's turn */ };

/* Constants of a step, rounded once from double. */
typedef struct {
    float g_scale, f_scale, lambda, delta, beta1, keep1, keep2, half_square, debias, alpha, xi;
    bool price;
} constants;

static constants make_constants(double g_scale, double f_scale, const ivon_step *s)
{
    double keep2 = 1.0 - s->beta2;
    double debias = s->debias ? 1.0 - pow(s->beta1, (double)s->updates) : 1.0;
    return (constants){.g_scale = (float)g_scale,
                       .f_scale = (float)f_scale,
                       .lambda = (float)s->lambda,
                       .delta = (float)s->delta,
                       .beta1 = (float)s->beta1,
                       .keep1 = (float)(1.0 - s->beta1),
                       .keep2 = (float)keep2,
                       .half_square = (float)(0.5 * keep2 * keep2),
                       .debias = (float)(1.0 / debias),
                       .alpha = (float)s->alpha,
                       .xi = (float)s->xi,
                       .price = s->hessian == HESSIAN_PRICE};
}

CLONES static void sigma_run(float *sigma, const float *h, float lambda, float delta, size_t count)
{
    for (size_t i = 0; i < count; i++) sigma[i] = 1.0F / sqrtf(lambda * (h[i] + delta));
}

void ivon_sigma(float *sigma, const float *h, double lambda, double delta, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        sigma_run(sigma + at, h + at, (float)lambda, (float)delta, n);
    }
}

/* h + (1 - beta2) (f - h) keeps h's digits where beta2 h + (1 - beta2) f would round beta2. */
CLONES static void update_run(float *restrict m, float *restrict h, float *restrict momentum,
                              const float *restrict g_sum, const float *restrict f_sum,
                              const constants *c, size_t n, uint32_t counts[2])
{
    const constants k = *c;
    uint32_t clipped = 0, rescued = 0;
#pragma omp simd reduction(+ : clipped, rescued)
    for (size_t i = 0; i < n; i++) {
        float old = h[i], precision = old + k.delta;
        float f = k.f_scale * f_sum[i];
        float root = sqrtf(k.lambda * precision);
        f *= k.price ? root : k.lambda;
        float difference = f - old;
        float next =
            old + (k.keep2 * difference + k.half_square * (difference * difference) / precision);
        float least = 1e-3F * precision;
        bool high = next + k.delta >= least; /* false for NaN too */
        next = high ? next : least - k.delta;
        rescued += high ? 0U : 1U;
        float g = momentum[i] + k.keep1 * (k.g_scale * g_sum[i] - momentum[i]);
        float step = (g * k.debias + k.delta * m[i]) / (next + k.delta);
        clipped += fabsf(step) > k.xi ? 1U : 0U;
        step = step > k.xi ? k.xi : step;
        step = step < -k.xi ? -k.xi : step;
        h[i] = next;
        momentum[i] = g;
        m[i] = m[i] - k.alpha * step;
    }
    counts[0] = clipped;
    counts[1] = rescued;
}

void ivon_update(float *m, float *h, float *momentum, const float *g_sum, const float *f_sum,
                 double g_scale, double f_scale, const ivon_step *step, size_t count,
                 uint64_t *clipped, uint64_t *rescued)
{
    constants c = make_constants(g_scale, f_scale, step);
    uint64_t all_clipped = 0, all_rescued = 0;
#pragma omp parallel for schedule(static) reduction(+ : all_clipped, all_rescued)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        uint32_t counts[2];
        update_run(m + at, h + at, momentum + at, g_sum + at, f_sum + at, &c, n, counts);
        all_clipped += counts[0];
        all_rescued += counts[1];
    }
    *clipped += all_clipped;
    *rescued += all_rescued;
}
