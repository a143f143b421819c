/* libarchive unpacks. */
#include "io/files/unpack.h"

#include <archive.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 19 };

struct unpacker {
    const char *path;
    struct archive *in;
    int fd;
    bool ended;
    uint64_t offset;
};

static status unpack_failed(const unpacker *u)
{
    const char *why = archive_error_string(u->in);
    return fail(STATUS_INPUT, "%s: byte %" PRIu64 " of the unpacked file: whole data expected: %s",
                u->path, u->offset, why ? why : "cannot be read");
}

static status begin(unpacker *u)
{
    struct archive_entry *entry;
    if (!u->in) return fail(STATUS_NOMEM, "memory to read %s", u->path);
    archive_read_support_filter_gzip(u->in);
    archive_read_support_filter_xz(u->in);
    archive_read_support_filter_zstd(u->in);
    archive_read_support_format_raw(u->in);
    archive_read_support_format_empty(u->in);
    if (archive_read_open_fd(u->in, u->fd, BLOCK_BYTES) != ARCHIVE_OK) return unpack_failed(u);
    int found = archive_read_next_header(u->in, &entry);
    u->ended = found == ARCHIVE_EOF;
    return found == ARCHIVE_OK || u->ended ? STATUS_OK : unpack_failed(u);
}

status unpacker_open(unpacker **out, const char *path, const char *what)
{
    unpacker *u = *out = calloc(1, sizeof *u);
    if (!u) return fail(STATUS_NOMEM, "memory to read %s", path);
    u->path = path;
    status result = file_open(&u->fd, NULL, path, what);
    if (!result) u->in = archive_read_new();
    if (!result) result = begin(u);
    if (result) unpacker_close(out);
    return result;
}

status unpacker_read(unpacker *u, void *data, size_t bytes, size_t *count)
{
    *count = 0;
    while (*count < bytes && !u->ended) {
        ssize_t n = archive_read_data(u->in, (char *)data + *count, bytes - *count);
        if (n < 0) return unpack_failed(u);
        *count += (size_t)n;
        u->offset += (uint64_t)n;
        u->ended = n == 0;
    }
    return STATUS_OK;
}

void unpacker_close(unpacker **u)
{
    if (!*u) return;
    archive_read_free((*u)->in);
    if ((*u)->fd >= 0) close((*u)->fd);
    free(*u);
    *u = NULL;
}

/* Gives back the pages behind `used` bytes of a mapping. */
static void trim(void *data, size_t bytes, size_t used)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), kept = (used + page - 1) / page * page;
    if (kept < bytes) munmap((char *)data + kept, bytes - kept);
}

/* Pages that no byte comes to are never touched. */
status unpack_file(file_mapping *m, const char *path, const char *what, size_t bytes)
{
    unpacker *u;
    size_t count = 0;
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *m = (file_mapping){0};
    if (data == MAP_FAILED)
        return fail(STATUS_NOMEM, "%zu bytes of memory to unpack %s", bytes, path);
    status result = unpacker_open(&u, path, what);
    if (!result) result = unpacker_read(u, data, bytes, &count);
    unpacker_close(&u);
    if (result) count = 0;
    trim(data, bytes, count);
    if (count) *m = (file_mapping){data, count};
    return result;
}
