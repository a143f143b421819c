/* The lock is held while the trial lasts: every thread waits for it. */
#include "base/threads.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *stay(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

status thread_trial_open(thread_trial *t, int count)
{
    int code = 0;
    char host[256] = "this host";
    *t = (thread_trial){.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_mutex_lock(&t->lock);
    if (count <= 0) return STATUS_OK;
    t->threads = calloc((size_t)count, sizeof *t->threads);
    if (!t->threads) return fail(STATUS_NOMEM, "memory for %d threads", count);
    while (t->started < count && code == 0) {
        code = pthread_create(&t->threads[t->started], NULL, stay, &t->lock);
        t->started += code == 0;
    }
    if (code == 0) return STATUS_OK;
    gethostname(host, sizeof host - 1);
    return fail(STATUS_NOMEM,
                "threads: %d more expected for a process on %s, %d could be started (%s): its "
                "limits are ulimit -u, pids.max of the control group, and memory",
                count, host, t->started, strerror(code));
}

void thread_trial_close(thread_trial *t)
{
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->started; i++) pthread_join(t->threads[i], NULL);
    free(t->threads);
    pthread_mutex_destroy(&t->lock);
    *t = (thread_trial){0};
}

status thread_trial_run(int count)
{
    thread_trial t;
    status result = thread_trial_open(&t, count);
    thread_trial_close(&t);
    return result;
}
