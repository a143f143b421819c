/* Preloaded (LD_PRELOAD): the n-th call that changes files below a directory fails.
 *
 *   FAULTS_UNDER=DIR    calls on files elsewhere are neither counted nor touched
 *   FAULTS_CALL=NAME    only calls of this name count ("rename")
 *   FAULTS_AT=N         the first call that fails, counted from 1 in every process; 0: none, count
 *   FAULTS_COUNT=N      how many calls fail in a row (1)
 *   FAULTS_KIND=KIND    eio, enospc, short (half is written and said so; calls that write nothing
 *                       are not counted), hang (it takes FAULTS_SECONDS)
 *   FAULTS_LOG=FILE     a line for each: "process call path"
 *
 * Calls: write, pwrite, writev, pwritev, fsync, fdatasync, ftruncate, rename, mkdir, open and
 * openat that create, and stdio's fflush, whose write is within the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

typedef enum { FINE, FAIL, SHORT } fate;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static void note(const char *call, const char *path)
{
    char line[PATH_MAX + 64];
    const char *log = getenv("FAULTS_LOG");
    if (!log) return;
    int n = snprintf(line, sizeof line, "%ld %s %s\n", (long)getpid(), call, path);
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, n);
    close(fd);
}

/* What becomes of a call on a path. */
static fate decide(const char *call, const char *path, bool writes)
{
    const char *under = getenv("FAULTS_UNDER"), *kind = getenv("FAULTS_KIND");
    if (!under || !kind || strncmp(path, under, strlen(under)) != 0) return FINE;
    const char *only = getenv("FAULTS_CALL");
    if (only && strcmp(only, call) != 0) return FINE;
    bool is_short = strcmp(kind, "short") == 0;
    if (is_short && !writes) return FINE;
    pthread_mutex_lock(&lock);
    long at = ++calls, first = number("FAULTS_AT", 0), count = number("FAULTS_COUNT", 1);
    pthread_mutex_unlock(&lock);
    if (first <= 0 || at < first || at >= first + count) return FINE;
    note(call, path);
    if (strcmp(kind, "hang") == 0) {
        sleep((unsigned)number("FAULTS_SECONDS", 3));
        return FINE;
    }
    errno = strcmp(kind, "enospc") == 0 ? ENOSPC : EIO;
    return is_short ? SHORT : FAIL;
}

static fate decide_fd(const char *call, int fd, bool writes)
{
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = before;
    if (n <= 0) return FINE;
    path[n] = '\0';
    return decide(call, path, writes);
}

/* The C library's own. */
#define NEXT(type, name)                                                                           \
    static type *next;                                                                             \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, name)

typedef ssize_t write_call(int, const void *, size_t);
ssize_t write(int fd, const void *data, size_t bytes)
{
    NEXT(write_call, "write");
    fate f = decide_fd("write", fd, bytes > 1);
    return f == FAIL ? -1 : next(fd, data, f == SHORT ? bytes / 2 : bytes);
}

typedef ssize_t pwrite_call(int, const void *, size_t, off_t);
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    NEXT(pwrite_call, "pwrite");
    fate f = decide_fd("pwrite", fd, bytes > 1);
    return f == FAIL ? -1 : next(fd, data, f == SHORT ? bytes / 2 : bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at)
{
    return pwrite(fd, data, bytes, at);
}

static size_t total(const struct iovec *parts, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    return bytes;
}

/* The first half of them, joined. */
static ssize_t write_half(int fd, const struct iovec *parts, int count, off_t at)
{
    size_t bytes = total(parts, count), n = 0;
    char *all = malloc(bytes + 1);
    if (!all) return -1;
    for (int i = 0; i < count; i++) {
        memcpy(all + n, parts[i].iov_base, parts[i].iov_len);
        n += parts[i].iov_len;
    }
    ssize_t written = at < 0 ? syscall(SYS_write, fd, all, bytes / 2)
                             : syscall(SYS_pwrite64, fd, all, bytes / 2, at);
    free(all);
    return written;
}

typedef ssize_t writev_call(int, const struct iovec *, int);
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    NEXT(writev_call, "writev");
    fate f = decide_fd("writev", fd, total(parts, count) > 1);
    if (f == SHORT) return write_half(fd, parts, count, -1);
    return f == FAIL ? -1 : next(fd, parts, count);
}

typedef ssize_t pwritev_call(int, const struct iovec *, int, off_t);
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    NEXT(pwritev_call, "pwritev");
    fate f = decide_fd("pwritev", fd, total(parts, count) > 1);
    if (f == SHORT) return write_half(fd, parts, count, at);
    return f == FAIL ? -1 : next(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    return pwritev(fd, parts, count, at);
}

typedef int fd_call(int);
int fsync(int fd)
{
    NEXT(fd_call, "fsync");
    return decide_fd("fsync", fd, false) == FAIL ? -1 : next(fd);
}

int fdatasync(int fd)
{
    NEXT(fd_call, "fdatasync");
    return decide_fd("fdatasync", fd, false) == FAIL ? -1 : next(fd);
}

typedef int truncate_call(int, off_t);
int ftruncate(int fd, off_t size)
{
    NEXT(truncate_call, "ftruncate");
    return decide_fd("ftruncate", fd, false) == FAIL ? -1 : next(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

typedef int rename_call(const char *, const char *);
int rename(const char *from, const char *to)
{
    NEXT(rename_call, "rename");
    return decide("rename", from, false) == FAIL ? -1 : next(from, to);
}

typedef int mkdir_call(const char *, mode_t);
int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir_call, "mkdir");
    return decide("mkdir", path, false) == FAIL ? -1 : next(path, mode);
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    if (flags & O_CREAT && decide("open", path, false) == FAIL) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    if (flags & O_CREAT && decide("openat", path, false) == FAIL) return -1;
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

typedef int flush_call(FILE *);
int fflush(FILE *file)
{
    NEXT(flush_call, "fflush");
    if (!file || __fpending(file) == 0 || fileno(file) < 0) return next(file);
    fate f = decide_fd("fflush", fileno(file), true);
    if (f == FINE) return next(file);
    if (f == SHORT) errno = ENOSPC; /* as of a disk that takes half of it */
    return EOF;
}
