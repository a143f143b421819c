/** A trainer of a benchmark's size. */
#ifndef VARIO_BENCH_BENCH_RUN_H
#define VARIO_BENCH_BENCH_RUN_H

#include "bench/steps.h"

typedef struct {
    job job;
    dataset *data;
    trainer trainer;
    uint64_t t;
} bench_run;

/** Open; collective over c. */
status bench_open(bench_run *b, comm *c, const bench_size *size, optimizer_kind kind);
void bench_close(bench_run *b);

/** Run the next step; collective. @param seconds  out: how long it took */
status bench_step(bench_run *b, double *seconds);

#endif
