/** One failure, known to all ranks. */
#ifndef VARIO_RUNTIME_AGREE_H
#define VARIO_RUNTIME_AGREE_H

#include "base/status.h"
#include "runtime/mpi_calls.h"

/** Make every rank's status that of the lowest rank that failed, with its message. Collective.
 *
 * @param here  this rank's status (local)
 * @return the same on all ranks; STATUS_OK only if all were; the message pending on every rank is
 *         the failing rank's
 */
status agree(MPI_Comm comm, status here);

#endif
