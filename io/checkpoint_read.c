/* Reading: a checkpoint counts only when all of it is as it was written. */
#include "io/agree.h"
#include "io/checkpoint.h"
#include "io/checkpoint_list.h"
#include "io/checkpoint_state.h"
#include "io/mpi_file.h"
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

enum { PATH_SIZE = 4096, SCRATCH = 1 << 18 /* elements */ };

typedef struct {
    MPI_Comm comm;
    int rank;
    const parameters *p;
    const checkpoint_array *arrays;
    size_t array_count;
    const slice *slices;
    size_t slice_count;
    float *scratch;             /* [SCRATCH] for what is only verified */
    uint64_t *expected, *found; /* [array_count][tensor_count] checksums */
} reading;

/* A file of another size than expected: where it ends, in the user's terms. */
static status wrong_size(const reading *r, const char *path, const safetensors_header *h,
                         size_t first, uint64_t found, uint64_t expected)
{
    const char *prefix = "", *name = "";
    if (found >= h->size && found < expected) {
        uint64_t element = (found - h->size) / sizeof(float);
        size_t i = r->p->tensor_count - 1;
        while (r->p->tensors[i].index > element % r->p->count) i--;
        prefix = r->arrays[first + element / r->p->count].prefix;
        name = r->p->tensors[i].name;
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
    uint64_t bytes = safetensors_offset(h, r->p, end - first, 0);
    struct stat info;
    status result = STATUS_OK;
    char *found = malloc(h->size);
    FILE *file = fopen(path, "rb");
    if (!found)
        result = fail(STATUS_NOMEM, "memory to read the header of %s", path);
    else if (!file || fstat(fileno(file), &info) != 0)
        result = fail(STATUS_INPUT, "%s: %s", path, strerror(errno));
    else if ((uint64_t)info.st_size != bytes)
        result = wrong_size(r, path, h, first, (uint64_t)info.st_size, bytes);
    else if (fread(found, 1, h->size, file) != h->size || memcmp(found, h->bytes, h->size) != 0)
        result = fail(STATUS_INPUT,
                      "%s: the header is altered, or of another model: names and shapes of this "
                      "model expected",
                      path);
    free(found);
    if (file) fclose(file);
    return result;
}

static status read_part(reading *r, MPI_File handle, const char *path, uint64_t offset,
                        const slice *part, float *values, uint64_t *sum)
{
    status result = mpi_file_read(handle, path, r->p->tensors[part->tensor].name, offset, values,
                                  part->count * sizeof(float));
    if (!result) *sum += safetensors_checksum(r->p, part, values);
    return result;
}

/* The slice as a whole, or where nobody wants its values part by part. */
static status read_slice(reading *r, MPI_File handle, const char *path, uint64_t offset,
                         const slice *whole, float *values, uint64_t *sum)
{
    if (values) return read_part(r, handle, path, offset, whole, values, sum);
    status result = STATUS_OK;
    for (size_t at = 0; !result && at < whole->count;) {
        slice part = safetensors_part(r->p, whole, at, SCRATCH);
        result = read_part(r, handle, path, offset + at * sizeof(float), &part, r->scratch, sum);
        at += part.count;
    }
    return result;
}

static status read_slices(reading *r, MPI_File handle, const char *path,
                          const safetensors_header *h, size_t first, size_t end)
{
    status result = STATUS_OK;
    for (size_t a = first; a < end; a++)
        for (size_t i = 0; !result && i < r->slice_count; i++) {
            const slice *s = &r->slices[i];
            uint64_t index = r->p->tensors[s->tensor].index + s->first;
            const checkpoint_array *array = &r->arrays[a];
            float *values = array->values ? safetensors_values(array, r->p, s) : NULL;
            result = read_slice(r, handle, path, safetensors_offset(h, r->p, a - first, index), s,
                                values, &r->found[a * r->p->tensor_count + s->tensor]);
        }
    return result;
}

static status read_file(reading *r, const char *directory, size_t first, size_t end)
{
    char path[PATH_SIZE];
    safetensors_header h;
    MPI_File handle;
    snprintf(path, sizeof path, "%s/%s", directory, r->arrays[first].file);
    status result = safetensors_make(&h, r->p, r->arrays, first, end);
    if (!result && r->rank == 0) result = check_header(r, path, &h, first, end);
    result = agree(r->comm, result);
    if (!result) {
        result = mpi_file_open(&handle, path);
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
                 .scratch = malloc(SCRATCH * sizeof(float)),
                 .expected = calloc(sums, sizeof(uint64_t)),
                 .found = calloc(sums, sizeof(uint64_t))};
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

static status wrong_shape(const char *path, const tensor *t, json_t *shape)
{
    char expected[64];
    if (t->dimensions == 2)
        snprintf(expected, sizeof expected, "[%zu, %zu]", t->shape[0], t->shape[1]);
    else
        snprintf(expected, sizeof expected, "[%zu]", t->shape[0]);
    char *found = shape ? json_dumps(shape, 0) : NULL;
    status result = fail(STATUS_INPUT, "%s: tensor '%s': shape %s expected, %.200s found", path,
                         t->name, expected, found ? found : "none");
    free(found);
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
    if (!fits) return wrong_shape(path, t, shape);
    uint64_t begin = (uint64_t)json_integer_value(json_array_get(at, 0));
    uint64_t end = (uint64_t)json_integer_value(json_array_get(at, 1));
    if (begin > end || end - begin != t->count * sizeof(float))
        return fail(STATUS_INPUT,
                    "%s: tensor '%s': %zu bytes of data expected, offsets %" PRIu64 " to %" PRIu64
                    " found",
                    path, t->name, t->count * sizeof(float), begin, end);
    if (end > size - data)
        return fail(STATUS_INPUT,
                    "%s: truncated in tensor '%s': %" PRIu64 " bytes expected, %" PRIu64 " found",
                    path, t->name, data + end, size);
    *offset = data + begin;
    return STATUS_OK;
}

/* A tensor that this model has not: it would be another model without it. The tied output layer
 * and the masks that PyTorch's GPT-2 saved as buffers are no loss. */
static status refuse_others(json_t *root, const char *path, const parameters *p)
{
    static const char prefix[] = "transformer.";
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const char *name = key;
        if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
        size_t length = strlen(name), i = 0;
        bool mask = (length > 10 && strcmp(name + length - 10, ".attn.bias") == 0) ||
                    (length > 17 && strcmp(name + length - 17, ".attn.masked_bias") == 0);
        if (mask || strcmp(key, "__metadata__") == 0 || strcmp(name, "lm_head.weight") == 0)
            continue;
        while (i < p->tensor_count && strcmp(p->tensors[i].name, name) != 0) i++;
        if (i == p->tensor_count)
            return fail(STATUS_INPUT, "%s: tensor '%.200s' found, which this model does not have",
                        path, key);
    }
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
    if (!result) result = refuse_others(root, path, p);
    json_decref(root);
    free(text);
    fclose(file);
    return result;
}

status checkpoint_import(MPI_Comm comm, const char *directory, const parameters *p,
                         const checkpoint_array *into, const slice *slices, size_t slice_count)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    uint64_t *offsets = calloc(p->tensor_count, sizeof *offsets);
    MPI_File handle;
    status result = offsets ? find_tensors(path, p, offsets)
                            : fail(STATUS_NOMEM, "memory for %zu offsets", p->tensor_count);
    if (!result) result = mpi_file_open(&handle, path);
    if (!result) {
        for (size_t i = 0; !result && i < slice_count; i++)
            result = mpi_file_read(handle, path, p->tensors[slices[i].tensor].name,
                                   offsets[slices[i].tensor] + slices[i].first * sizeof(float),
                                   safetensors_values(into, p, &slices[i]),
                                   slices[i].count * sizeof(float));
        MPI_File_close(&handle);
    }
    free(offsets);
    return agree(comm, result);
}
