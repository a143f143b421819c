/* Reading: a checkpoint counts only when all of it is as it was written. */
#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_list.h"
#include "io/checkpoints/checkpoint_state.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "runtime/agree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, SCRATCH = 1 << 18 /* elements */ };

typedef struct {
    MPI_Comm comm;
    int rank;
    const parameters *p;
    const saved_array *arrays;
    size_t array_count;
    const slice *slices;
    size_t slice_count;
    float *scratch; /* [SCRATCH] for what is only verified */
    size_t first_sum[SAVED_ARRAYS + 1];
    uint64_t *expected, *found; /* checksums of every array's tensors */
} reading;

static const parameters *tensors_of(const reading *r, size_t array)
{
    return safetensors_tensors(&r->arrays[array], r->p);
}

/* A file of another size than expected: where it ends, in the user's terms. */
static status wrong_size(const reading *r, const char *path, const safetensors_header *h,
                         size_t first, uint64_t found, uint64_t expected)
{
    const char *prefix = "", *name = "";
    if (found >= h->size && found < expected) {
        uint64_t element = (found - h->size) / sizeof(float);
        const parameters *p = tensors_of(r, first);
        for (; element >= p->count; p = tensors_of(r, ++first)) element -= p->count;
        size_t i = p->tensor_count - 1;
        while (p->tensors[i].index > element) i--;
        prefix = r->arrays[first].prefix;
        name = p->tensors[i].name;
    }
    return fail(STATUS_INPUT,
                "%s: %" PRIu64 " bytes found, %" PRIu64 " expected: %s%s%s%s, or of another model",
                path, found, expected,
                *name              ? "truncated in tensor '"
                : found < expected ? "truncated in the header"
                                   : "altered",
                prefix, name, *name ? "'" : "");
}

/* Rank 0: size and header are those of this model, to the byte. */
static status check_header(const reading *r, const char *path, const safetensors_header *h,
                           size_t first, size_t end)
{
    uint64_t bytes = safetensors_offset(h, r->p, r->arrays, first, end, 0), size = 0;
    FILE *file = NULL;
    char *found = malloc(h->size);
    status result = found ? file_open_stream(&file, &size, path, "a checkpoint's file")
                          : fail(STATUS_NOMEM, "memory to read the header of %s", path);
    if (!result && size != bytes) result = wrong_size(r, path, h, first, size, bytes);
    if (!result &&
        (fread(found, 1, h->size, file) != h->size || memcmp(found, h->bytes, h->size) != 0))
        result = fail(STATUS_INPUT,
                      "%s: the header is altered, or of another model: names and shapes of this "
                      "model expected",
                      path);
    free(found);
    if (file) fclose(file);
    return result;
}

static status read_part(const parameters *p, int fd, const char *path, uint64_t offset,
                        const slice *part, float *values, uint64_t *sum)
{
    status result = data_file_read(fd, path, p->tensors[part->tensor].name, offset, values,
                                   part->count * sizeof(float));
    if (!result) *sum += safetensors_checksum(p, part, values);
    return result;
}

/* The slice as a whole, or where nobody wants its values part by part. */
static status read_slice(reading *r, const parameters *p, int fd, const char *path, uint64_t offset,
                         const slice *whole, float *values, uint64_t *sum)
{
    if (values) return read_part(p, fd, path, offset, whole, values, sum);
    status result = STATUS_OK;
    for (size_t at = 0; !result && at < whole->count;) {
        slice part = safetensors_part(p, whole, at, SCRATCH);
        result = read_part(p, fd, path, offset + at * sizeof(float), &part, r->scratch, sum);
        at += part.count;
    }
    return result;
}

static status read_slices(reading *r, int fd, const char *path, const safetensors_header *h,
                          size_t first, size_t end)
{
    status result = STATUS_OK;
    for (size_t a = first; a < end; a++) {
        const saved_array *array = &r->arrays[a];
        const parameters *p = tensors_of(r, a);
        const slice *slices = array->set ? array->set->slices : r->slices;
        size_t count = array->set ? array->set->count : r->slice_count;
        for (size_t i = 0; !result && i < count; i++) {
            const slice *s = &slices[i];
            uint64_t index = p->tensors[s->tensor].index + s->first;
            float *values = array->values ? safetensors_values(array, p, s) : NULL;
            result =
                read_slice(r, p, fd, path, safetensors_offset(h, r->p, r->arrays, first, a, index),
                           s, values, &r->found[r->first_sum[a] + s->tensor]);
        }
    }
    return result;
}

