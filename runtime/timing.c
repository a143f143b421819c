/* Two readings of a clock at most where a unit begins and ends: some dozen nanoseconds each. */
#include "runtime/timing.h"

#include "base/activity.h"

#include <assert.h>
#include <string.h>
#include <time.h>

double timing_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const char *const phases[TIME_KINDS] = {
    [TIME_SAMPLE] = "drawing weights", [TIME_FORWARD] = "forward pass",
    [TIME_BACKWARD] = "backward pass", [TIME_UPDATE] = "update",
    [TIME_DATA] = "reading data",      [TIME_CHECKPOINT] = "checkpoint",
};

/* A wait is marked where it is, and says for whom. */
static void note_phase(time_kind kind)
{
    if (phases[kind]) activity_phase(phases[kind]);
}

void timing_start(timing *t, time_kind kind)
{
    assert(!t->running);
    note_phase(kind);
    t->running = true;
    t->now = kind;
    t->since = timing_clock();
}

time_kind timing_switch(timing *t, time_kind kind)
{
    time_kind before = t->now;
    note_phase(kind);
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
