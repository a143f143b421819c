/* The handler sets a flag; the training loop asks for it and all ranks agree before they act. */
#include "runtime/guard.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t caught;
static double deadline; /* seconds since 1970, 0 for none */

static void on_signal(int number)
{
    caught = number;
}

status guard_open(double margin_seconds)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write, not an end */
    const char *text = getenv("SLURM_JOB_END_TIME");
    if (!text || !*text) return STATUS_OK;
    char *end;
    double time_end = strtod(text, &end);
    if (*end || !(time_end > 0.0))
        return fail(STATUS_INPUT,
                    "environment: SLURM_JOB_END_TIME is '%s', seconds since 1970 expected", text);
    deadline = time_end - margin_seconds;
    return STATUS_OK;
}

static bool past_deadline(void)
{
    return deadline > 0.0 && (double)time(NULL) >= deadline;
}

bool guard_stop(void)
{
    return caught || past_deadline();
}

const char *guard_reason(void)
{
    switch (caught) {
    case SIGTERM: return "SIGTERM";
    case SIGUSR1: return "SIGUSR1";
    case SIGUSR2: return "SIGUSR2";
    default: return past_deadline() ? "the allocation's end" : "another rank";
    }
}

status guard_launch(int size)
{
    const char *text = getenv("SLURM_NTASKS");
    if (size > 1 || !text || atoi(text) <= 1) return STATUS_OK;
    return fail(STATUS_INPUT,
                "launch: SLURM_NTASKS is %s but MPI started a world of 1 rank: expected one world "
                "of %s ranks (srun --mpi=pmix, or mpirun)",
                text, text);
}
