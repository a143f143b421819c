/* IVON's update (Shen et al., ICML 2024, algorithm 1), one pass over the state. */
#include "optimizer/accumulate.h"
#include "optimizer/deviation.h"
#include "optimizer/statistics.h"
#include "optimizer/table.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RUN = 1024 /* elements of one thread's turn */ };

/* Constants of a step, rounded once from double. */
typedef struct {
    float g_scale, f_scale, lambda, delta, one_less_beta1, one_less_beta2, half_square, debias,
        alpha, xi, ahead;
    bool price;
} constants;

static constants make_constants(double g_scale, double f_scale, const ivon_step *s)
{
    double one_less_beta2 = 1.0 - s->beta2;
    double debias = s->debias ? 1.0 - pow(s->beta1, (double)s->updates) : 1.0;
    return (constants){.g_scale = (float)g_scale,
                       .f_scale = (float)f_scale,
                       .lambda = (float)s->lambda,
                       .delta = (float)s->delta,
                       .one_less_beta1 = (float)(1.0 - s->beta1),
                       .one_less_beta2 = (float)one_less_beta2,
                       .half_square = (float)(0.5 * one_less_beta2 * one_less_beta2),
                       .debias = (float)(1.0 / debias),
                       .alpha = (float)s->alpha,
                       .xi = (float)s->xi,
                       .ahead = s->nesterov ? (float)(1.0 - s->beta1) : 0.0F,
                       .price = s->hessian == HESSIAN_PRICE};
}

static void sigma_run(float *sigma, const float *h, float lambda, float delta, size_t count)
{
    for (size_t i = 0; i < count; i++) sigma[i] = deviation(h[i], lambda, delta);
}

void ivon_sigma(float *sigma, const float *h, double lambda, double delta, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        sigma_run(sigma + at, h + at, (float)lambda, (float)delta, n);
    }
}

/* f is the estimate times its scale: sqrt(lambda (h + delta)) = 1/sigma for price, lambda for
 * gradsq. h + (1 - beta2) (f - h) keeps h's digits where beta2 h + (1 - beta2) f would round beta2.
 * An estimate too large or too small for fp32 would end in h + delta <= 0, infinity or NaN, which
 * no later step mends: h then stays as it was. Only plain selections: the loop must stay one vector
 * loop. */
__attribute__((always_inline)) static inline void
update_run(float *restrict m, float *restrict h, float *restrict momentum,
           const float *restrict g_sum, const float *restrict f_sum, const constants *c, bool price,
           size_t n, uint32_t counts[2])
{
    const float g_scale = c->g_scale, delta = c->delta, one_less_beta1 = c->one_less_beta1,
                one_less_beta2 = c->one_less_beta2;
    const float half_square = c->half_square, debias = c->debias, alpha = c->alpha, xi = c->xi,
                ahead = c->ahead;
    const float lambda = c->lambda, f_scale = price ? c->f_scale : c->f_scale * c->lambda;
    int32_t clipped = 0, rescued = 0;
#pragma omp simd reduction(+ : clipped, rescued)
    for (size_t i = 0; i < n; i++) {
        float old = h[i], precision = old + delta;
        float f = f_scale * f_sum[i] * (price ? sqrtf(lambda * precision) : 1.0F);
        float difference = f - old;
        float moved = old + (one_less_beta2 * difference +
                             half_square * (difference * difference) / precision);
        int32_t holds = (moved + delta > 0.0F ? 1 : 0) & (moved <= FLT_MAX ? 1 : 0); /* 0 for NaN */
        float next = holds ? moved : old;
        float mean = g_scale * g_sum[i];
        float g = momentum[i] + one_less_beta1 * (mean - momentum[i]), smooth = g * debias;
        float wanted = (smooth + ahead * (mean - smooth) + delta * m[i]) / (next + delta);
        float upper = wanted > xi ? xi : wanted;
        float step = upper < -xi ? -xi : upper;
        clipped += step != wanted ? 1 : 0;
        rescued += 1 - holds;
        h[i] = next;
        momentum[i] = g;
        m[i] = m[i] - alpha * step;
    }
    counts[0] = (uint32_t)clipped;
    counts[1] = (uint32_t)rescued;
}

static void price_run(float *m, float *h, float *momentum, const float *g_sum, const float *f_sum,
                      const constants *c, size_t n, uint32_t counts[2])
{
    update_run(m, h, momentum, g_sum, f_sum, c, true, n, counts);
}

static void gradsq_run(float *m, float *h, float *momentum, const float *g_sum, const float *f_sum,
                       const constants *c, size_t n, uint32_t counts[2])
{
    update_run(m, h, momentum, g_sum, f_sum, c, false, n, counts);
}

