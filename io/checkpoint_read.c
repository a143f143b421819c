/* Reading: a checkpoint counts only when all of it is as it was written. */
#include "io/agree.h"
#include "io/checkpoint.h"
#include "io/checkpoint_state.h"
#include "io/file.h"
#include "io/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, MESSAGE_BYTES = 1 << 30, CANDIDATES = 1024 };

typedef struct {
    MPI_Comm comm;
    int rank;
    const parameters *p;
    const checkpoint_array *arrays;
    size_t array_count;
    const slice *slices;
    size_t slice_count;
    uint64_t *expected, *found; /* [array_count][tensor_count] checksums */
} reading;

static bool is_step(const char *name)
{
    return strncmp(name, "step-", 5) == 0 && strspn(name + 5, "0123456789") == strlen(name + 5) &&
           name[5];
}

bool checkpoint_exists(const char *run)
{
    DIR *directory = opendir(run);
    if (!directory) return false;
    bool there = false;
    for (struct dirent *e = readdir(directory); e && !there; e = readdir(directory))
        there = is_step(e->d_name);
    closedir(directory);
    return there;
}

static status read_at(MPI_File handle, const char *path, uint64_t offset, void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        int count = (int)(bytes - at < MESSAGE_BYTES ? bytes - at : MESSAGE_BYTES), got = 0;
        MPI_Status report;
        int code = MPI_File_read_at(handle, (MPI_Offset)(offset + at), (char *)data + at, count,
                                    MPI_BYTE, &report);
        if (code == MPI_SUCCESS) MPI_Get_count(&report, MPI_BYTE, &got);
        if (code != MPI_SUCCESS || got != count)
            return fail(STATUS_INPUT, "%s: truncated: %d bytes expected at %" PRIu64 ", %d found",
                        path, count, offset + at, got);
        at += (size_t)count;
    }
    return STATUS_OK;
}

static status open_file(MPI_File *handle, const char *path)
{
    int code = MPI_File_open(MPI_COMM_SELF, path, MPI_MODE_RDONLY, MPI_INFO_NULL, handle);
    if (code == MPI_SUCCESS) return STATUS_OK;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(code, text, &length);
    return fail(STATUS_INPUT, "%s: cannot be opened: %.200s", path, text);
}

/* Rank 0: size and header are those of this model, to the byte. */
static status check_header(const char *path, const safetensors_header *h, uint64_t bytes)
{
    struct stat info;
    if (stat(path, &info) != 0) return fail(STATUS_INPUT, "%s: %s", path, strerror(errno));
    if ((uint64_t)info.st_size != bytes)
        return fail(STATUS_INPUT,
                    "%s: %lld bytes found, %" PRIu64 " expected (%s, or of another model)", path,
                    (long long)info.st_size, bytes,
                    (uint64_t)info.st_size < bytes ? "truncated" : "altered");
    FILE *file = fopen(path, "rb");
    char *found = malloc(h->size);
    bool same = file && found && fread(found, 1, h->size, file) == h->size &&
                memcmp(found, h->bytes, h->size) == 0;
    free(found);
    if (file) fclose(file);
    return same ? STATUS_OK
                : fail(STATUS_INPUT,
                       "%s: the header is altered, or of another model: names and shapes of this "
                       "model expected",
                       path);
}

static status read_slices(reading *r, MPI_File handle, const char *path,
                          const safetensors_header *h, size_t first, size_t end)
{
    for (size_t a = first; a < end; a++)
        for (size_t i = 0; i < r->slice_count; i++) {
            const slice *s = &r->slices[i];
            float *values = r->arrays[a].values + s->offset;
            uint64_t index = r->p->tensors[s->tensor].index + s->first;
            status result = read_at(handle, path, safetensors_offset(h, r->p, a - first, index),
                                    values, s->count * sizeof(float));
            if (result) return result;
            r->found[a * r->p->tensor_count + s->tensor] += safetensors_checksum(r->p, s, values);
        }
    return STATUS_OK;
}

