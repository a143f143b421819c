/* Learning rates and effective sample sizes by step. */
#include "optimizer/table.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

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
        return s->final + (s->peak - s->final) * 0.5 * (1.0 + cos(PI * fraction_done(s, t, steps)));
    case SCHEDULE_WSD: return stable_decay(s, t, steps);
    case SCHEDULE_INVERSE_SQRT: return s->peak * sqrt(warmup / (now > warmup ? now : warmup));
    case SCHEDULE_STEPS: return step_list(s, t);
    case SCHEDULE_CONSTANT: break;
    }
    return s->peak;
}

double optimizer_ess(const optimizer_settings *s, uint64_t done, uint64_t steps)
{
    if (!(s->ess_final > 0.0)) return s->ess;
    double fraction = done < steps ? (double)done / (double)steps : 1.0;
    double left = s->ess_course == ESS_COSINE ? 0.5 * (1.0 + cos(PI * fraction)) : 1.0 - fraction;
    return s->ess_final + (s->ess - s->ess_final) * left;
}
