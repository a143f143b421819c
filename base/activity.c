/* One record a watched thread, behind a lock that only who watches ever contends for. */
#include "base/activity.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { PATH_SHOWN = 160 };

typedef struct {
    pthread_mutex_t lock;
    activity_kind kind;
    uint64_t count, step;
    int rank;
    const char *phase, *what;
    char path[PATH_SHOWN];
} activity;

static activity threads[ACTIVITY_THREADS] = {{.lock = PTHREAD_MUTEX_INITIALIZER},
                                             {.lock = PTHREAD_MUTEX_INITIALIZER}};
static _Thread_local activity *mine; /* NULL: nobody watches this thread */

static void set(activity_kind kind, const char *what, const char *path, int rank)
{
    activity *a = mine;
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->kind = kind;
    a->count++;
    a->what = what;
    a->rank = rank;
    size_t length = path ? strlen(path) : 0,
           lost = length < PATH_SHOWN ? 0 : length - PATH_SHOWN + 1;
    memcpy(a->path, path ? path + lost : "", length - lost + 1); /* a path's end says most */
    pthread_mutex_unlock(&a->lock);
}

void activity_enter(activity_thread thread)
{
    mine = &threads[thread];
    set(ACTIVITY_COMPUTES, NULL, NULL, -1);
}

void activity_leave(void)
{
    set(ACTIVITY_NONE, NULL, NULL, -1);
    mine = NULL;
}

void activity_step(uint64_t step)
{
    if (!mine) return;
    pthread_mutex_lock(&mine->lock);
    mine->step = step;
    mine->count++;
    pthread_mutex_unlock(&mine->lock);
}

void activity_phase(const char *name)
{
    if (!mine) return;
    pthread_mutex_lock(&mine->lock);
    mine->phase = name;
    mine->count++;
    pthread_mutex_unlock(&mine->lock);
}

void activity_wait(const char *what, int rank)
{
    set(ACTIVITY_WAITS, what, NULL, rank);
}

void activity_file(activity_kind kind, const char *what, const char *path)
{
    set(kind, what, path, -1);
}

int activity_done(int code)
{
    set(ACTIVITY_COMPUTES, NULL, NULL, -1);
    return code;
}

static void describe(const activity *a, char text[ACTIVITY_TEXT])
{
    char step[40] = "", rank[24] = "";
    if (a->step) snprintf(step, sizeof step, "step %llu, ", (unsigned long long)a->step);
    if (a->rank >= 0) snprintf(rank, sizeof rank, " %d", a->rank);
    int n = snprintf(text, ACTIVITY_TEXT, "%s%s", step, a->phase ? a->phase : "start");
    if (a->kind == ACTIVITY_WAITS)
        snprintf(text + n, (size_t)(ACTIVITY_TEXT - n), ", waits for %s%s", a->what, rank);
    else if (a->kind >= ACTIVITY_READS)
        snprintf(text + n, (size_t)(ACTIVITY_TEXT - n), ", %s %s", a->what, a->path);
}

activity_kind activity_look(activity_thread thread, uint64_t *count, char text[ACTIVITY_TEXT])
{
    activity *a = &threads[thread];
    pthread_mutex_lock(&a->lock);
    activity_kind kind = a->kind;
    *count = a->count;
    describe(a, text);
    pthread_mutex_unlock(&a->lock);
    return kind;
}
