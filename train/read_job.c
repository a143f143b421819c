/* Rank 0 reads, all get the struct, which is plain data. */
#include "train/read_job.h"

#include "io/runs/job_of_run.h"
#include "runtime/agree.h"
#include "runtime/watch.h"

#include <string.h>

status job_read_shared(comm *c, job *j, const char *path, const char *const *overrides,
                       size_t count)
{
    memset(j, 0, sizeof *j);
    status result = c->rank == 0 ? job_read(j, path, overrides, count) : STATUS_OK;
    result = agree(c->world, result);
    if (result) return result;
    MPI_Bcast(j, (int)sizeof *j, MPI_BYTE, 0, c->world);
    watch_set(j->guard.stall_seconds, j->guard.on_stall == ON_STALL_STOP);
    return STATUS_OK;
}

status job_read_of_run(comm *c, job *j, const char *path)
{
    char said[STATUS_MESSAGE_SIZE] = "";
    memset(j, 0, sizeof *j);
    status result = agree(c->world, c->rank == 0 ? job_of_run(j, path, said) : STATUS_OK);
    if (result) return result;
    if (*said) status_warn("%s", said);
    MPI_Bcast(j, (int)sizeof *j, MPI_BYTE, 0, c->world);
    watch_set(j->guard.stall_seconds, j->guard.on_stall == ON_STALL_STOP);
    return STATUS_OK;
}

dtype precision_here(const job *j, bool native)
{
    return j->precision == DTYPE_BF16 && !native ? DTYPE_F32 : j->precision;
}
