/** What `vario plan --cluster` predicts from, measured on the nodes of this launch. */
#ifndef VARIO_BENCH_CLUSTER_H
#define VARIO_BENCH_CLUSTER_H

#include "bench/report.h"
#include "io/jobs/cluster.h"
#include "runtime/comm.h"

/** Measure messages, and passes, draws and updates of small GPT-2s of two widths, which all ranks
 * run at the same time, each its own; a few minutes. Every rank of `world` calls it.
 * @param alone  of this rank
 * @param has_bf16  measure in bf16 too, and fp32 then of the narrow one alone */
status bench_cluster(report *r, comm *world, comm *alone, bool has_bf16, cluster *out);

#endif
