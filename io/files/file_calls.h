/** Calls of POSIX that may wait long for a file, each marked for who watches (base/activity.h): for
 * the files that open, read and write. */
#ifndef VARIO_IO_FILES_FILE_CALLS_H
#define VARIO_IO_FILES_FILE_CALLS_H

#include "base/activity.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

/* A macro's own name in its text is the function. */
#define FILE_CALL(kind, what, fd, call)                                                            \
    (activity_descriptor(ACTIVITY_##kind, what, fd), activity_done_long(call))
#define PATH_CALL(kind, what, path, call)                                                          \
    (activity_file(ACTIVITY_##kind, what, path), activity_done(call))
#define open(path, ...) PATH_CALL(READS, "opens", path, open(path, __VA_ARGS__))
#define rename(from, to) PATH_CALL(WRITES, "renames", from, rename(from, to))
#define unlink(path) PATH_CALL(WRITES, "removes", path, unlink(path))
#define pread(fd, ...) FILE_CALL(READS, "reads", fd, pread(fd, __VA_ARGS__))
#define write(fd, ...) FILE_CALL(WRITES, "writes", fd, write(fd, __VA_ARGS__))
#define pwrite(fd, ...) FILE_CALL(WRITES, "writes", fd, pwrite(fd, __VA_ARGS__))
#define writev(fd, ...) FILE_CALL(WRITES, "writes", fd, writev(fd, __VA_ARGS__))
#define fsync(fd) (int)FILE_CALL(WRITES, "syncs", fd, fsync(fd))
#define fflush(file) (int)FILE_CALL(WRITES, "writes", fileno(file), fflush(file))
#define fread(data, size, count, file)                                                             \
    (size_t) FILE_CALL(READS, "reads", fileno(file), (long)fread(data, size, count, file))

#endif
