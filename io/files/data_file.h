/** Files of which every rank writes and reads its own parts: each has a descriptor of its own and
 * knows its offsets, so that nothing is shared but the file (docs/checkpoints.md says what that
 * asks of a file system, and why this is not MPI-IO).
 *
 * What returns an errno, 0 for done, never calls fail(): threads may call it. */
#ifndef VARIO_IO_FILES_DATA_FILE_H
#define VARIO_IO_FILES_DATA_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Make a file for writing under a name of our own: what an earlier process left there is removed,
 * and no link is followed.
 * @param fd     out: -1 on failure
 * @param bytes  its length from the beginning. Where several nodes write, it is that of the end: a
 *               client of NFS that lengthens a file fills the page up with zeros, over what others
 *               have written there
 * @return an errno */
int data_file_create(int *fd, const char *path, uint64_t bytes);

/** Open for writing what another rank, or an earlier process, has made.
 * @param fd  out: -1 on failure
 * @return an errno: EINVAL where it is no regular file, ELOOP where it is a link */
int data_file_join(int *fd, const char *path);

/** Write bytes at an offset. @return an errno */
int data_file_write(int fd, uint64_t offset, const void *data, size_t bytes);

/** Close, and before that, where `sync`, put what this process wrote on disk. Takes -1, and leaves
 * it. @return an errno */
int data_file_close(int *fd, bool sync);

/** One sentence about an errno: "write PATH: No space left on device (0 bytes are free there)".
 * @param where  path of something on the same file system */
void data_file_explain(char *text, size_t size, const char *verb, const char *path,
                       const char *where, int error);

/** Read bytes at an offset.
 *
 * @param path  of the file, for messages
 * @param name  the tensor that these bytes are of, for messages
 * @return STATUS_OK, STATUS_INPUT (the file ends before) or STATUS_IO, naming both
 */
status data_file_read(int fd, const char *path, const char *name, uint64_t offset, void *data,
                      size_t bytes);

#endif
