/** Files that are whole or not there. */
#ifndef VARIO_IO_FILE_H
#define VARIO_IO_FILE_H

#include "base/status.h"

#include <stddef.h>

/** Write path.tmp, fsync, rename, fsync the directory. @return STATUS_OK or STATUS_IO */
status file_write_atomic(const char *path, const char *text, size_t size);

/** Read a whole text file, NUL-terminated; the caller frees *text.
 * @param limit  bytes; a larger file is STATUS_INPUT
 * @return STATUS_OK, STATUS_INPUT (absent, unreadable, too large) or STATUS_NOMEM */
status file_read_text(char **text, size_t *size, const char *path, size_t limit);

/** fsync a directory. */
status file_sync_directory(const char *path);

/** Remove a file, or a directory with all that is in it; what is absent is fine. */
status file_remove_tree(const char *path);

/** Make a directory and its parents. @return STATUS_OK or STATUS_INPUT */
status file_make_directories(const char *path);

#endif
