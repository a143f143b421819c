/* Safetensors of others: one file, or the shards that an index names. Rank 0 alone reads headers.
 */
#include "io/files/file.h"
#include "io/files/foreign.h"
#include "io/files/json_text.h"
#include "io/weights/pretrained_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_LIMIT = 100 << 20 /* the format's own */, INDEX_LIMIT = 64 << 20 };

static const char prefix[] = "transformer.";

typedef struct {
    stored_tensor *found;
    stored_files *files;
    const parameters *p;
    bool gpt;
    const char *directory;
    char index[PRETRAINED_PATH]; /* "" for one file */
    json_t *weight_map;          /* NULL for one file */
} finding;

/* What a file says of one tensor; names stand with or without the prefix. */
static json_t *entry_of(json_t *table, const char *name)
{
    char prefixed[96];
    snprintf(prefixed, sizeof prefixed, "%s%s", prefix, name);
    json_t *entry = json_object_get(table, name);
    return entry ? entry : json_object_get(table, prefixed);
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

static status read_type(stored_type *type, json_t *entry, const char *path, const tensor *t)
{
    static const char *const names[] = {
        [STORED_F32] = "F32", [STORED_F16] = "F16", [STORED_BF16] = "BF16"};
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    for (stored_type i = STORED_F32; name && i <= STORED_BF16; i++)
        if (strcmp(name, names[i]) == 0) {
            *type = i;
            return STATUS_OK;
        }
    return fail(STATUS_INPUT, "%s: tensor '%s': dtype F32, F16 or BF16 expected, %.40s found", path,
                t->name, name ? name : "none");
}

/* Where a file keeps a tensor: offset of its data, after checks of type and shape.
 * @param data  byte where the file's data begin
 * @param size  of the file */
static status read_entry(stored_tensor *found, json_t *entry, const char *path, const tensor *t,
                         uint64_t data, uint64_t size)
{
    status result = read_type(&found->type, entry, path, t);
    if (result) return result;
    json_t *shape = json_object_get(entry, "shape"), *at = json_object_get(entry, "data_offsets");
    bool fits = json_array_size(shape) == (size_t)t->dimensions;
    for (size_t d = 0; fits && d < (size_t)t->dimensions; d++)
        fits = (size_t)json_integer_value(json_array_get(shape, d)) == t->shape[d];
    if (!fits) return wrong_shape(path, t, shape);
    uint64_t begin = (uint64_t)json_integer_value(json_array_get(at, 0));
    uint64_t end = (uint64_t)json_integer_value(json_array_get(at, 1));
    size_t bytes = t->count * stored_bytes(found->type);
    if (begin > end || end - begin != bytes)
        return fail(STATUS_INPUT,
                    "%s: tensor '%s': %zu bytes of data expected, offsets %" PRIu64 " to %" PRIu64
                    " found",
                    path, t->name, bytes, begin, end);
    if (end > size - data)
        return fail(STATUS_INPUT,
                    "%s: truncated in tensor '%s': %" PRIu64 " bytes expected, %" PRIu64 " found",
                    path, t->name, data + end, size);
    found->offset = data + begin;
    return STATUS_OK;
}

/* A tensor that this model has not: it would be another model without it. The masks that PyTorch's
 * GPT-2 saved as buffers are no loss; the output layer is compared with wte when that is read. */
static status refuse_others(const finding *f, json_t *root, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const char *name = key;
        if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
        size_t length = strlen(name);
        bool mask = (length > 10 && strcmp(name + length - 10, ".attn.bias") == 0) ||
                    (length > 17 && strcmp(name + length - 17, ".attn.masked_bias") == 0);
        if (mask || strcmp(key, "__metadata__") == 0 || (f->gpt && strcmp(name, STORED_HEAD) == 0))
            continue;
        if (parameters_find(f->p, name) == f->p->tensor_count)
            return fail(STATUS_INPUT, "%s: tensor '%.200s' found, which this model does not have",
                        path, key);
    }
    return STATUS_OK;
}

/* Where a tensor's data lie, counted from where all of them begin. */
typedef struct {
    uint64_t begin, end;
    const char *name;
} range;

