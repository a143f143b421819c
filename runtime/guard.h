/** When to stop: signals and the end of the SLURM allocation. */
#ifndef VARIO_RUNTIME_GUARD_H
#define VARIO_RUNTIME_GUARD_H

#include "base/status.h"

#include <stdbool.h>

/** Catch SIGTERM, SIGUSR1 and SIGUSR2, and read SLURM_JOB_END_TIME (seconds since 1970).
 * @param margin_seconds  stop this long before the allocation ends
 * @return STATUS_OK, or STATUS_INPUT when the variable is no number */
status guard_open(double margin_seconds);

/** Whether this rank wants to stop (local, cheap). */
bool guard_stop(void);

/** Why, for people: "SIGUSR1", "the allocation's end". */
const char *guard_reason(void);

/** Under SLURM with several tasks, a world of one rank means N runs of the same job.
 * @return STATUS_OK, or STATUS_INPUT */
status guard_launch(int size);

#endif
