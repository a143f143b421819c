/* AdamW (Loshchilov and Hutter, ICLR 2019) and SGD with momentum. */
#include "optimizer/optimizer.h"

#include <math.h>

enum { RUN = 4096 };

typedef struct {
    float g_scale, keep1, keep2, correct1, correct2, epsilon, shrink, lr;
} constants;

static void adamw_run(float *restrict m, float *restrict first, float *restrict second,
                      const float *restrict g_sum, const constants *c, size_t n)
{
    const constants k = *c;
    for (size_t i = 0; i < n; i++) {
        float g = k.g_scale * g_sum[i];
        float a = first[i] + k.keep1 * (g - first[i]);
        float v = second[i] + k.keep2 * (g * g - second[i]);
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
                   .keep1 = (float)(1.0 - step->beta1),
                   .keep2 = (float)(1.0 - step->beta2),
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

void sgd_update(float *m, float *velocity, const float *g_sum, double g_scale, const sgd_step *step,
                size_t count)
{
    float scale = (float)g_scale, mu = (float)step->momentum, decay = (float)step->decay;
    float lr = (float)step->lr;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++) {
        velocity[i] = mu * velocity[i] + (scale * g_sum[i] + decay * m[i]);
        m[i] -= lr * velocity[i];
    }
}
