/* Rank 0 finds the tensors, all ranks read them: in the types in which they are stored, into the
 * values themselves. */
#include "io/weights/pretrained.h"

#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "io/files/foreign.h"
#include "io/weights/config_json.h"
#include "io/weights/pretrained_parts.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PART = 1 << 22 /* elements that are read at once */ };

struct pretrained {
    MPI_Comm comm;
    int rank, size;
    parameters p;         /* of the model */
    parameters all;       /* with the biases that the weights may have */
    size_t *in_all;       /* [p.tensor_count] each tensor's number in `all` */
    stored_tensor *found; /* [all.tensor_count + 1], the last of the output layer */
    size_t wte;           /* its number in `all` */
    stored_files files;
    int *descriptors; /* [files.count] */
    size_t opened;
    uint64_t *sums; /* [p.tensor_count] this rank's part */
};

static void join(char path[PRETRAINED_PATH], const char *directory, const char *name)
{
    snprintf(path, PRETRAINED_PATH, "%.3900s/%s", directory, name);
}

/* Heads leave no trace in shapes, and neither does what is computed. */
static status check_config(const char *path, const gpt2_config *expected)
{
    char config[PRETRAINED_PATH];
    gpt2_config c;
    join(config, path, "config.json");
    if (access(config, F_OK) != 0) return STATUS_OK;
    status result = config_json_read(&c, config);
    if (result || c.n_head == expected->n_head) return result;
    return fail(STATUS_INPUT, "%s: 'n_head' is %zu, %zu expected as in the model", config, c.n_head,
                expected->n_head);
}

/* Whether weights have biases is seen where they are: those of block 0's first norm. */
static status look_for_biases(gpt2_config *c, const char *path)
{
    parameters p;
    gpt2_config biased = *c;
    biased.bias = true;
    stored_files files = {0};
    status result = gpt2_parameters(&p, &biased);
    if (result) return result;
    stored_tensor *found = calloc(p.tensor_count + 1, sizeof *found);
    result = found ? stored_find_safetensors(found, &files, path, &p, true)
                   : fail(STATUS_NOMEM, "memory for the places of %zu tensors", p.tensor_count);
    size_t first = parameters_find(&p, "h.0.ln_1.bias");
    if (!result && found[first].type == STORED_NOWHERE) c->bias = false;
    free(found);
    free(files.paths);
    parameters_close(&p);
    return result;
}

/* Any other file is neither of the two. */
static status refuse_file(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode)) return STATUS_OK;
    if (foreign_refuse(path)) return STATUS_INPUT;
    return fail(STATUS_INPUT,
                "%s: a directory with model.safetensors, or a checkpoint of llm.c, expected, a "
                "file of something else found",
                path);
}

status pretrained_model(gpt2_config *c, const char *path)
{
    char config[PRETRAINED_PATH];
    if (stored_is_llmc(path)) return stored_llmc_model(c, path);
    status result = refuse_file(path);
    if (result) return result;
    join(config, path, "config.json");
    result = config_json_read(c, config);
    return result ? result : look_for_biases(c, path);
}

static status find(pretrained *w, const char *path, const model_config *config)
{
    if (config->kind != MODEL_GPT2)
        return stored_find_safetensors(w->found, &w->files, path, &w->all, false);
    if (stored_is_llmc(path))
        return stored_find_llmc(w->found, &w->files, path, &w->all, &config->gpt2);
    status result = refuse_file(path);
    if (!result) result = check_config(path, &config->gpt2);
    return result ? result : stored_find_safetensors(w->found, &w->files, path, &w->all, true);
}

static status open_tables(pretrained *w, const model_config *config)
{
    model_config biased = *config;
    if (config->kind == MODEL_GPT2) biased.gpt2.bias = true;
    status result = model_parameters(&w->p, config);
    if (!result) result = model_parameters(&w->all, &biased);
    if (result) return result;
    w->in_all = calloc(w->p.tensor_count, sizeof *w->in_all);
    w->sums = calloc(w->p.tensor_count, sizeof *w->sums);
    w->found = calloc(w->all.tensor_count + 1, sizeof *w->found);
    w->wte = parameters_find(&w->all, "wte.weight");
    if (!w->in_all || !w->sums || !w->found)
        return fail(STATUS_NOMEM, "memory for the places of %zu tensors", w->all.tensor_count);
    for (size_t i = 0; i < w->p.tensor_count; i++)
        w->in_all[i] = parameters_find(&w->all, w->p.tensors[i].name);
    return STATUS_OK;
}

