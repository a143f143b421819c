/* Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023): the sign of an
 * interpolation of momentum and gradient, and decoupled decay. */
#include "optimizer/table.h"

/* c = beta1 v + (1 - beta1) g;  m -= lr (sign(c) + decay m);  v <- beta2 v + (1 - beta2) g */
static void lion_step_update(const optimizer_update *u)
{
    const optimizer_settings *s = u->settings;
    const float scale = (float)u->g_scale, lr = (float)u->lr, shrink = (float)(u->lr * u->decay);
    const float one_less_beta1 = (float)(1.0 - s->beta1), one_less_beta2 = (float)(1.0 - s->beta2);
    float *restrict m = u->mean, *restrict momentum = u->arrays[0];
    const float *restrict g_sum = u->sums->g;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < u->count; i++) {
        float old = momentum[i], difference = scale * g_sum[i] - old;
        float c = old + one_less_beta1 * difference;
        float sign = c > 0.0F ? 1.0F : c < 0.0F ? -1.0F : 0.0F;
        momentum[i] = old + one_less_beta2 * difference;
        m[i] = m[i] - (shrink * m[i] + lr * sign);
    }
}

OPTIMIZER_ROW(lion) = {
    .name = "lion",
    .title = "Lion",
    .arrays = {{"exp_avg.", false, NULL}},
    .array_count = 1,
    .update = lion_step_update,
    .keys = {{"optimizer.beta1", NULL},
             {"optimizer.beta2", "0.99"},
             {"optimizer.weight_decay", "1"},
             {"schedule.peak", "1.0e-4"},
             SWAG_KEYS},
};