static status read_file(reading *r, const char *directory, size_t first, size_t end)
{
    char path[PATH_SIZE];
    safetensors_header h;
    int fd;
    snprintf(path, sizeof path, "%s/%s", directory, r->arrays[first].file);
    status result = safetensors_make(&h, r->p, r->arrays, first, end);
    if (!result && r->rank == 0) result = check_header(r, path, &h, first, end);
    result = agree(r->comm, result);
    if (!result) {
        result = file_open(&fd, NULL, path, "a checkpoint's file");
        if (!result) result = read_slices(r, fd, path, &h, first, end);
        data_file_close(&fd, false);
        result = agree(r->comm, result);
    }
    free(h.bytes);
    return result;
}

static status compare_sums(const reading *r, const char *directory)
{
    for (size_t a = 0; a < r->array_count; a++)
        for (size_t i = r->first_sum[a]; i < r->first_sum[a + 1]; i++)
            if (r->found[i] != r->expected[i])
                return fail(STATUS_INPUT,
                            "%s/%s: tensor '%s%s' is altered: checksum %016" PRIx64
                            " expected, %016" PRIx64 " found",
                            directory, r->arrays[a].file, r->arrays[a].prefix,
                            tensors_of(r, a)->tensors[i - r->first_sum[a]].name, r->expected[i],
                            r->found[i]);
    return STATUS_OK;
}

static status read_directory(reading *r, const char *directory, checkpoint_facts *facts)
{
    size_t sums = r->first_sum[r->array_count];
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

/* Rank 0's list, known to all; the caller frees it, also after a failure. */
static status list_steps(const reading *r, const char *run, uint64_t **steps, size_t *count)
{
    unsigned long found = 0;
    *steps = NULL;
    *count = 0;
    status result = agree(r->comm, r->rank == 0 ? checkpoint_list(steps, count, run) : STATUS_OK);
    if (result) return result;
    found = *count;
    MPI_Bcast(&found, 1, MPI_UNSIGNED_LONG, 0, r->comm);
    *count = found;
    if (r->rank != 0) *steps = calloc(*count + 1, sizeof **steps);
    result = agree(r->comm, *steps || r->rank == 0
                                ? STATUS_OK
                                : fail(STATUS_NOMEM, "memory to list %zu checkpoints", *count));
    if (!result) MPI_Bcast(*steps, (int)*count, MPI_UINT64_T, 0, r->comm);
    return result;
}

/* run may itself be a checkpoint. */
static status read_only(reading *r, const char *run, checkpoint_facts *facts, char *path,
                        size_t path_size)
{
    char state[PATH_SIZE];
    snprintf(state, sizeof state, "%s/state.json", run);
    status result = STATUS_OK;
    if (r->rank == 0 && access(state, F_OK) != 0)
        result = fail(STATUS_INPUT,
                      "%s: no checkpoint found (a run with step-* directories, or one of these, "
                      "expected)",
                      run);
    result = agree(r->comm, result);
    if (result) return result;
    snprintf(path, path_size, "%s", run);
    return read_directory(r, path, facts);
}

static status read_newest(reading *r, const char *run, checkpoint_facts *facts, char *path,
                          size_t path_size)
{
    uint64_t *steps;
    size_t count;
    status result = list_steps(r, run, &steps, &count);
    if (!result && count == 0) result = read_only(r, run, facts, path, path_size);
    for (size_t i = 0; !result && i < count; i++) {
        snprintf(path, path_size, "%s/step-%08" PRIu64, run, steps[i]);
        result = read_directory(r, path, facts);
        if (!result || result == STATUS_NOMEM || i + 1 == count) break;
        if (r->rank == 0)
            status_warn("%s; step-%08" PRIu64 " is tried", status_message(), steps[i + 1]);
        status_clear();
        result = STATUS_OK;
    }
    free(steps);
    return result;
}

status checkpoint_read(MPI_Comm comm, const char *run, const parameters *p,
                       const saved_array *arrays, size_t array_count, const slice *slices,
                       size_t slice_count, checkpoint_facts *facts, char *path, size_t path_size)
{
    reading r = {.comm = comm,
                 .p = p,
                 .arrays = arrays,
                 .array_count = array_count,
                 .slices = slices,
                 .slice_count = slice_count};
    for (size_t a = 0; a < array_count; a++)
        r.first_sum[a + 1] = r.first_sum[a] + tensors_of(&r, a)->tensor_count;
    r.scratch = malloc(SCRATCH * sizeof(float));
    r.expected = calloc(r.first_sum[array_count] + 1, sizeof *r.expected);
    r.found = calloc(r.first_sum[array_count] + 1, sizeof *r.found);
    MPI_Comm_rank(comm, &r.rank);
    bool enough = r.scratch && r.expected && r.found;
    status result =
        agree(comm, enough ? STATUS_OK : fail(STATUS_NOMEM, "memory to read a checkpoint"));
    if (!result) result = read_newest(&r, run, facts, path, path_size);
    free(r.scratch);
    free(r.expected);
    free(r.found);
    return result;
}
