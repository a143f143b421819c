/** Text generation with a key-value cache. */
#ifndef VARIO_BENCH_DECODE_H
#define VARIO_BENCH_DECODE_H

#include "bench/report.h"
#include "model/gpt2.h"

/** Tokens/s of one sequence after half a window, beside the time that reading the weights and the
 * cache takes (measured between tokens). @return STATUS_OK or STATUS_NOMEM */
status bench_decode(report *r, const gpt2_config *config, dtype type);

#endif
