/** mpi.h, with every call that waits for other ranks marked for who watches (base/activity.h). Who
 * calls MPI includes this, so that no wait is forgotten. */
#ifndef VARIO_RUNTIME_MPI_CALLS_H
#define VARIO_RUNTIME_MPI_CALLS_H

#include "base/activity.h"

#include <mpi.h>

/* A macro's own name in its text is the function. */
#define MPI_WAITING(name, call) (activity_wait("all ranks in " name, -1), activity_done(call))
#define MPI_Barrier(...) MPI_WAITING("MPI_Barrier", MPI_Barrier(__VA_ARGS__))
#define MPI_Bcast(...) MPI_WAITING("MPI_Bcast", MPI_Bcast(__VA_ARGS__))
#define MPI_Gather(...) MPI_WAITING("MPI_Gather", MPI_Gather(__VA_ARGS__))
#define MPI_Gatherv(...) MPI_WAITING("MPI_Gatherv", MPI_Gatherv(__VA_ARGS__))
#define MPI_Allgather(...) MPI_WAITING("MPI_Allgather", MPI_Allgather(__VA_ARGS__))
#define MPI_Allgatherv(...) MPI_WAITING("MPI_Allgatherv", MPI_Allgatherv(__VA_ARGS__))
#define MPI_Allreduce(...) MPI_WAITING("MPI_Allreduce", MPI_Allreduce(__VA_ARGS__))
#define MPI_Comm_dup(...) MPI_WAITING("MPI_Comm_dup", MPI_Comm_dup(__VA_ARGS__))
#define MPI_Comm_split(...) MPI_WAITING("MPI_Comm_split", MPI_Comm_split(__VA_ARGS__))
#define MPI_Comm_split_type(...)                                                                   \
    MPI_WAITING("MPI_Comm_split_type", MPI_Comm_split_type(__VA_ARGS__))
#define MPI_Comm_free(...) MPI_WAITING("MPI_Comm_free", MPI_Comm_free(__VA_ARGS__))
#define MPI_Finalize(...) MPI_WAITING("MPI_Finalize", MPI_Finalize(__VA_ARGS__))
#define MPI_Send(data, count, type, to, ...)                                                       \
    (activity_wait("a message to be taken by rank", to),                                           \
     activity_done(MPI_Send(data, count, type, to, __VA_ARGS__)))
#define MPI_Recv(data, count, type, from, ...)                                                     \
    (activity_wait("a message of rank", from),                                                     \
     activity_done(MPI_Recv(data, count, type, from, __VA_ARGS__)))
#define MPI_Sendrecv(data, count, type, to, ...)                                                   \
    (activity_wait("an exchange with rank", to),                                                   \
     activity_done(MPI_Sendrecv(data, count, type, to, __VA_ARGS__)))

#endif
