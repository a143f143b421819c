/* A lock of the kernel's where there is one, else a file that is touched while its process lives.
 * Who finds that file stale moves it away before it makes its own: of several who do, one alone has
 * moved the file that all saw, and the others put back what they took. */
#include "io/files/lock.h"

#include "io/files/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, HOST_SIZE = 201, HOLDER_SIZE = 400, TRIES = 5 };

double lock_beat_seconds = LOCK_BEAT_SECONDS;

struct folder_lock {
    char path[PATH_SIZE], what[PATH_SIZE];
    int fd;   /* of path; the kernel's lock ends when it is closed */
    int held; /* of path.held, -1 where the kernel has the lock */
    pthread_t beat;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool beats, end; /* end under the mutex */
};

/* What path.held says. */
typedef struct {
    char holder[HOLDER_SIZE]; /* "process 12 on node3", "" where nothing is written yet */
    char space[64];           /* process numbers mean the same where this is the same */
    struct stat info;
} held_file;

static status io_failed(const char *what, const char *path)
{
    return fail(STATUS_IO, "%s %s: %s", what, path, strerror(errno));
}

static void name_held(char out[PATH_SIZE + 8], const char *path)
{
    snprintf(out, PATH_SIZE + 8, "%s.held", path);
}

static void host_name(char host[HOST_SIZE])
{
    host[0] = host[HOST_SIZE - 1] = '\0';
    gethostname(host, HOST_SIZE - 1);
}

/* Containers of one host may number processes each on their own. */
static void process_space(char space[64])
{
    ssize_t n = readlink("/proc/self/ns/pid", space, 63);
    space[n > 0 ? n : 0] = '\0';
}

static status write_holder(int fd, const char *path)
{
    char host[HOST_SIZE], space[64], text[HOLDER_SIZE];
    host_name(host);
    process_space(space);
    int n = snprintf(text, sizeof text, "process %ld on %s\n%s\n", (long)getpid(), host, space);
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n) return STATUS_OK;
    return io_failed("write", path);
}

/* The first two lines; less where they are not there. */
static void read_holder(int fd, held_file *h)
{
    char text[HOLDER_SIZE];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    size_t first = strcspn(text, "\n");
    snprintf(h->holder, sizeof h->holder, "%.*s", (int)first, text);
    const char *second = text + first + (text[first] == '\n');
    snprintf(h->space, sizeof h->space, "%.*s", (int)strcspn(second, "\n"), second);
}

/* @return 0 or errno */
static int read_held(held_file *h, const char *path)
{
    *h = (held_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW), error = 0;
    if (fd < 0) return errno;
    if (fstat(fd, &h->info) != 0) error = errno;
    if (!error) read_holder(fd, h);
    close(fd);
    return error;
}

/* Whether the process that it names is known to be gone: one of this host, and of these numbers. */
static bool is_gone(const held_file *h)
{
    char host[HOST_SIZE], space[64];
    char *end;
    host_name(host);
    process_space(space);
    if (strncmp(h->holder, "process ", 8) != 0 || strcmp(h->space, space) != 0) return false;
    long process = strtol(h->holder + 8, &end, 10);
    if (process <= 0 || strncmp(end, " on ", 4) != 0 || strcmp(end + 4, host) != 0) return false;
    return process == getpid() || (kill((pid_t)process, 0) != 0 && errno == ESRCH);
}

