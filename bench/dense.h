/** Dense matrices on all ranks. */
#ifndef VARIO_BENCH_DENSE_H
#define VARIO_BENCH_DENSE_H

#include "bench/report.h"
#include "runtime/comm.h"

/** Cholesky's factor of order 8000 (n^3/3 operations) and the sum of products of vectors (n^2 k),
 * vectors sent to where they belong included, beside the double-precision product rate of the same
 * ranks; every rank of `world` calls it.
 * @param threads  of a rank */
status bench_dense(report *r, comm *world, int threads);

#endif
