/** Files that are whole or not there, and how a path from outside is opened. */
#ifndef VARIO_IO_FILES_FILE_H
#define VARIO_IO_FILES_FILE_H

#include "base/status.h"

#include <glob.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Open a file that comes from outside, for reading: the only way in which vario does. It is a
 * regular file; nothing else is waited for, a pipe without a writer least of all.
 * @param fd     out: -1 on failure
 * @param bytes  out: its size; may be NULL
 * @param what   names it in messages: "a token file"
 * @return STATUS_OK, STATUS_INPUT (absent, not readable, no regular file) or STATUS_IO */
status file_open(int *fd, uint64_t *bytes, const char *path, const char *what);

/** The same, as a stream. @param file  out: NULL on failure */
status file_open_stream(FILE **file, uint64_t *bytes, const char *path, const char *what);

/** A file mapped for reading. */
typedef struct {
    const void *data; /**< NULL: nothing is mapped */
    size_t bytes;
} file_mapping;

/** Map a regular file that is not empty.
 * @param what  as file_open's
 * @return STATUS_OK, STATUS_INPUT (absent, empty, not a regular file) or STATUS_IO */
status file_map(file_mapping *m, const char *path, const char *what);

/** Takes an empty mapping too. */
void file_unmap(file_mapping *m);

/** The files that a pattern names, sorted, or the one file whose very name it is; the caller frees
 * found by globfree.
 * @param found  in: zeros
 * @param what   as file_map's
 * @return STATUS_OK, STATUS_INPUT (no file, a directory that cannot be read) or STATUS_NOMEM */
status file_find(glob_t *found, const char *pattern, const char *what);

/** Make a file for writing under a name of our own, a temporary one: what an earlier process left
 * there is removed, and no link is followed. @return STATUS_OK or STATUS_IO */
status file_create(int *fd, const char *path);

/** The same, as a stream. */
status file_create_stream(FILE **file, const char *path);

/** Open one of our own files to add to it, made where it is absent; it is a regular one.
 * @return STATUS_OK or STATUS_IO */
status file_open_append(int *fd, const char *path);

/** Write path.tmp, fsync, rename, fsync the directory. @return STATUS_OK or STATUS_IO */
status file_write_atomic(const char *path, const char *text, size_t size);

/** The same of what a function prints, without a file where memory runs out.
 * @return STATUS_OK, STATUS_NOMEM or STATUS_IO */
status file_print_atomic(const char *path, void (*print)(FILE *out, const void *context),
                         const void *context);

/** Append a line with one write. It begins behind what a killed process left of another, and of a
 * write that fails nothing stays.
 * @param line  [size] without its end
 * @return STATUS_OK or STATUS_IO */
status file_append_line(const char *path, const char *line, size_t size);

/** Read a whole text file, NUL-terminated; the caller frees *text.
 * @param limit  bytes; a larger file is STATUS_INPUT
 * @return STATUS_OK, STATUS_INPUT (absent, unreadable, too large) or STATUS_NOMEM */
status file_read_text(char **text, size_t *size, const char *path, size_t limit);

/** Whether two paths lead to one file or directory. */
bool file_same(const char *a, const char *b);

/** Whether a path holds what only a shell expands: '~' where it begins (behind "csv:" and ',' too),
 * or '$' and a name. No path of a user's does, unless "./" stands before it: a folder called '~' or
 * '$HOME' is nobody's wish. */
bool file_wants_shell(const char *path);

/** What such a path is refused with, behind "'PATH' found, ". */
#define FILE_WANTED                                                                                \
    "a path without ~ and $NAME expected: only a shell expands them (./ before it takes it as it " \
    "is)"

/** What a failure to open or make means: a full or broken disk is no wrong input.
 * @param error  errno
 * @return STATUS_IO or STATUS_INPUT */
status file_blame(int error);

/** Where a path leads, through whatever links: as far as it is there, and the names behind that.
 * @param found  out: [size] begins with '/', but for the root, which is ""
 * @return whether that is known, and fits */
bool file_resolve(char *found, size_t size, const char *path);

/** Whether a path, which need not be there, leads to a directory or to something below it, whatever
 * links it goes through.
 * @param rest  out: [size] the way from the directory, "" for the directory itself; may be NULL */
bool file_inside(char *rest, size_t size, const char *path, const char *directory);

/** fsync a directory. */
status file_sync_directory(const char *path);

/** Remove a file, or a directory with all that is in it; what is absent is fine. */
status file_remove_tree(const char *path);

/** Make a directory and its parents. @return STATUS_OK or STATUS_INPUT */
status file_make_directories(const char *path);

#endif