/* What rank 0 found. */
static status share(pretrained *w)
{
    unsigned long files = w->files.count;
    MPI_Bcast(&files, 1, MPI_UNSIGNED_LONG, 0, w->comm);
    w->files.count = files;
    if (w->rank != 0) w->files.paths = calloc(files, sizeof *w->files.paths);
    w->descriptors = calloc(files, sizeof *w->descriptors);
    bool enough = w->files.paths && w->descriptors;
    status result =
        agree(w->comm, enough ? STATUS_OK : fail(STATUS_NOMEM, "memory for %lu files", files));
    if (result) return result;
    MPI_Bcast(w->files.paths, (int)(files * sizeof *w->files.paths), MPI_BYTE, 0, w->comm);
    MPI_Bcast(w->found, (int)((w->all.tensor_count + 1) * sizeof *w->found), MPI_BYTE, 0, w->comm);
    return STATUS_OK;
}

static status open_files(pretrained *w)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < w->files.count; i++) {
        result = file_open(&w->descriptors[i], NULL, w->files.paths[i], "a file of weights");
        if (!result) w->opened++;
    }
    return result;
}

static status pretrained_open_local(pretrained *w, const char *path, const model_config *config)
{
    status result = agree(w->comm, open_tables(w, config));
    if (!result) result = agree(w->comm, w->rank == 0 ? find(w, path, config) : STATUS_OK);
    if (!result) result = share(w);
    return result ? result : agree(w->comm, open_files(w));
}

status pretrained_open(pretrained **out, MPI_Comm comm, const char *path,
                       const model_config *config)
{
    *out = NULL;
    pretrained *w = calloc(1, sizeof *w);
    status result = agree(comm, w ? STATUS_OK : fail(STATUS_NOMEM, "memory to read weights"));
    if (result) {
        free(w);
        return result;
    }
    w->comm = comm;
    MPI_Comm_rank(comm, &w->rank);
    MPI_Comm_size(comm, &w->size);
    result = pretrained_open_local(w, path, config);
    if (result) pretrained_close(&w);
    *out = w;
    return result;
}

void pretrained_close(pretrained **out)
{
    pretrained *w = *out;
    if (!w) return;
    for (size_t i = 0; i < w->opened; i++) data_file_close(&w->descriptors[i], false);
    free(w->descriptors);
    free(w->files.paths);
    free(w->found);
    free(w->sums);
    free(w->in_all);
    parameters_close(&w->all);
    parameters_close(&w->p);
    free(w);
    *out = NULL;
}

/* IEEE 754's binary16, exactly: 5 bits of exponent, 10 of fraction. */
static float half_to_float(uint16_t h)
{
    int exponent = h >> 10 & 0x1f;
    float fraction = (float)(h & 0x3ff), value;
    if (exponent == 0x1f)
        value = fraction > 0.0F ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf(fraction, -24);
    else
        value = ldexpf(fraction + 1024.0F, exponent - 25);
    return h & 0x8000 ? -value : value;
}

static float value_of(const void *at, stored_type type)
{
    float value;
    uint16_t half;
    if (type == STORED_F32) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&half, at, sizeof half);
    return type == STORED_F16 ? half_to_float(half) : bf16_to_float(half);
}

/* Halves are read into the end of their floats and widened from the front, so that none is
 * overwritten before it is read. */
static status read_straight(const pretrained *w, const stored_tensor *s, const tensor *t,
                            size_t first, size_t count, float *values)
{
    size_t bytes = count * stored_bytes(s->type);
    char *end = (char *)(values + count) - bytes;
    status result = data_file_read(w->descriptors[s->file], w->files.paths[s->file], t->name,
                                   s->offset + first * stored_bytes(s->type), end, bytes);
    for (size_t e = 0; !result && s->type != STORED_F32 && e < count; e++)
        values[e] = value_of(end + e * stored_bytes(s->type), s->type);
    return result;
}

/* A band of rows is a band of columns in the file, where each of our columns is a row. */
static status read_turned(const pretrained *w, const stored_tensor *s, const tensor *t,
                          size_t first, size_t count, float *values)
{
    size_t rows = t->shape[0], columns = t->shape[1], width = stored_bytes(s->type);
    size_t begin = first / columns, end = (first + count - 1) / columns + 1;
    char *band = malloc((end - begin) * width);
    if (!band) return fail(STATUS_NOMEM, "memory for %zu rows of a tensor", end - begin);
    status result = STATUS_OK;
    for (size_t c = 0; !result && c < columns; c++) {
        result =
            data_file_read(w->descriptors[s->file], w->files.paths[s->file], t->name,
                           s->offset + (c * rows + begin) * width, band, (end - begin) * width);
        for (size_t r = begin; !result && r < end; r++) {
            size_t at = r * columns + c;
            if (at >= first && at < first + count)
                values[at - first] = value_of(band + (r - begin) * width, s->type);
        }
    }
    free(band);
    return result;
}