static int by_begin(const void *a, const void *b)
{
    const range *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static status read_ranges(range *ranges, size_t *count, json_t *root, const char *path)
{
    const char *key;
    json_t *entry;
    *count = 0;
    json_object_foreach(root, key, entry)
    {
        if (strcmp(key, "__metadata__") == 0) continue;
        json_t *at = json_object_get(entry, "data_offsets");
        json_t *begin = json_array_get(at, 0), *end = json_array_get(at, 1);
        if (json_array_size(at) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
            json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
            return fail(STATUS_INPUT,
                        "%s: tensor '%.200s': data_offsets of two whole numbers expected, the "
                        "first at most the second",
                        path, key);
        ranges[(*count)++] =
            (range){(uint64_t)json_integer_value(begin), (uint64_t)json_integer_value(end), key};
    }
    return STATUS_OK;
}

/* Each begins where the one before ends, and the last ends with the file. */
static status check_ranges(const range *ranges, size_t count, const char *path, uint64_t bytes)
{
    for (size_t i = 1; i < count; i++) {
        const range *a = &ranges[i - 1], *b = &ranges[i];
        if (a->end != b->begin)
            return fail(STATUS_INPUT,
                        "%s: tensors '%.200s' and '%.200s' %s: bytes %" PRIu64 " to %" PRIu64
                        " and %" PRIu64 " to %" PRIu64 " of the data found, the second where the "
                        "first ends expected",
                        path, a->name, b->name, a->end > b->begin ? "overlap" : "leave a hole",
                        a->begin, a->end, b->begin, b->end);
    }
    uint64_t first = count > 0 ? ranges[0].begin : 0, end = count > 0 ? ranges[count - 1].end : 0;
    if (first == 0 && end == bytes) return STATUS_OK;
    if (first > 0)
        return fail(STATUS_INPUT,
                    "%s: tensor '%.200s' begins at byte %" PRIu64 " of the data, the first one at "
                    "byte 0 expected",
                    path, ranges[0].name, first);
    return fail(STATUS_INPUT,
                "%s: %s'%.200s': the data expected to end with the last tensor at byte %" PRIu64
                ", %" PRIu64 " bytes found",
                path, end > bytes ? "truncated in tensor " : "more behind tensor ",
                count > 0 ? ranges[count - 1].name : "", end, bytes);
}

/* The data are the tensors' of the header, all of them and none twice, as the format has it. */
static status refuse_holes(json_t *root, const char *path, uint64_t bytes)
{
    size_t count;
    range *ranges = calloc(json_object_size(root) + 1, sizeof *ranges);
    if (!ranges) return fail(STATUS_NOMEM, "memory for the offsets of %s", path);
    status result = read_ranges(ranges, &count, root, path);
    qsort(ranges, count, sizeof *ranges, by_begin);
    if (!result) result = check_ranges(ranges, count, path, bytes);
    free(ranges);
    return result;
}

static status read_header(json_t **root, uint64_t *data, uint64_t *size, const char *path)
{
    FILE *file;
    *root = NULL;
    status result = file_open_stream(&file, size, path, "a file of weights");
    if (result) return result;
    unsigned char head[8] = {0};
    uint64_t length = 0;
    json_error_t error = {.text = ""};
    bool whole = fread(head, 1, 8, file) == 8;
    for (int i = 0; i < 8; i++) length |= (uint64_t)head[i] << 8 * i;
    whole = whole && length <= *size - 8 && length <= HEADER_LIMIT;
    char *text = whole ? malloc((size_t)length + 1) : NULL;
    if (text && fread(text, 1, (size_t)length, file) == length)
        *root = json_text_load(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    free(text);
    fclose(file);
    *data = 8 + length;
    if (json_is_object(*root)) return STATUS_OK;
    json_decref(*root);
    *root = NULL;
    if (foreign_refuse(path)) return STATUS_INPUT;
    return fail(STATUS_INPUT, "%s: a safetensors header expected, %s", path,
                *error.text ? error.text : "none found");
}

/* One tensor, where the file has it. */
static status search_tensor(finding *f, json_t *root, size_t number, stored_tensor *found,
                            const tensor *t, uint64_t data, uint64_t size)
{
    const char *path = f->files->paths[number];
    json_t *entry = entry_of(root, t->name);
    if (!entry) return STATUS_OK;
    if (found->type != STORED_NOWHERE)
        return fail(STATUS_INPUT, "%s: tensor '%s' found, which %s has too", path, t->name,
                    f->files->paths[found->file]);
    found->file = number;
    return read_entry(found, entry, path, t, data, size);
}

/* The tensors of one file. */
static status search_file(finding *f, size_t number)
{
    const parameters *p = f->p;
    const char *path = f->files->paths[number];
    json_t *root;
    uint64_t data = 0, size = 0;
    status result = read_header(&root, &data, &size, path);
    if (result) return result;
    for (size_t i = 0; !result && i < p->tensor_count; i++)
        result = search_tensor(f, root, number, &f->found[i], &p->tensors[i], data, size);
    if (!result && f->gpt) {
        tensor head = p->tensors[parameters_find(p, "wte.weight")];
        strcpy(head.name, STORED_HEAD);
        result = search_tensor(f, root, number, &f->found[p->tensor_count], &head, data, size);
    }
    if (!result) result = refuse_others(f, root, path);
    if (!result) result = refuse_holes(root, path, size - data);
    json_decref(root);
    return result;
}

static bool is_bias(const tensor *t)
{
    size_t length = strlen(t->name);
    return length > 5 && strcmp(t->name + length - 5, ".bias") == 0;
}

/* All are there, but for biases where no bias is. */
static status refuse_missing(const finding *f)
{
    bool any = !f->gpt;
    for (size_t i = 0; i < f->p->tensor_count; i++)
        any = any || (is_bias(&f->p->tensors[i]) && f->found[i].type != STORED_NOWHERE);
    for (size_t i = 0; i < f->p->tensor_count; i++) {
        const tensor *t = &f->p->tensors[i];
        if (f->found[i].type != STORED_NOWHERE || (!any && is_bias(t))) continue;
        const char *shard = json_string_value(entry_of(f->weight_map, t->name));
        if (shard)
            return fail(STATUS_INPUT, "%s/%s: tensor '%s' expected as %s says, not found",
                        f->directory, shard, t->name, f->index);
        return fail(STATUS_INPUT, "%s: tensor '%s' expected, not found",
                    f->weight_map ? f->index : f->files->paths[0], t->name);
    }
    return STATUS_OK;
}

static status add_file(finding *f, const char *name)
{
    char path[PRETRAINED_PATH];
    stored_files *files = f->files;
    snprintf(path, sizeof path, "%.3500s/%.500s", f->directory, name);
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->paths[i], path) == 0) return STATUS_OK;
    if (files->count == PRETRAINED_FILES)
        return fail(STATUS_INPUT, "%s: more than %d files found, at most that many expected",
                    f->index, PRETRAINED_FILES);
    void *grown = realloc(files->paths, (files->count + 1) * sizeof *files->paths);
    if (!grown) return fail(STATUS_NOMEM, "memory for the names of %zu files", files->count + 1);
    files->paths = grown;
    memcpy(files->paths[files->count++], path, sizeof path);
    return STATUS_OK;
}

/* A file beside the index, and nowhere else. */
static status add_shard(finding *f, const char *key, json_t *value)
{
    char path[PRETRAINED_PATH];
    const char *name = json_string_value(value);
    if (!name || !*name || strchr(name, '/'))
        return fail(STATUS_INPUT,
                    "%s: tensor '%.100s': the name of a file beside it expected, "
                    "'%.100s' found",
                    f->index, key, name ? name : "no text");
    snprintf(path, sizeof path, "%.3500s/%.500s", f->directory, name);
    if (access(path, F_OK) != 0)
        return fail(STATUS_INPUT, "%s: %s, and %s names it for tensor '%.100s'", path,
                    strerror(errno), f->index, key);
    return add_file(f, name);
}

static status read_index(finding *f)
{
    char *text;
    size_t size;
    const char *key;
    json_t *value;
    status result = file_read_text(&text, &size, f->index, INDEX_LIMIT);
    if (result) return result;
    json_error_t error = {.text = ""};
    json_t *root = json_text_load(text, size, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!root && foreign_refuse(f->index)) return STATUS_INPUT;
    f->weight_map = json_incref(json_object_get(root, "weight_map"));
    json_decref(root);
    if (!json_is_object(f->weight_map))
        return fail(STATUS_INPUT, "%s: a JSON object with 'weight_map' expected, %s", f->index,
                    *error.text ? error.text : "none found");
    json_object_foreach(f->weight_map, key, value)
    {
        if (!result) result = add_shard(f, key, value);
    }
    if (!result && f->files->count == 0)
        result = fail(STATUS_INPUT, "%s: 'weight_map' is empty, tensors expected", f->index);
    return result;
}

static status find_files(finding *f)
{
    char path[PRETRAINED_PATH];
    snprintf(path, sizeof path, "%.3900s/model.safetensors", f->directory);
    snprintf(f->index, sizeof f->index, "%.3900s/model.safetensors.index.json", f->directory);
    if (access(path, F_OK) != 0 && access(f->index, F_OK) == 0) return read_index(f);
    return add_file(f, "model.safetensors");
}

status stored_find_safetensors(stored_tensor *found, stored_files *files, const char *directory,
                               const parameters *p, bool gpt)
{
    finding f = {.found = found, .files = files, .p = p, .gpt = gpt, .directory = directory};
    status result = find_files(&f);
    for (size_t i = 0; !result && i < files->count; i++) result = search_file(&f, i);
    if (!result) result = refuse_missing(&f);
    json_decref(f.weight_map);
    return result;
}
