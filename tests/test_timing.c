/* The stopwatch: what is counted adds up to the time that passed, and nothing while it is stopped.
 */
#include "runtime/timing.h"

#include <criterion/criterion.h>

static void pass(double seconds)
{
    double until = timing_clock() + seconds;
    while (timing_clock() < until) continue;
}

Test(timing, adds_up)
{
    timing t = {0};
    double begun = timing_clock(), seconds[TIME_KINDS], sum = 0.0;
    timing_start(&t, TIME_FORWARD);
    double started = timing_clock();
    pass(0.002);
    time_kind before = timing_switch(&t, TIME_WAIT);
    cr_expect_eq(before, TIME_FORWARD);
    pass(0.001);
    cr_expect_eq(timing_switch(&t, before), TIME_WAIT);
    double stopping = timing_clock();
    timing_stop(&t);
    double stopped = timing_clock();
    timing_take(&t, seconds);
    for (int k = 0; k < TIME_KINDS; k++) sum += seconds[k];
    cr_expect_geq(seconds[TIME_FORWARD], 0.002);
    cr_expect_geq(seconds[TIME_WAIT], 0.001);
    cr_expect_eq(seconds[TIME_UPDATE], 0.0);
    /* Sums of a few differences: rounding of a clock that counts from the machine's start. */
    cr_expect_geq(sum, stopping - started - 1e-6);
    cr_expect_leq(sum, stopped - begun + 1e-6);
    cr_expect_eq(t.seconds[TIME_FORWARD], 0.0);
}

Test(timing, counts_nothing_while_stopped)
{
    timing t = {0};
    time_kind before = timing_switch(&t, TIME_WAIT);
    pass(0.001);
    timing_switch(&t, before);
    for (int k = 0; k < TIME_KINDS; k++) cr_expect_eq(t.seconds[k], 0.0);
}
