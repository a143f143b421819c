/** Files as they are, or as they were before gzip, xz or zstd packed them. */
#ifndef VARIO_IO_FILES_UNPACK_H
#define VARIO_IO_FILES_UNPACK_H

#include "base/status.h"
#include "io/files/file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct unpacker unpacker;

/** Open a file; its bytes are read in order.
 * @param out   out: NULL on failure
 * @param path  kept, not copied
 * @param what  as file_open's
 * @return STATUS_OK, STATUS_INPUT (absent, no regular file), STATUS_IO or STATUS_NOMEM */
status unpacker_open(unpacker **out, const char *path, const char *what);

/** The next bytes, at most so many; fewer only at the file's end.
 * @return STATUS_OK, or STATUS_INPUT where what is packed is damaged or cut short */
status unpacker_read(unpacker *u, void *data, size_t bytes, size_t *count);

/** Takes NULL, and leaves it. */
void unpacker_close(unpacker **u);

/** Unpack the first bytes of a file, at most so many, into memory of this process.
 * @param m  out: for file_unmap; empty where the file is
 * @return as unpacker_open and unpacker_read */
status unpack_file(file_mapping *m, const char *path, const char *what, size_t bytes);

#endif