static status read_file(reading *r, const char *directory, size_t first, size_t end)
{
    char path[PATH_SIZE];
    safetensors_header h;
    MPI_File handle;
    snprintf(path, sizeof path, "%s/%s", directory, r->arrays[first].file);
    status result = safetensors_make(&h, r->p, r->arrays, first, end);
    if (!result && r->rank == 0)
        result = check_header(path, &h, safetensors_offset(&h, r->p, end - first, 0));
    result = agree(r->comm, result);
    if (!result) {
        result = open_file(&handle, path);
        if (!result) {
            result = read_slices(r, handle, path, &h, first, end);
            MPI_File_close(&handle);
        }
        result = agree(r->comm, result);
    }
    free(h.bytes);
    return result;
}

static status compare_sums(const reading *r, const char *directory)
{
    size_t tensors = r->p->tensor_count;
    for (size_t i = 0; i < r->array_count * tensors; i++)
        if (r->found[i] != r->expected[i])
            return fail(STATUS_INPUT,
                        "%s/%s: tensor '%s%s' is altered: checksum %016" PRIx64
                        " expected, %016" PRIx64 " found",
                        directory, r->arrays[i / tensors].file, r->arrays[i / tensors].prefix,
                        r->p->tensors[i % tensors].name, r->expected[i], r->found[i]);
    return STATUS_OK;
}

static status read_directory(reading *r, const char *directory, checkpoint_facts *facts)
{
    size_t sums = r->array_count * r->p->tensor_count;
    memset(r->found, 0, sums * sizeof *r->found);
    status result = r->rank == 0 ? checkpoint_state_read(directory, facts, r->p, r->arrays,
                                                         r->array_count, r->expected)
                                 : STATUS_OK;
    result = agree(r->comm, result);
    if (result) return result;
    MPI_Bcast(facts, (int)sizeof *facts, MPI_BYTE, 0, r->comm);
    MPI_Bcast(r->expected, (int)sums, MPI_UINT64_T, 0, r->comm);
    for (size_t a = 0, end; !result && a < r->array_count; a = end) {
        end = safetensors_group(r->arrays, r->array_count, a);
        result = read_file(r, directory, a, end);
    }
    if (result) return result;
    MPI_Allreduce(MPI_IN_PLACE, r->found, (int)sums, MPI_UINT64_T, MPI_SUM, r->comm);
    return compare_sums(r, directory);
}

static int newest_first(const void *a, const void *b)
{
    return -strcmp(a, b);
}

typedef char candidate[32];

/* Rank 0's list, known to all. @return how many */
static size_t list_steps(const reading *r, const char *run, candidate *names)
{
    unsigned long count = 0;
    DIR *directory = r->rank == 0 ? opendir(run) : NULL;
    if (directory) {
        for (struct dirent *e = readdir(directory); e && count < CANDIDATES; e = readdir(directory))
            if (is_step(e->d_name) && strlen(e->d_name) < sizeof *names)
                strcpy(names[count++], e->d_name);
        closedir(directory);
        qsort(names, count, sizeof *names, newest_first);
    }
    MPI_Bcast(&count, 1, MPI_UNSIGNED_LONG, 0, r->comm);
    MPI_Bcast(names, CANDIDATES * (int)sizeof *names, MPI_BYTE, 0, r->comm);
    return count;
}

static status read_newest(reading *r, const char *run, candidate *names, checkpoint_facts *facts,
                          char *path, size_t path_size)
{
    size_t count = list_steps(r, run, names);
    if (count == 0) {
        snprintf(path, path_size, "%s", run);
        return read_directory(r, path, facts);
    }
    for (size_t i = 0; i < count; i++) {
        snprintf(path, path_size, "%s/%s", run, names[i]);
        status result = read_directory(r, path, facts);
        if (result != STATUS_INPUT || i + 1 == count) return result;
        if (r->rank == 0)
            fprintf(stderr, "vario: warning: %s; %s is used\n", status_message(), names[i + 1]);
        status_clear();
    }
    return STATUS_OK;
}

