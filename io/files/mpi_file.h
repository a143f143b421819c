/** Files read and written through MPI-IO by one rank. */
#ifndef VARIO_IO_FILES_MPI_FILE_H
#define VARIO_IO_FILES_MPI_FILE_H

#include "base/status.h"
#include "io/mpi_calls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Open for reading; not collective. @return STATUS_OK, or STATUS_INPUT naming the file */
status mpi_file_open(MPI_File *handle, const char *path);

/** Read bytes at an offset; not collective.
 *
 * @param path  of the file, for messages
 * @param name  the tensor that these bytes are of, for messages
 * @return STATUS_OK, or STATUS_INPUT naming both
 */
status mpi_file_read(MPI_File handle, const char *path, const char *name, uint64_t offset,
                     void *data, size_t bytes);

/** Write bytes at an offset; not collective. Never calls fail(), so that threads may call it.
 * @param code  out: MPI's, MPI_SUCCESS where only fewer bytes were written than asked for
 * @return whether all were written */
bool mpi_file_write(MPI_File handle, uint64_t offset, const void *data, size_t bytes, int *code);

#endif
