/* Two readings of a clock at most where a unit begins and ends: some dozen nanoseconds each. */
#include "runtime/timing.h"

#include <assert.h>
#include <string.h>
#include <time.h>

double timing_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void timing_start(timing *t, time_kind kind)
{
    assert(!t->running);
    t->running = true;
    t->now = kind;
    t->since = timing_clock();
}

time_kind timing_switch(timing *t, time_kind kind)
{
    time_kind before = t->now;
    if (!t->running || kind == before) return before;
    double clock = timing_clock();
    t->seconds[before] += clock - t->since;
    t->since = clock;
    t->now = kind;
    return before;
}

void timing_stop(timing *t)
{
    t->seconds[t->now] += timing_clock() - t->since;
    t->running = false;
}

void timing_take(timing *t, double seconds[TIME_KINDS])
{
    memcpy(seconds, t->seconds, sizeof t->seconds);
    memset(t->seconds, 0, sizeof t->seconds);
}
