/* Learning rates by step. */
#include "optimizer/optimizer.h"

#include <math.h>

static double fraction_done(const schedule *s, uint64_t t, uint64_t steps)
{
    return steps > s->warmup ? (double)(t - s->warmup) / (double)(steps - s->warmup) : 1.0;
}

static double stable_decay(const schedule *s, uint64_t t, uint64_t steps)
{
    uint64_t begin = steps > s->decay ? steps - s->decay : 0;
    if (t < begin || s->decay == 0) return s->peak;
    return s->peak + (s->final - s->peak) * (double)(t - begin) / (double)s->decay;
}

static double step_list(const schedule *s, uint64_t t)
{
    double lr = s->peak;
    for (size_t i = 0; i < s->milestone_count; i++)
        if (t >= s->milestones[i]) lr *= s->factor;
    return lr;
}

double schedule_at(const schedule *s, uint64_t t, uint64_t steps)
{
    if (t < s->warmup) return s->peak * (double)(t + 1) / (double)s->warmup;
    double warmup = (double)(s->warmup > 0 ? s->warmup : 1), now = (double)(t + 1);
    switch (s->kind) {
    case SCHEDULE_LINEAR: return s->peak + (s->final - s->peak) * fraction_done(s, t, steps);
    case SCHEDULE_COSINE:
        return s->final + (s->peak - s->final) * 0.5 *
                              (1.0 + cos(3.14159265358979323846 * fraction_done(s, t, steps)));
    case SCHEDULE_WSD: return stable_decay(s, t, steps);
    case SCHEDULE_INVERSE_SQRT: return s->peak * sqrt(warmup / (now > warmup ? now : warmup));
    case SCHEDULE_STEPS: return step_list(s, t);
    case SCHEDULE_CONSTANT: break;
    }
    return s->peak;
}
