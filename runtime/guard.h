/** When to stop: signals and the end of the SLURM allocation. */
#ifndef VARIO_RUNTIME_GUARD_H
#define VARIO_RUNTIME_GUARD_H

#include "base/status.h"

#include <stdbool.h>

/** Catch SIGTERM, SIGUSR1 and SIGUSR2. Called first of all: a signal that comes while MPI starts or
 * a model is read counts too. */
void guard_catch(void);

/** Read SLURM_JOB_END_TIME (seconds since 1970).
 * @param margin_seconds  stop this long before the allocation ends
 * @return STATUS_OK, or STATUS_INPUT when the variable is no number */
status guard_open(double margin_seconds);

/** Whether this rank wants to stop (local, cheap). */
bool guard_stop(void);

/** Why, for people: "SIGUSR1", "the allocation's end". */
const char *guard_reason(void);

/** Whether MPI makes one world of the tasks that srun started. Without PMIx Open MPI ends with
 * pages of text or starts N worlds of one rank, each of them the whole job.
 * @param size  ranks of the world; 0 before MPI has started, which has to be asked first
 * @return STATUS_OK, or STATUS_INPUT */
status guard_launch(int size);

/** Whether this process tells of a failure: rank 0 does, of N worlds of one the first task's. */
bool guard_speaks(int rank);

#endif
