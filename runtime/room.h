/** Memory of a node, before it is taken. */
#ifndef VARIO_RUNTIME_ROOM_H
#define VARIO_RUNTIME_ROOM_H

#include "base/status.h"

#include <mpi.h>

/** Refuse what the ranks of a node would not get together: the kernel finds it out later, and ends
 * the job without a word. Collective.
 *
 * @param bytes   that this rank is going to take (local)
 * @param format  printf format of what they are for, with the arithmetic; then the message says
 *                what the node's ranks need and what is free
 * @return STATUS_OK or STATUS_NOMEM, the same on all ranks */
status room_check(MPI_Comm world, double bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
