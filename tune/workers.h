/** Child processes side by side, and the signals that this one gets meanwhile. */
#ifndef VARIO_TUNE_WORKERS_H
#define VARIO_TUNE_WORKERS_H

#include "base/status.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { WORKERS = 1024 /**< at most */ };

typedef struct {
    pid_t children[WORKERS]; /**< 0: a free place */
    size_t places, busy;
    sigset_t heard, before;
    int stopped; /**< the signal that asked for an end, 0: none */
} workers;

/** Processors that this process may run on. */
size_t workers_processors(void);

/** Hear signals from now on, until workers_close: SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2
 * (unless they are ignored) end nothing by themselves. @param places  at most WORKERS */
void workers_open(workers *w, size_t places);
void workers_close(workers *w);

/** Start a program in a group of its own, without input, that prints into a file. It is told to
 * stop (SIGUSR1) when this process ends, however that ends.
 * @param arguments  NULL behind the last; the first is the program, looked for as a shell does
 * @param log        descriptor of the file
 * @param place      out: which, of those that are free
 * @return STATUS_OK or STATUS_NOMEM */
status workers_start(workers *w, size_t *place, char *const *arguments, int log);

/** Wait until a child ends, a signal comes or time has passed.
 * @param place  out: the child's
 * @param code   out: as waitpid has it
 * @return whether a child has ended */
bool workers_wait(workers *w, double seconds, size_t *place, int *code);

/** Send all children and what they have started a signal: SIGUSR1 lets them save a checkpoint. */
void workers_stop(const workers *w, int number);

#endif
