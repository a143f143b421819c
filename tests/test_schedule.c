/* Learning rates and effective sample sizes at the points that fix each schedule. */
#include "optimizer/table.h"

#include <criterion/criterion.h>
#include <math.h>

static void expect_near(double found, double expected)
{
    cr_expect_lt(fabs(found - expected), 1e-12 * fmax(1.0, fabs(expected)), "%.15g, %.15g expected",
                 found, expected);
}

Test(schedule, key_points)
{
    schedule s = {.kind = SCHEDULE_COSINE, .peak = 300.0, .final = 0.0, .warmup = 2000};
    expect_near(schedule_at(&s, 0, 100000), 0.15);
    expect_near(schedule_at(&s, 1999, 100000), 300.0);
    expect_near(schedule_at(&s, 51000, 100000), 150.0);
    s.kind = SCHEDULE_LINEAR;
    s.final = 100.0;
    expect_near(schedule_at(&s, 51000, 100000), 200.0);
    s.kind = SCHEDULE_CONSTANT;
    expect_near(schedule_at(&s, 99999, 100000), 300.0);
    s.kind = SCHEDULE_INVERSE_SQRT;
    expect_near(schedule_at(&s, 7999, 100000), 150.0);
    s = (schedule){.kind = SCHEDULE_WSD, .peak = 1.0, .final = 0.0, .warmup = 10, .decay = 20};
    expect_near(schedule_at(&s, 4, 100), 0.5);
    expect_near(schedule_at(&s, 79, 100), 1.0);
    expect_near(schedule_at(&s, 90, 100), 0.5);
    s = (schedule){.kind = SCHEDULE_STEPS,
                   .peak = 1.0,
                   .factor = 0.1,
                   .milestone_count = 2,
                   .milestones = {10, 20}};
    expect_near(schedule_at(&s, 9, 100), 1.0);
    expect_near(schedule_at(&s, 10, 100), 0.1);
    expect_near(schedule_at(&s, 25, 100), 0.01);
}

/* Every kind begins at the peak after the warm-up that they share, and ends where it says. */
Test(schedule, ends_of_every_kind)
{
    static const double begin[] = {1.0, 1.0, 1.0, 1.0, 0.953462589245592, 1.0};
    static const double last[] = {1.0, 0.11, 0.100274127841407, 0.118, 0.316227766016838, 0.25};
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_STEPS; kind++) {
        schedule s = {.kind = (schedule_kind)kind,
                      .peak = 1.0,
                      .final = 0.1,
                      .warmup = 10,
                      .decay = 50,
                      .factor = 0.5,
                      .milestone_count = 2,
                      .milestones = {50, 80}};
        for (uint64_t t = 0; t < 10; t++)
            expect_near(schedule_at(&s, t, 100), (double)(t + 1) / 10.0);
        expect_near(schedule_at(&s, 10, 100), begin[kind]);
        expect_near(schedule_at(&s, 99, 100), last[kind]);
        s.warmup = 0;
        expect_near(schedule_at(&s, 0, 100), 1.0);
    }
}

Test(schedule, ess_goes_from_its_first_value_to_its_last)
{
    optimizer_settings s = {.ess = 1e6, .ess_final = 2e5, .ess_course = ESS_COSINE};
    expect_near(optimizer_ess(&s, 0, 100), 1e6);
    expect_near(optimizer_ess(&s, 50, 100), 6e5);
    expect_near(optimizer_ess(&s, 25, 100), 2e5 + 8e5 * 0.5 * (1.0 + sqrt(0.5)));
    cr_expect_eq(optimizer_ess(&s, 100, 100), 2e5);
    cr_expect_eq(optimizer_ess(&s, 101, 100), 2e5);
    s.ess_course = ESS_LINEAR;
    expect_near(optimizer_ess(&s, 25, 100), 8e5);
    cr_expect_eq(optimizer_ess(&s, 100, 100), 2e5);
    s.ess_final = 0.0;
    cr_expect_eq(optimizer_ess(&s, 25, 100), 1e6);
}
