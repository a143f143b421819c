/** Kernels and optimizer updates on buffers of GPT-2 124M's sizes. */
#ifndef VARIO_BENCH_LOOPS_H
#define VARIO_BENCH_LOOPS_H

#include "bench/machine.h"
#include "bench/report.h"

/** Noise, sampling, sums and updates beside the memory's speed and the noise's.
 * @return STATUS_OK or STATUS_NOMEM */
status bench_optimizer(report *r, const machine_memory *memory);

/** Products in all three orientations, attention and what is done element by element. */
status bench_kernels(report *r, const machine_memory *memory, dtype type);

#endif
