/** Which processors the ranks of a node may run on, and how many threads each of them gets. */
#ifndef VARIO_RUNTIME_PLACEMENT_H
#define VARIO_RUNTIME_PLACEMENT_H

#include "runtime/comm.h"

typedef struct {
    int threads; /**< of this rank */
    int share;   /**< processors that this rank may run on, those that other ranks of its node may
                      run on too divided among them; at least 1 */
    int node_ranks, node_threads, node_processors; /**< of this rank's node */
    int nodes;                                     /**< of the launch; the same on all */
    bool oversubscribed; /**< a rank has more threads than its share; the same on all ranks */
    char warning[300];   /**< a sentence where threads share processors, else ""; the same on all */
} placement;

/** Choose this rank's threads: `wanted`, or when 0 OMP_NUM_THREADS, or the share. Collective.
 *
 * The processors are those of the affinity mask that SLURM, mpirun or taskset gave. Ranks share
 * processors where their masks overlap and the node's ranks have more threads than processors. */
placement placement_choose(const comm *c, uint64_t wanted);

#endif