/* The sums of a run: in memory, or made here of what is in memory and of the pieces. */
static void sums_run(const float **g, const float **f, float made[2][RUN],
                     const gradient_sums *sums, hessian_kind hessian, size_t at, size_t n)
{
    *g = sums->g + at;
    *f = sums->f + at;
    if (sums->piece_count == 0) return;
    for (int k = 0; k < 2; k++)
        if (sums->empty)
            memset(made[k], 0, n * sizeof(float));
        else
            memcpy(made[k], k ? *f : *g, n * sizeof(float));
    for (size_t p = 0; p < sums->piece_count; p++)
        accumulate_run(made[0], made[1], &sums->pieces[p], hessian, sums->index, at, n);
    *g = made[0];
    *f = made[1];
}

void ivon_update(float *m, float *h, float *momentum, const gradient_sums *sums, double g_scale,
                 double f_scale, const ivon_step *step, size_t count, uint64_t *clipped,
                 uint64_t *rescued)
{
    constants c = make_constants(g_scale, f_scale, step);
    uint64_t all_clipped = 0, all_rescued = 0;
#pragma omp parallel for schedule(static) reduction(+ : all_clipped, all_rescued)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        _Alignas(64) float made[2][RUN];
        const float *g, *f;
        uint32_t counts[2];
        sums_run(&g, &f, made, sums, step->hessian, at, n);
        (c.price ? price_run : gradsq_run)(m + at, h + at, momentum + at, g, f, &c, n, counts);
        all_clipped += counts[0];
        all_rescued += counts[1];
    }
    *clipped += all_clipped;
    *rescued += all_rescued;
}

static double first_hessian(const optimizer_settings *s)
{
    return s->hessian_init;
}

static double rate_scale(const optimizer_settings *s)
{
    if (s->largest > 0.0) return 1.0 / s->largest;
    return s->rescale_lr ? s->hessian_init + s->weight_decay : 1.0;
}

static void ivon_step_update(const optimizer_update *u)
{
    const optimizer_settings *s = u->settings;
    ivon_step step = {.lambda = s->ess,
                      .delta = u->decay,
                      .h0 = s->hessian_init,
                      .beta1 = s->beta1,
                      .beta2 = s->beta2,
                      .xi = u->clip,
                      .alpha = u->lr * rate_scale(s),
                      .updates = u->updates,
                      .debias = s->debias,
                      .hessian = s->hessian,
                      .nesterov = s->nesterov};
    ivon_update(u->mean, u->arrays[0], u->arrays[1], u->sums, u->g_scale, u->f_scale, &step,
                u->count, u->clipped, u->rescued);
}

static void ivon_describe(posterior_sums *sums, const optimizer_update *u)
{
    const optimizer_settings *s = u->settings;
    ivon_statistics(sums, u->arrays[0], u->sums->f, u->f_scale, s->ess, u->decay, s->beta2,
                    s->hessian, u->count);
}

OPTIMIZER_ROW(ivon) = {
    .name = "ivon",
    .title = "IVON",
    .arrays = {{"", true, first_hessian}, {"momentum.", false, NULL}},
    .array_count = 2,
    .spread = SPREAD_HESSIAN,
    .estimates = true,
    .rate_scale = rate_scale,
    .takes_pieces = true,
    .update = ivon_step_update,
    .describe = ivon_describe,
    .keys = {{"optimizer.settings", NULL},     {"optimizer.temperature", NULL},
             {"data.observations", NULL},      {"optimizer.ess", NULL},
             {"optimizer.ess_final", NULL},    {"optimizer.ess_course", NULL},
             {"optimizer.hessian_init", NULL}, {"optimizer.hessian", NULL},
             {"optimizer.beta1", NULL},        {"optimizer.beta2", NULL},
             {"optimizer.weight_decay", NULL}, {"optimizer.mc_samples", NULL},
             {"optimizer.rescale_lr", NULL},   {"optimizer.debias", NULL},
             {"optimizer.nesterov", NULL},     {"clip.update", NULL},
             {"sensitivity.every", NULL},      {"sensitivity.examples", NULL},
             {"early_stop.kind", NULL},        {"early_stop.patience", NULL}},
    .automatic = {{"optimizer.ess", NULL},
                  {"optimizer.hessian_init", NULL},
                  {"optimizer.weight_decay", NULL},
                  {"optimizer.beta2", NULL},
                  {"clip.update", NULL},
                  {"optimizer.nesterov", "true"},
                  {"schedule.peak", "1.0e-3"}},
};
