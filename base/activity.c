/* One record a watched thread, behind a lock that only who watches ever contends for. */
#include "base/activity.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SHOWN = 160 };

typedef struct {
    pthread_mutex_t lock;
    activity_kind kind;
    uint64_t count, step;
    int number; /* a rank, or a descriptor; below 0 for none */
    const char *phase, *what;
    char path[PATH_SHOWN];
} activity;

static activity threads[ACTIVITY_THREADS] = {{.lock = PTHREAD_MUTEX_INITIALIZER},
                                             {.lock = PTHREAD_MUTEX_INITIALIZER}};
static _Thread_local activity *mine; /* NULL: nobody watches this thread */

static void set(activity_kind kind, const char *what, const char *path, int number)
{
    activity *a = mine;
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->kind = kind;
    a->count++;
    a->what = what;
    a->number = number;
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

void activity_descriptor(activity_kind kind, const char *what, int fd)
{
    set(kind, what, NULL, fd);
}

int activity_done(int code)
{
    return (int)activity_done_long(code);
}

/* errno stays that of the call. */
long activity_done_long(long code)
{
    set(ACTIVITY_COMPUTES, NULL, NULL, -1);
    return code;
}

static void find_path(char path[PATH_SHOWN], int fd)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_SHOWN - 1);
    if (n > 0)
        path[n] = '\0';
    else
        snprintf(path, PATH_SHOWN, "descriptor %d", fd);
}

static void activity_describe(activity *a, char text[ACTIVITY_TEXT])
{
    char step[40] = "", rank[24] = "";
    bool file = a->kind == ACTIVITY_READS || a->kind == ACTIVITY_WRITES;
    if (a->step) snprintf(step, sizeof step, "step %llu, ", (unsigned long long)a->step);
    if (a->number >= 0) snprintf(rank, sizeof rank, " %d", a->number);
    int n = snprintf(text, ACTIVITY_TEXT, "%s%s", step, a->phase ? a->phase : "start");
    char *rest = text + n;
    size_t left = (size_t)(ACTIVITY_TEXT - n);
    if (file && !*a->path) find_path(a->path, a->number);
    if (file)
        snprintf(rest, left, ", %s %s", a->what, a->path);
    else if (a->kind == ACTIVITY_WAITS)
        snprintf(rest, left, ", waits for %s%s", a->what, rank);
}

/* The system is asked about a copy, outside the lock. */
activity_kind activity_look(activity_thread thread, uint64_t *count, char text[ACTIVITY_TEXT])
{
    activity *a = &threads[thread], copy;
    pthread_mutex_lock(&a->lock);
    copy = *a;
    pthread_mutex_unlock(&a->lock);
    *count = copy.count;
    activity_describe(&copy, text);
    return copy.kind;
}
