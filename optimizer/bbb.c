/* Bayes by backprop: Adam on the mean and on the logarithm of the deviation, one pass. */
#include "kernels/math.h"
#include "optimizer/statistics.h"
#include "optimizer/table.h"

#include <math.h>

enum { RUN = 1024 /* elements of one thread's turn */ };

/* Constants of a step, rounded once from double. */
typedef struct {
    float g_scale, f_scale, lambda, delta, one_less_beta1, one_less_beta2, correct1, correct2,
        epsilon, lr;
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
    *first += c->one_less_beta1 * (g - *first);
    *second += c->one_less_beta2 * (g * g - *second);
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
                   .one_less_beta1 = (float)(1.0 - step->beta1),
                   .one_less_beta2 = (float)(1.0 - step->beta2),
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

static double first_log(const optimizer_settings *s)
{
    return log(s->sigma_init);
}

static void bbb_step_update(const optimizer_update *u)
{
    const optimizer_settings *s = u->settings;
    bbb_step step = {.lambda = s->ess,
                     .delta = u->decay,
                     .beta1 = s->beta1,
                     .beta2 = s->beta2,
                     .epsilon = s->epsilon,
                     .lr = u->lr,
                     .updates = u->updates};
    bbb_update(u->mean, u->arrays[0], (float *const[2]){u->arrays[1], u->arrays[3]},
               (float *const[2]){u->arrays[2], u->arrays[4]}, u->sums->g, u->sums->f, u->g_scale,
               u->f_scale, &step, u->count);
}

static void bbb_describe(posterior_sums *sums, const optimizer_update *u)
{
    sums->sigma += bbb_sigma_sum(u->arrays[0], u->count);
}

OPTIMIZER_ROW(bbb) = {
    .name = "bbb",
    .title = "Bayes by backprop",
    .arrays = {{"log_deviation.", true, first_log},
               {"exp_avg.", false, NULL},
               {"exp_avg_sq.", false, NULL},
               {"log_deviation.exp_avg.", false, NULL},
               {"log_deviation.exp_avg_sq.", false, NULL}},
    .array_count = 5,
    .spread = SPREAD_LOG,
    .estimates = true,
    .decays_all = true,
    .update = bbb_step_update,
    .describe = bbb_describe,
    .keys = {{"optimizer.ess", NULL},
             {"optimizer.sigma_init", NULL},
             {"optimizer.beta1", NULL},
             {"optimizer.beta2", "0.999"},
             {"optimizer.weight_decay", NULL},
             {"optimizer.epsilon", NULL},
             {"optimizer.mc_samples", NULL},
             {"schedule.peak", "1.0e-3"}},
};
