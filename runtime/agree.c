/* The lowest rank that failed speaks for all. */
#include "runtime/agree.h"

#include <string.h>

status agree(MPI_Comm comm, status here)
{
    int rank, size, failed, lowest;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    failed = here ? rank : size;
    MPI_Allreduce(&failed, &lowest, 1, MPI_INT, MPI_MIN, comm);
    if (lowest == size) return STATUS_OK;
    struct {
        int code;
        char message[STATUS_MESSAGE_SIZE];
    } cause = {.code = (int)here};
    strncpy(cause.message, status_message(), sizeof cause.message - 1);
    MPI_Bcast(&cause, (int)sizeof cause, MPI_BYTE, lowest, comm);
    status_clear();
    return fail((status)cause.code, "%s", cause.message);
}
