/** Which ranks share a node, and memory that they share.
 *
 * What every rank of a node would keep alike lies there once: in pages of the first rank's
 * (memfd_create) that the others map through /proc. Where that is not to be had, each rank keeps
 * its own.
 */
#ifndef VARIO_RUNTIME_NODES_H
#define VARIO_RUNTIME_NODES_H

#include "base/status.h"

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    MPI_Comm comm;    /**< of this rank's node */
    int count;        /**< nodes whose ranks share memory; 0: nobody shares */
    int here;         /**< this rank's node */
    int place;        /**< of this rank in it */
    int *of, *places; /**< [P] of each rank, as the two above */
    int *first;       /**< [count + 1] of each node in the next */
    int *ranks;       /**< [P] node after node */
} node_map;

/** Find out who is where; collective over world. The environment's VARIO_NODE_RANKS pretends nodes
 * of so many ranks at most; with 1 nobody shares.
 * @return STATUS_OK; STATUS_INPUT where that is no such number; STATUS_NOMEM; the same on all
 * ranks. n is then empty */
status nodes_open(node_map *n, MPI_Comm world);
void nodes_close(node_map *n);

/** The rank of a node that takes what a rank of another sends there. */
int nodes_receiver(const node_map *n, int sender, int node);

/** Bytes of zeros that the ranks of a node share. */
typedef struct {
    void *base;   /**< with a page before the bytes */
    size_t bytes; /**< of the bytes */
} node_memory;

/** Map them; collective over the node.
 * @return STATUS_OK or STATUS_NOMEM, the same on all ranks of the node; m is then empty */
status node_memory_open(node_memory *m, const node_map *n, size_t bytes);
void node_memory_close(node_memory *m);

/** The bytes themselves, aligned to a page. */
void *node_memory_at(const node_memory *m);

/** Wait for the other ranks of the node: what they wrote there is read from here on. */
void nodes_meet(const node_map *n);

#endif
