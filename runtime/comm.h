/** The ranks of a run, and every byte they send. */
#ifndef VARIO_RUNTIME_COMM_H
#define VARIO_RUNTIME_COMM_H

#include "base/status.h"
#include "runtime/mpi_calls.h"
#include "runtime/nodes.h"
#include "runtime/timing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What bytes are sent for. */
typedef enum {
    BYTES_WEIGHTS,    /**< sampled weights from owners to the ranks that compute (parameters) */
    BYTES_GRADIENTS,  /**< gradient pieces, or sums of them (none, optimizer), to the owners */
    BYTES_PARAMETERS, /**< means and deviations (or sums: none) from their owners to all */
    BYTES_NORMS,      /**< block sums of the gradient's norm */
    BYTES_CONTROL,    /**< losses, clipping factors, flags */
    BYTES_KINDS
} bytes_kind;

extern const char *const bytes_names[BYTES_KINDS];

/** Message tags of point-to-point traffic on `world`. */
enum {
    TAG_WEIGHTS = 1,
    TAG_GRADIENTS = 2,
    TAG_FACTORS = 3,
    TAG_PREDICTIONS = 4,
    TAG_PARAMETERS = 5
};

typedef struct {
    MPI_Comm world;      /**< training */
    MPI_Comm checkpoint; /**< the checkpoint writer's own */
    int rank, size;
    size_t count_max; /**< that MPI, which counts in int, is handed at once; tests make it small */
    uint64_t sent[BYTES_KINDS]; /**< by this rank, to other ranks */
    timing timing;              /**< of this rank's training steps */
    node_map nodes;             /**< of a launch; of other communicators nobody shares memory */
} comm;

/** Whether mpirun or srun started this process; before MPI is, too. */
bool comm_is_launched(void);

/** Start MPI (threads may call it) and duplicate the world. Collective over the launch.
 * @return STATUS_OK; STATUS_PEER without MPI_THREAD_MULTIPLE */
status comm_open(comm *c);

/** Free the communicators and finalize MPI; collective. */
void comm_close(comm *c);

/** The ranks of a program's own communicator, which is duplicated; MPI runs, in any of its thread
 * modes, and whoever calls may use it. There is no checkpoint writer in the background. Collective.
 * @param call  names whom a message is of
 * @return STATUS_OK; STATUS_INPUT when this rank's handle is none of an intra-communicator, and
 *         STATUS_PEER when it could not be duplicated: c is then closed */
status comm_join(comm *c, MPI_Comm over, const char *call);

/** Free what comm_join duplicated; collective. */
void comm_leave(comm *c);

/** This rank by itself, as a launch of one rank would have it; comm_open's comes first and closes
 * it. */
comm comm_alone(void);

/** Wait asleep until all ranks are here: a barrier would spin on the processors. Collective. */
void comm_barrier(comm *c);

/** Sum doubles over the ranks in rank order, the same bits on every rank; collective.
 * @param values [count] in and out */
void comm_sum_ordered(comm *c, double *values, size_t count);

/** Send any number of bytes to a rank; the request completes it. Counted under kind. */
void comm_send(comm *c, const void *data, size_t bytes, int to, int tag, bytes_kind kind,
               MPI_Request *request);
void comm_receive(comm *c, void *data, size_t bytes, int from, int tag, MPI_Request *request);

/** Wait for requests; TIME_WAIT, as all calls here that wait for other ranks. */
void comm_wait(comm *c, MPI_Request *requests, size_t count);

/** Send any number of bytes from one rank to all, or from all to rank 0, where rank r's are at
 * data + r * bytes and its own in place; collective, not counted. */
void comm_broadcast(comm *c, void *data, size_t bytes, int from);
void comm_collect(comm *c, void *data, size_t bytes);

/** Gather pieces of an array in place: rank r's piece is [first[r], first[r + 1]) elements of
 * element_bytes; collective. Counted as each rank sending its piece to the P - 1 others. */
void comm_all_gather(comm *c, void *data, const size_t *first, size_t element_bytes,
                     bytes_kind kind);

#endif
