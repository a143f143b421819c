/** What the processor and its memory can do at most, with the present number of threads. Medians of
 * repeated runs. */
#ifndef VARIO_BENCH_MACHINE_H
#define VARIO_BENCH_MACHINE_H

#include "base/parameters.h"

/** GFLOP/s of multiply-adds whose operands stay in registers and the first cache. */
double machine_multiply_add(dtype type);

/** GB/s of memory: a = b + s c (triad), a = b (copy), a = s a + b (update); 4 bytes for each
 * element of an array that is read or written. All 0 without memory. */
typedef struct {
    double triad, copy, update;
} machine_memory;

machine_memory machine_memory_rates(void);

#endif
