/** Memory of a node, before it is taken: what the node has free, what the control groups of this
 * process (its own and all above it, of version 1 and 2; SLURM's --mem is one) and its limits of
 * address space leave. The kernel finds it out later, and ends the job without a word. */
#ifndef VARIO_RUNTIME_FREE_MEMORY_H
#define VARIO_RUNTIME_FREE_MEMORY_H

#include "base/status.h"
#include "runtime/mpi_calls.h"

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FREE_MEMORY_LIMITS = 16, FREE_MEMORY_NAME = 160 };

/** Something that ends memory. */
typedef struct {
    double allows, free; /**< bytes; what it leaves is free */
    uint64_t
        shared; /**< ranks of a node share a limit of the same number; FREE_MEMORY_OWN: none do */
    char name[FREE_MEMORY_NAME]; /**< "control group /slurm/job_7" */
} free_memory_limit;

#define FREE_MEMORY_NODE UINT64_C(0)
#define FREE_MEMORY_OWN UINT64_MAX

/** Where the system tells of memory, "/proc"; tests look elsewhere. */
extern const char *free_memory_proc;

/** The limits of this process, the node's first; what does not say how much there is, is none. The
 * nearest of nested control groups where there are too many. Not collective. @return how many */
size_t free_memory_limits(free_memory_limit limits[FREE_MEMORY_LIMITS]);

/** Refuse what the ranks of a node would not get together, beside the arenas that they have opened
 * and not touched yet (memory_untouched). Collective.
 *
 * @param bytes   that this rank is going to take (local)
 * @param format  printf format of what they are for, with the arithmetic; then the message says
 *                what the ranks need, what is free, and of which limit
 * @return STATUS_OK or STATUS_NOMEM, the same on all ranks */
status free_memory_check(MPI_Comm world, double bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** The same of equal ranks that share a node like this one, without MPI.
 * @param text  [size] out: a sentence where there is not enough
 * @return whether there is enough */
bool free_memory_has(double bytes, size_t ranks, char *text, size_t size);

#endif
