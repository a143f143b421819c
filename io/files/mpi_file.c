/* MPI counts are ints, so what is large goes in parts. */
#include "io/files/mpi_file.h"

#include <inttypes.h>

enum { MESSAGE_BYTES = 1 << 30 };

static status mpi_failed(const char *path, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(code, text, &length);
    return fail(STATUS_INPUT, "%s: %s: %.200s", path, what, text);
}

status mpi_file_open(MPI_File *handle, const char *path)
{
    int code = MPI_File_open(MPI_COMM_SELF, path, MPI_MODE_RDONLY, MPI_INFO_NULL, handle);
    return code == MPI_SUCCESS ? STATUS_OK : mpi_failed(path, "cannot be opened", code);
}

status mpi_file_read(MPI_File handle, const char *path, const char *name, uint64_t offset,
                     void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        int count = (int)(bytes - at < MESSAGE_BYTES ? bytes - at : MESSAGE_BYTES), got = 0;
        MPI_Status report;
        int code = MPI_File_read_at(handle, (MPI_Offset)(offset + at), (char *)data + at, count,
                                    MPI_BYTE, &report);
        if (code != MPI_SUCCESS) return mpi_failed(path, "cannot be read", code);
        MPI_Get_count(&report, MPI_BYTE, &got);
        if (got != count)
            return fail(STATUS_INPUT,
                        "%s: truncated in tensor '%s': %d bytes expected at %" PRIu64 ", %d found",
                        path, name, count, offset + at, got);
        at += (size_t)count;
    }
    return STATUS_OK;
}

bool mpi_file_write(MPI_File handle, uint64_t offset, const void *data, size_t bytes, int *code)
{
    *code = MPI_SUCCESS;
    for (size_t at = 0; at < bytes;) {
        int count = (int)(bytes - at < MESSAGE_BYTES ? bytes - at : MESSAGE_BYTES), written = 0;
        MPI_Status report;
        *code = MPI_File_write_at(handle, (MPI_Offset)(offset + at), (const char *)data + at, count,
                                  MPI_BYTE, &report);
        if (*code == MPI_SUCCESS) MPI_Get_count(&report, MPI_BYTE, &written);
        if (*code != MPI_SUCCESS || written != count) return false;
        at += (size_t)count;
    }
    return true;
}
