/* AdamW (Loshchilov and Hutter, ICLR 2019). */
#include "optimizer/table.h"

#include <math.h>

enum { RUN = 4096 };

typedef struct {
    float g_scale, one_less_beta1, one_less_beta2, correct1, correct2, epsilon, shrink, lr;
} constants;

static void adamw_run(float *restrict m, float *restrict first, float *restrict second,
                      const float *restrict g_sum, const constants *c, size_t n)
{
    const constants k = *c;
    for (size_t i = 0; i < n; i++) {
        float g = k.g_scale * g_sum[i];
        float a = first[i] + k.one_less_beta1 * (g - first[i]);
        float v = second[i] + k.one_less_beta2 * (g * g - second[i]);
        float step = (a * k.correct1) / (sqrtf(v * k.correct2) + k.epsilon);
        first[i] = a;
        second[i] = v;
        m[i] = m[i] - (k.shrink * m[i] + k.lr * step);
    }
}

void adamw_update(float *m, float *exp_avg, float *exp_avg_sq, const float *g_sum, double g_scale,
                  const adamw_step *step, size_t count)
{
    double n = (double)step->updates;
    constants c = {.g_scale = (float)g_scale,
                   .one_less_beta1 = (float)(1.0 - step->beta1),
                   .one_less_beta2 = (float)(1.0 - step->beta2),
                   .correct1 = (float)(1.0 / (1.0 - pow(step->beta1, n))),
                   .correct2 = (float)(1.0 / (1.0 - pow(step->beta2, n))),
                   .epsilon = (float)step->epsilon,
                   .shrink = (float)(step->lr * step->decay),
                   .lr = (float)step->lr};
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t length = count - at < RUN ? count - at : RUN;
        adamw_run(m + at, exp_avg + at, exp_avg_sq + at, g_sum + at, &c, length);
    }
}

static void adamw_step_update(const optimizer_update *u)
{
    const optimizer_settings *s = u->settings;
    adamw_step step = {.beta1 = s->beta1,
                       .beta2 = s->beta2,
                       .epsilon = s->epsilon,
                       .decay = u->decay,
                       .lr = u->lr,
                       .updates = u->updates};
    adamw_update(u->mean, u->arrays[0], u->arrays[1], u->sums->g, u->g_scale, &step, u->count);
}

OPTIMIZER_ROW(adamw) = {
    .name = "adamw",
    .title = "AdamW",
    .arrays = {{"exp_avg.", false, NULL}, {"exp_avg_sq.", false, NULL}},
    .array_count = 2,
    .update = adamw_step_update,
    .keys = {{"optimizer.beta1", NULL},
             {"optimizer.beta2", "0.95"},
             {"optimizer.weight_decay", "0.1"},
             {"optimizer.epsilon", NULL},
             {"schedule.peak", "1.0e-3"},
             SWAG_KEYS},
};