static status refuse_infinite(const pretrained *w, const stored_tensor *s, const tensor *t,
                              size_t first, size_t count, const float *values)
{
    for (size_t e = 0; e < count; e++)
        if (!isfinite(values[e]))
            return fail(STATUS_INPUT,
                        "%s: tensor '%s': element %zu is %g, a finite weight expected",
                        w->files.paths[s->file], t->name, first + e, (double)values[e]);
    return STATUS_OK;
}

/* Tensors are numbered as in `all`. */
static status read_values(const pretrained *w, size_t number, size_t first, size_t count,
                          float *values)
{
    const stored_tensor *s = &w->found[number];
    const tensor *t = &w->all.tensors[number];
    if (s->type == STORED_NOWHERE) {
        memset(values, 0, count * sizeof *values);
        return STATUS_OK;
    }
    status result = s->transposed ? read_turned(w, s, t, first, count, values)
                                  : read_straight(w, s, t, first, count, values);
    return result ? result : refuse_infinite(w, s, t, first, count, values);
}

/* An output layer beside wte is this model's when it holds the same values. */
static status check_head(const pretrained *w, const slice *part, const float *values)
{
    enum { CHUNK = 1 << 14 };
    const stored_tensor *s = &w->found[w->all.tensor_count];
    tensor head = w->all.tensors[w->wte];
    float chunk[CHUNK];
    strcpy(head.name, STORED_HEAD);
    status result = STATUS_OK;
    for (size_t at = 0; !result && at < part->count; at += CHUNK) {
        size_t n = part->count - at < CHUNK ? part->count - at : CHUNK;
        result = read_straight(w, s, &head, part->first + at, n, chunk);
        for (size_t e = 0; !result && e < n; e++)
            if (!(chunk[e] == values[at + e]))
                result = fail(STATUS_INPUT,
                              "%s: tensor '" STORED_HEAD "': element %zu is %g, %g expected as in "
                              "wte.weight, which this model's output layer is tied to",
                              w->files.paths[s->file], part->first + at + e, (double)chunk[e],
                              (double)values[at + e]);
    }
    return result;
}

status pretrained_read(pretrained *w, const slice *part, float *values)
{
    size_t number = w->in_all[part->tensor];
    status result = read_values(w, number, part->first, part->count, values);
    if (!result && number == w->wte && w->found[w->all.tensor_count].type != STORED_NOWHERE)
        result = check_head(w, part, values);
    if (!result) w->sums[part->tensor] += safetensors_checksum(&w->p, part, values);
    return result;
}

static status refuse_bias(const pretrained *w, size_t number)
{
    const stored_tensor *s = &w->found[number];
    const tensor *t = &w->all.tensors[number];
    float *values = malloc(t->count * sizeof *values);
    if (!values) return fail(STATUS_NOMEM, "memory for tensor '%s'", t->name);
    status result = read_values(w, number, 0, t->count, values);
    for (size_t e = 0; !result && e < t->count; e++)
        if (values[e] != 0.0F)
            result = fail(STATUS_INPUT,
                          "%s: tensor '%s' found, which this model does not have, and not all of "
                          "it is 0: model.bias true expected",
                          w->files.paths[s->file], t->name);
    free(values);
    return result;
}

/* Biases that the model lacks, dealt out to the ranks. */
static status refuse_biases(const pretrained *w)
{
    status result = STATUS_OK;
    for (size_t k = 0, i = 0; !result && k < w->all.tensor_count; k++) {
        if (i < w->p.tensor_count && w->in_all[i] == k)
            i++;
        else if (k % (size_t)w->size == (size_t)w->rank)
            result = refuse_bias(w, k);
    }
    return result;
}

status pretrained_finish(pretrained *w, uint64_t *checksum)
{
    status result = agree(w->comm, refuse_biases(w));
    if (result) return result;
    MPI_Allreduce(MPI_IN_PLACE, w->sums, (int)w->p.tensor_count, MPI_UINT64_T, MPI_SUM, w->comm);
    *checksum = XXH3_64bits(w->sums, w->p.tensor_count * sizeof *w->sums);
    return STATUS_OK;
}

static status load_slice(pretrained *w, const slice *whole, float *values)
{
    status result = STATUS_OK;
    for (size_t at = 0; !result && at < whole->count;) {
        slice part = safetensors_part(&w->p, whole, at, PART);
        result = pretrained_read(w, &part, values + at);
        at += part.count;
    }
    return result;
}

status pretrained_load(pretrained *w, const saved_array *into, const slice *slices,
                       size_t slice_count, uint64_t *checksum)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < slice_count; i++)
        result = load_slice(w, &slices[i], safetensors_values(into, &w->p, &slices[i]));
    result = agree(w->comm, result);
    return result ? result : pretrained_finish(w, checksum);
}
