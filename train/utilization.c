/* Rank 0 alone looks into the cache and writes to it, for every node of the launch. */
#include "train/utilization.h"

#include "io/runs/ceilings.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOWS = 4, ROWS_MIN = 256, ROWS_A_THREAD = 64, ROWS_MAX = 4096 };

static const double window_seconds = 0.04;

/* The node's key on its first rank, an empty one on the others. */
static host_ceiling utilization_describe(MPI_Comm node, dtype precision, const placement *p)
{
    host_ceiling mine = {0};
    char processor[100];
    int rank;
    MPI_Comm_rank(node, &rank);
    if (rank != 0) return mine;
    ceilings_processor(processor, sizeof processor);
    snprintf(mine.key, sizeof mine.key, "%s, processors %d, ranks %d, threads %d, %s, %s, %s",
             processor, p->node_processors, p->node_ranks, p->node_threads,
             kernels_instruction_set(), kernels_library_version(),
             precision == DTYPE_BF16 ? "bf16" : "fp32");
    return mine;
}

/* GFLOP/s of a node's ranks, all at work at the same time; 0 when one of them cannot. */
static double measure(MPI_Comm node, dtype precision, int threads)
{
    size_t rows = (size_t)threads * ROWS_A_THREAD;
    if (rows < ROWS_MIN) rows = ROWS_MIN;
    if (rows > ROWS_MAX) rows = ROWS_MAX;
    products *all = ceiling_open(precision, rows);
    int ready = all != NULL;
    MPI_Allreduce(MPI_IN_PLACE, &ready, 1, MPI_INT, MPI_MIN, node);
    double best = 0.0;
    for (int i = 0; ready && i < WINDOWS; i++) {
        MPI_Barrier(node);
        double sum = ceiling_run(all, window_seconds);
        MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, node);
        if (sum > best) best = sum;
    }
    ceiling_close(&all);
    return best;
}

/* Move the nodes' ceilings to the front. */
static size_t nodes_of(host_ceiling *all, size_t ranks)
{
    size_t nodes = 0;
    for (size_t r = 0; r < ranks; r++)
        if (*all[r].key) all[nodes++] = all[r];
    return nodes;
}

/* Sum over the nodes, of what they measured or of what is remembered; 0 when one is not known. */
static double sum_nodes(const comm *c, const host_ceiling *mine, bool measured)
{
    double total = 0.0;
    size_t ranks = c->rank == 0 ? (size_t)c->size : 1;
    host_ceiling *all = malloc(ranks * sizeof *all);
    if (!all) MPI_Abort(c->world, status_exit_code(STATUS_NOMEM));
    MPI_Gather(mine, (int)sizeof *mine, MPI_BYTE, all, (int)sizeof *mine, MPI_BYTE, 0, c->world);
    if (c->rank == 0) {
        size_t nodes = nodes_of(all, ranks);
        if (!measured) ceilings_recall(all, nodes);
        bool known = true;
        for (size_t n = 0; n < nodes; n++) {
            total += all[n].gflops;
            known = known && all[n].gflops > 0.0;
        }
        if (!known) total = 0.0;
        if (known && measured) ceilings_remember(all, nodes);
    }
    free(all);
    MPI_Bcast(&total, 1, MPI_DOUBLE, 0, c->world);
    return total;
}

double utilization_ceiling(const comm *c, dtype precision, const placement *p)
{
    MPI_Comm node;
    MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    host_ceiling mine = utilization_describe(node, precision, p);
    double total = sum_nodes(c, &mine, false);
    if (!(total > 0.0)) {
        mine.gflops = measure(node, precision, p->threads);
        total = sum_nodes(c, &mine, true);
    }
    MPI_Comm_free(&node);
    return total;
}

double utilization_of(const job *j, double rows_per_second, double ceiling)
{
    model_config config = job_model(j);
    if (!(ceiling > 0.0)) return NAN;
    double flops = model_flops_per_row(&config, j->batch.length) * (double)j->optimizer.mc_samples;
    return 1e-9 * flops * rows_per_second / ceiling;
}
