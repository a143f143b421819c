/** Whether as many threads as wanted can be started. OpenMP and MPI end the process, or crash,
 * where they cannot: it is tried before. */
#ifndef VARIO_BASE_THREADS_H
#define VARIO_BASE_THREADS_H

#include "base/status.h"

#include <pthread.h>

/** Threads that wait for the end of the trial. */
typedef struct {
    pthread_mutex_t lock;
    pthread_t *threads;
    int started;
} thread_trial;

/** Start so many at once. @return STATUS_OK, or STATUS_NOMEM: how many there were, and what limits
 * them; to be closed in any case */
status thread_trial_open(thread_trial *t, int count);
void thread_trial_close(thread_trial *t);

/** Both. */
status thread_trial_run(int count);

#endif
