/** Jobs and those of runs, read by rank 0 and known to all. */
#ifndef VARIO_TRAIN_READ_JOB_H
#define VARIO_TRAIN_READ_JOB_H

#include "io/jobs/job.h"
#include "runtime/comm.h"

/** Read a job file; collective. As job_read, the same on all ranks. */
status job_read_shared(comm *c, job *j, const char *path, const char *const *overrides,
                       size_t count);

/** Read the job of a run; collective.
 * @param path  a run directory, or one of its checkpoints */
status job_read_of_run(comm *c, job *j, const char *path);

/** A job's precision on these processors: fp32 where one of them lacks bf16. */
dtype precision_here(const job *j, bool native);

#endif
