/** When to stop: signals and the end of the SLURM allocation. */
#ifndef VARIO_RUNTIME_GUARD_H
#define VARIO_RUNTIME_GUARD_H

#include "base/status.h"

#include <stdbool.h>

/** Catch SIGTERM, SIGUSR1, SIGUSR2, and SIGINT and SIGHUP unless they are ignored; ignore SIGPIPE:
 * lost output is no reason to lose a run. A second SIGINT ends the process. Called first of all: a
 * signal that comes while a model is read counts too. Before guard_started the process ends at
 * once, with code 75. */
void guard_catch(void);

/** MPI runs and the watchdog looks on: from now on signals are flags, for the training loop, or for
 * the watchdog where nothing gets on. */
void guard_started(void);

/** Whether a stop has something to save: the run trains. */
void guard_save(bool saves);
bool guard_saving(void);

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
