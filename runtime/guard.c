/* The handler sets a flag; the training loop asks for it and all ranks agree before they act. */
#include "runtime/guard.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught, started;
static atomic_bool saving;
static bool scattered;  /* this process is one of N worlds of one rank */
static double deadline; /* seconds since 1970, 0 for none */

static const struct {
    int number;
    const char *name;
} signals[] = {{SIGTERM, "SIGTERM"},
               {SIGUSR1, "SIGUSR1"},
               {SIGUSR2, "SIGUSR2"},
               {SIGINT, "SIGINT"},
               {SIGHUP, "SIGHUP"}};

enum { SIGNALS = sizeof signals / sizeof signals[0] };

static void on_signal(int number)
{
    if (!started)
        _exit(status_exit_code(STATUS_STOPPED)); /* MPI starts: nothing is there to save */
    caught = number;
}

/* Calls on files go on after a signal, but for a second SIGINT. Who told a process to ignore
 * SIGHUP (nohup) or SIGINT (a shell, of what it starts in the background) is obeyed. */
void guard_catch(void)
{
    for (size_t i = 0; i < SIGNALS; i++) {
        int number = signals[i].number;
        struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        if (number == SIGINT) action.sa_flags |= (int)SA_RESETHAND;
        bool may_ignore = number == SIGINT || number == SIGHUP;
        if (may_ignore && sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
            continue;
        sigaction(number, &action, NULL);
    }
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write, not an end */
    signal(SIGPIPE, SIG_IGN);
}

void guard_started(void)
{
    started = 1;
}

void guard_save(bool saves)
{
    atomic_store(&saving, saves);
}

bool guard_saving(void)
{
    return atomic_load(&saving);
}

status guard_open(double margin_seconds)
{
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
    for (size_t i = 0; i < SIGNALS; i++)
        if (caught == signals[i].number) return signals[i].name;
    return past_deadline() ? "the allocation's end" : "another rank";
}

/* mpirun starts a daemon a node as srun's tasks: its ranks have their number from it. */
status guard_launch(int size)
{
    static bool by_mpirun; /* asked before MPI starts: Open MPI sets the variable itself */
    if (size == 0) by_mpirun = getenv("OMPI_COMM_WORLD_SIZE") != NULL;
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    if (by_mpirun || size > 1 || !tasks || atoi(tasks) <= 1) return STATUS_OK;
    if (size == 0 && (getenv("PMIX_RANK") || getenv("PMI_RANK"))) return STATUS_OK;
    scattered = true;
    return fail(STATUS_INPUT,
                "launch: srun started %s tasks that MPI cannot make one world of: expected srun "
                "--mpi=pmix (srun --mpi=list names what there is), or mpirun",
                tasks);
}

bool guard_speaks(int rank)
{
    const char *task = getenv("SLURM_PROCID");
    return rank == 0 && (!scattered || !task || atoi(task) == 0);
}