static bool is_free(const held_file *h, time_t now)
{
    return is_gone(h) || now - h->info.st_mtime > LOCK_STALE_SECONDS;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static status in_use(const folder_lock *l, const char *who, const held_file *h, time_t now)
{
    if (now < 0)
        return fail(STATUS_INPUT, "%.400s: in use by %s (%.200s), expected to be free", l->what,
                    who, h->holder);
    return fail(STATUS_INPUT,
                "%.400s: in use by %s (%.200s), expected to be free; its lock file %.300s.held was "
                "touched %lld s ago and is free after %d s of silence",
                l->what, who, h->holder, l->path, (long long)(now - h->info.st_mtime),
                (int)LOCK_STALE_SECONDS);
}

/* ---- path.held ---- */

/* Where the process stood still for so long that another took the folder, or a hand removed the
 * file, this one has it no more. */
static bool still_ours(const folder_lock *l)
{
    char path[PATH_SIZE + 8];
    struct stat here, there;
    name_held(path, l->path);
    if (fstat(l->held, &here) != 0 || lstat(path, &there) != 0)
        return errno != ENOENT; /* of a file system that fails for a while nothing is known */
    return is_same(&here, &there);
}

static struct timespec next_beat(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double seconds = 1e-9 * (double)t.tv_nsec + lock_beat_seconds;
    time_t whole = (time_t)seconds;
    return (struct timespec){t.tv_sec + whole, (long)(1e9 * (seconds - (double)whole))};
}

static void *beat(void *context)
{
    folder_lock *l = context;
    pthread_mutex_lock(&l->mutex);
    while (!l->end) {
        struct timespec next = next_beat();
        while (!l->end && pthread_cond_timedwait(&l->ended, &l->mutex, &next) == 0) continue;
        if (!l->end && still_ours(l)) futimens(l->held, NULL);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* The thread takes no signal: they are the main thread's. */
static status start_beat(folder_lock *l)
{
    sigset_t all, before;
    pthread_condattr_t clock;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&l->ended, &clock);
    pthread_condattr_destroy(&clock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&l->beat, NULL, beat, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->beats = error == 0;
    if (l->beats) return STATUS_OK;
    return fail(STATUS_NOMEM, "%s: a thread that touches its lock file: %s", l->path,
                strerror(error));
}

/* The time as the file system tells it: hosts' clocks differ. */
static time_t time_there(const folder_lock *l)
{
    struct stat info;
    return futimens(l->fd, NULL) == 0 && fstat(l->fd, &info) == 0 ? info.st_mtime : time(NULL);
}

/* A file made anew may get the same number. */
static bool is_unchanged(const char *path, const struct stat *seen)
{
    struct stat now;
    return lstat(path, &now) == 0 && is_same(&now, seen) &&
           now.st_mtim.tv_sec == seen->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == seen->st_mtim.tv_nsec;
}

static void move_away(const char *held, const struct stat *stale)
{
    char aside[PATH_SIZE + 32 + HOST_SIZE], host[HOST_SIZE];
    host_name(host);
    snprintf(aside, sizeof aside, "%s.%ld.%s", held, (long)getpid(), host);
    if (!is_unchanged(held, stale) || rename(held, aside) != 0) return;
    if (is_unchanged(aside, stale))
        unlink(aside);
    else
        rename(aside, held);
}

static status make_held(folder_lock *l, const char *held)
{
    status result = write_holder(l->held, held);
    if (!result) result = start_beat(l);
    if (result) unlink(held);
    return result;
}

static status take_held(folder_lock *l, const char *who)
{
    char held[PATH_SIZE + 8];
    name_held(held, l->path);
    for (int i = 0; i < TRIES; i++) {
        held_file h;
        l->held = open(held, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (l->held >= 0) return make_held(l, held);
        if (errno != EEXIST) return io_failed("create", held);
        int error = read_held(&h, held);
        if (error == ENOENT) continue;
        if (error)
            return fail(file_blame(error), "%s: cannot be opened: %s", held, strerror(error));
        time_t now = time_there(l);
        if (!is_free(&h, now)) return in_use(l, who, &h, now);
        move_away(held, &h.info);
    }
    return fail(STATUS_INPUT, "%s: in use by %s, expected to be free", l->what, who);
}

/* ---- both ---- */

static bool has_no_locks(int error)
{
    return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL;
}

static status refuse_file(const char *path, const char *found)
{
    return fail(STATUS_INPUT,
                "%s: %s found, a lock file expected: nothing vario made, remove it to go on", path,
                found);
}

static status open_file(folder_lock *l)
{
    struct stat info;
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (l->fd < 0 && errno == EISDIR) return refuse_file(l->path, "a directory");
    if (l->fd < 0 && errno == ELOOP) return refuse_file(l->path, "a symbolic link");
    if (l->fd < 0)
        return fail(file_blame(errno), "%s: cannot be opened: %s", l->path, strerror(errno));
    if (fstat(l->fd, &info) != 0) return io_failed("stat", l->path);
    return S_ISREG(info.st_mode) ? STATUS_OK : refuse_file(l->path, "no regular file");
}

/* The kernel's lock, unless a process that had none still has the folder. */
static status take_kernel(folder_lock *l, const char *who)
{
    char held[PATH_SIZE + 8];
    held_file h;
    name_held(held, l->path);
    time_t now = read_held(&h, held) == 0 ? time_there(l) : -1;
    if (now >= 0 && !is_free(&h, now)) return in_use(l, who, &h, now);
    return write_holder(l->fd, l->path);
}

static status take(folder_lock *l, const char *who)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    status result = open_file(l);
    if (result) return result;
    if (fcntl(l->fd, F_SETLK, &whole) == 0) return take_kernel(l, who);
    if (has_no_locks(errno)) return take_held(l, who);
    if (errno != EACCES && errno != EAGAIN)
        return fail(STATUS_IO, "%s: cannot be locked: %s", l->path, strerror(errno));
    held_file h;
    read_holder(l->fd, &h);
    return in_use(l, who, &h, -1);
}

status lock_take(folder_lock **out, const char *path, const char *what, const char *who)
{
    *out = NULL;
    if (strlen(path) >= PATH_SIZE)
        return fail(STATUS_INPUT, "%.200s...: a path of at most %d bytes expected", path,
                    PATH_SIZE - 1);
    folder_lock *l = calloc(1, sizeof *l);
    if (!l) return fail(STATUS_NOMEM, "memory for a lock of %s", path);
    l->fd = l->held = -1;
    snprintf(l->path, sizeof l->path, "%s", path);
    snprintf(l->what, sizeof l->what, "%s", what);
    status result = take(l, who);
    if (result) lock_release(&l);
    *out = l;
    return result;
}

void lock_release(folder_lock **out)
{
    folder_lock *l = *out;
    if (!l) return;
    if (l->beats) {
        pthread_mutex_lock(&l->mutex);
        l->end = true;
        pthread_cond_signal(&l->ended);
        pthread_mutex_unlock(&l->mutex);
        pthread_join(l->beat, NULL);
        char held[PATH_SIZE + 8];
        name_held(held, l->path);
        if (still_ours(l)) unlink(held);
    }
    if (l->held >= 0) close(l->held);
    if (l->fd >= 0) close(l->fd);
    free(l);
    *out = NULL;
}

status lock_check(const folder_lock *l)
{
    char held[PATH_SIZE + 8];
    held_file h;
    if (!l->beats || still_ours(l)) return STATUS_OK;
    name_held(held, l->path);
    bool taken = read_held(&h, held) == 0 && *h.holder;
    return fail(STATUS_IO, "%.400s: its lock file %.300s is no more this process's: %s%s", l->what,
                held, taken ? "taken by " : "removed", taken ? h.holder : "");
}

bool lock_is_held(const char *path)
{
    char held[PATH_SIZE + 8];
    held_file h;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool locked = fcntl(fd, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    close(fd);
    name_held(held, path);
    return locked || (read_held(&h, held) == 0 && !is_free(&h, time(NULL)));
}
