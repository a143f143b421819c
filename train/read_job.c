/* Rank 0 reads, all get the struct, which is plain data. */
#include "train/read_job.h"

#include "runtime/agree.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

status job_read_shared(comm *c, job *j, const char *path, const char *const *overrides,
                       size_t count)
{
    memset(j, 0, sizeof *j);
    status result = c->rank == 0 ? job_read(j, path, overrides, count) : STATUS_OK;
    result = agree(c->world, result);
    if (!result) MPI_Bcast(j, (int)sizeof *j, MPI_BYTE, 0, c->world);
    return result;
}

static status find_job(char *found, size_t size, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return fail(STATUS_INPUT, "%s: a run directory expected, none found", path);
    snprintf(found, size, "%s/job.yaml", path);
    if (stat(found, &info) == 0) return STATUS_OK;
    snprintf(found, size, "%s/../job.yaml", path);
    if (stat(found, &info) == 0) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: job.yaml of a run expected, none found", path);
}

status job_read_of_run(comm *c, job *j, const char *path)
{
    char found[2 * JOB_TEXT];
    status result = c->rank == 0 ? find_job(found, sizeof found, path) : STATUS_OK;
    result = agree(c->world, result);
    return result ? result : job_read_shared(c, j, found, NULL, 0);
}

dtype precision_here(const job *j, bool native)
{
    return j->precision == DTYPE_BF16 && !native ? DTYPE_F32 : j->precision;
}
