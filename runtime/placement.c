/* Counting, for every processor of a node, the ranks that may run on it. */
#define _GNU_SOURCE
#include "runtime/placement.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The mask of the process. Where threads are bound to places (OMP_PROC_BIND) the first thread's
 * mask is only its own place, and the places together are the process's. */
static cpu_set_t own_mask(void)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    sched_getaffinity(0, sizeof mask, &mask);
    for (int p = 0; p < omp_get_num_places(); p++) {
        int count = omp_get_place_num_procs(p), processors[CPU_SETSIZE];
        if (count > CPU_SETSIZE) continue;
        omp_get_place_proc_ids(p, processors);
        for (int i = 0; i < count; i++) CPU_SET((size_t)processors[i], &mask);
    }
    return mask;
}

/* Ranks a processor of the node, [CPU_SETSIZE]. */
static void count_ranks(int *counts, const cpu_set_t *mask, MPI_Comm node)
{
    for (size_t i = 0; i < CPU_SETSIZE; i++) counts[i] = CPU_ISSET(i, mask) ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, counts, CPU_SETSIZE, MPI_INT, MPI_SUM, node);
}

static int share_of(const cpu_set_t *mask, const int *counts)
{
    double share = 1e-9; /* thirds do not add up to one */
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, mask)) share += 1.0 / (double)counts[i];
    return share < 1.0 ? 1 : (int)share;
}

static int choose_threads(uint64_t wanted, int share)
{
    const char *given = getenv("OMP_NUM_THREADS");
    int own = given ? atoi(given) : 0;
    if (wanted > 0) return (int)wanted;
    return own > 0 ? own : share;
}

static const char *plural(int count)
{
    return count == 1 ? "" : "s";
}

static void placement_describe(placement *p, bool overlap)
{
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int length;
    MPI_Get_processor_name(host, &length);
    if (p->threads > p->share) {
        p->oversubscribed = true;
        snprintf(p->warning, sizeof p->warning,
                 "%d threads a rank, and %d processor%s for it: threads that share a processor are "
                 "many times slower",
                 p->threads, p->share, plural(p->share));
    } else if (overlap && p->node_threads > p->node_processors) {
        snprintf(p->warning, sizeof p->warning,
                 "%.64s: %d ranks with %d threads in all share %d processor%s: as many threads as "
                 "processors are faster",
                 host, p->node_ranks, p->node_threads, p->node_processors,
                 plural(p->node_processors));
    }
}

/* The lowest rank with a warning speaks for all. */
static void agree_on_warning(const comm *c, placement *p)
{
    int first = *p->warning ? c->rank : c->size;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, c->world);
    int oversubscribed = p->oversubscribed;
    MPI_Allreduce(MPI_IN_PLACE, &oversubscribed, 1, MPI_INT, MPI_MAX, c->world);
    p->oversubscribed = oversubscribed;
    if (first < c->size) MPI_Bcast(p->warning, (int)sizeof p->warning, MPI_CHAR, first, c->world);
}

placement placement_choose(const comm *c, uint64_t wanted)
{
    placement p = {0};
    MPI_Comm node;
    MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    cpu_set_t mask = own_mask();
    int counts[CPU_SETSIZE], allowed = 0;
    count_ranks(counts, &mask, node);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        allowed += counts[i];
        p.node_processors += counts[i] > 0;
    }
    p.share = share_of(&mask, counts);
    p.threads = choose_threads(wanted, p.share);
    MPI_Comm_size(node, &p.node_ranks);
    MPI_Allreduce(&p.threads, &p.node_threads, 1, MPI_INT, MPI_SUM, node);
    int node_rank;
    MPI_Comm_rank(node, &node_rank);
    p.nodes = node_rank == 0;
    MPI_Allreduce(MPI_IN_PLACE, &p.nodes, 1, MPI_INT, MPI_SUM, c->world);
    MPI_Comm_free(&node);
    placement_describe(&p, allowed > p.node_processors);
    agree_on_warning(c, &p);
    return p;
}
