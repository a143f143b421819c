/* A call that a signal interrupts begins again; what is written or read in part goes on behind that
 * part. */
#include "io/files/data_file.h"

#include "io/files/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PART_BYTES = 1 << 30 /* Linux moves a little less than 2 GiB at once */ };

static int close_as(int *fd, int error)
{
    close(*fd);
    *fd = -1;
    return error;
}

int data_file_create(int *fd, const char *path, uint64_t bytes)
{
    *fd = -1;
    if (unlink(path) != 0 && errno != ENOENT) return errno;
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (*fd < 0) return errno;
    return bytes > 0 && ftruncate(*fd, (off_t)bytes) != 0 ? close_as(fd, errno) : 0;
}

int data_file_join(int *fd, const char *path)
{
    struct stat info;
    *fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) return errno;
    if (fstat(*fd, &info) != 0) return close_as(fd, errno);
    return S_ISREG(info.st_mode) ? 0 : close_as(fd, EINVAL);
}

int data_file_write(int fd, uint64_t offset, const void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t wanted = bytes - at < PART_BYTES ? bytes - at : PART_BYTES;
        ssize_t n = pwrite(fd, (const char *)data + at, wanted, (off_t)(offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return ENOSPC;
        at += (size_t)n;
    }
    return 0;
}

/* Linux has closed the descriptor also where it says EINTR. */
int data_file_close(int *fd, bool sync)
{
    int error = 0;
    if (*fd < 0) return 0;
    while (sync && fsync(*fd) != 0 && (error = errno) == EINTR) error = 0;
    if (close(*fd) != 0 && errno != EINTR && !error) error = errno;
    *fd = -1;
    return error;
}

void data_file_explain(char *text, size_t size, const char *verb, const char *path,
                       const char *where, int error)
{
    struct statvfs space;
    char there[64] = "";
    if (statvfs(where, &space) == 0)
        snprintf(there, sizeof there, " (%" PRIu64 " bytes are free there)",
                 (uint64_t)space.f_bavail * space.f_frsize);
    snprintf(text, size, "%s %.700s: %s%s", verb, path, strerror(error), there);
}

status data_file_read(int fd, const char *path, const char *name, uint64_t offset, void *data,
                      size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t wanted = bytes - at < PART_BYTES ? bytes - at : PART_BYTES;
        ssize_t n = pread(fd, (char *)data + at, wanted, (off_t)(offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(STATUS_IO, "read %s: tensor '%s': %s", path, name, strerror(errno));
        if (n == 0)
            return fail(STATUS_INPUT,
                        "%s: truncated in tensor '%s': %zu bytes expected at %" PRIu64
                        ", %zu found",
                        path, name, bytes, offset, at);
        at += (size_t)n;
    }
    return STATUS_OK;
}