status checkpoint_read(MPI_Comm comm, const char *run, const parameters *p,
                       const checkpoint_array *arrays, size_t array_count, const slice *slices,
                       size_t slice_count, checkpoint_facts *facts, char *path, size_t path_size)
{
    size_t sums = array_count * p->tensor_count;
    reading r = {.comm = comm,
                 .p = p,
                 .arrays = arrays,
                 .array_count = array_count,
                 .slices = slices,
                 .slice_count = slice_count,
                 .expected = calloc(sums, sizeof(uint64_t)),
                 .found = calloc(sums, sizeof(uint64_t))};
    candidate *names = calloc(CANDIDATES, sizeof *names);
    MPI_Comm_rank(comm, &r.rank);
    bool enough = r.expected && r.found && names;
    status result =
        agree(comm, enough ? STATUS_OK : fail(STATUS_NOMEM, "memory to read a checkpoint"));
    if (!result) result = read_newest(&r, run, names, facts, path, path_size);
    free(names);
    free(r.expected);
    free(r.found);
    return result;
}

/* Where a foreign file keeps a tensor: offset of its data, after checks of type and shape. */
static status find_tensor(json_t *root, const char *path, const tensor *t, uint64_t data,
                          uint64_t size, uint64_t *offset)
{
    char prefixed[96];
    snprintf(prefixed, sizeof prefixed, "transformer.%s", t->name);
    json_t *entry = json_object_get(root, t->name);
    if (!entry) entry = json_object_get(root, prefixed);
    if (!entry) return fail(STATUS_INPUT, "%s: tensor '%s' expected, not found", path, t->name);
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    if (!type || strcmp(type, "F32") != 0)
        return fail(STATUS_INPUT, "%s: tensor '%s': dtype F32 expected, %s found", path, t->name,
                    type ? type : "none");
    json_t *shape = json_object_get(entry, "shape"), *at = json_object_get(entry, "data_offsets");
    bool fits = json_array_size(shape) == (size_t)t->dimensions;
    for (size_t d = 0; fits && d < (size_t)t->dimensions; d++)
        fits = (size_t)json_integer_value(json_array_get(shape, d)) == t->shape[d];
    if (!fits)
        return fail(STATUS_INPUT, "%s: tensor '%s': shape (%zu, %zu) expected, another found", path,
                    t->name, t->shape[0], t->shape[1]);
    uint64_t begin = (uint64_t)json_integer_value(json_array_get(at, 0));
    uint64_t end = (uint64_t)json_integer_value(json_array_get(at, 1));
    if (end - begin != t->count * sizeof(float) || end > size - data)
        return fail(STATUS_INPUT, "%s: tensor '%s': data outside of the file found", path, t->name);
    *offset = data + begin;
    return STATUS_OK;
}

static status find_tensors(const char *path, const parameters *p, uint64_t *offsets)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0) {
        if (file) fclose(file);
        return fail(STATUS_INPUT, "%s: %s", path, strerror(errno));
    }
    unsigned char head[8] = {0};
    uint64_t length = 0, size = (uint64_t)info.st_size;
    bool whole = fread(head, 1, 8, file) == 8;
    for (int i = 0; i < 8; i++) length |= (uint64_t)head[i] << 8 * i;
    whole = whole && length <= size - 8 && length < (64U << 20);
    char *text = whole ? malloc((size_t)length) : NULL;
    json_t *root = text && fread(text, 1, (size_t)length, file) == length
                       ? json_loadb(text, (size_t)length, 0, NULL)
                       : NULL;
    status result =
        root ? STATUS_OK : fail(STATUS_INPUT, "%s: a safetensors header expected", path);
    for (size_t i = 0; !result && i < p->tensor_count; i++)
        result = find_tensor(root, path, &p->tensors[i], 8 + length, size, &offsets[i]);
    json_decref(root);
    free(text);
    fclose(file);
    return result;
}

status checkpoint_import(MPI_Comm comm, const char *directory, const parameters *p, float *values,
                         const slice *slices, size_t slice_count)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    uint64_t *offsets = calloc(p->tensor_count, sizeof *offsets);
    MPI_File handle;
    status result = offsets ? find_tensors(path, p, offsets)
                            : fail(STATUS_NOMEM, "memory for %zu offsets", p->tensor_count);
    if (!result) result = open_file(&handle, path);
    if (!result) {
        for (size_t i = 0; !result && i < slice_count; i++)
            result =
                read_at(handle, path, offsets[slices[i].tensor] + slices[i].first * sizeof(float),
                        values + slices[i].offset, slices[i].count * sizeof(float));
        MPI_File_close(&handle);
    }
    free(offsets);
    return agree(comm, result);
}
