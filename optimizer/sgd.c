/* SGD with momentum. */
#include "optimizer/table.h"

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

static void sgd_step_update(const optimizer_update *u)
{
    const optimizer_settings *s = u->settings;
    sgd_step step = {.momentum = s->momentum, .decay = u->decay, .lr = u->lr};
    sgd_update(u->mean, u->arrays[0], u->sums->g, u->g_scale, &step, u->count);
}

OPTIMIZER_ROW(sgd) = {
    .name = "sgd",
    .title = "SGD",
    .arrays = {{"momentum.", false, NULL}},
    .array_count = 1,
    .update = sgd_step_update,
    .keys = {{"optimizer.weight_decay", "0"},
             {"optimizer.momentum", NULL},
             {"schedule.peak", "0.1"},
             SWAG_KEYS},
};
