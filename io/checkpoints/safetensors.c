/* Headers, offsets, checksums. */
#include "io/checkpoints/safetensors.h"

#include "io/files/json_text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

size_t safetensors_group(const saved_array *arrays, size_t count, size_t first)
{
    size_t end = first + 1;
    while (end < count && strcmp(arrays[end].file, arrays[first].file) == 0) end++;
    return end;
}

static json_t *tensor_json(const tensor *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (int d = 0; d < t->dimensions; d++)
        json_text_add(&shape, json_integer((json_int_t)t->shape[d]));
    uint64_t end = begin + (uint64_t)t->count * sizeof(float);
    return json_pack("{ss so s[II]}", "dtype", "F32", "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static json_t *header_json(const parameters *p, const saved_array *arrays, size_t first, size_t end)
{
    const safetensors_header none = {0}; /* offsets there are counted from the data's beginning */
    json_t *header = json_pack("{s{ss}}", "__metadata__", "format", "pt");
    for (size_t a = first; a < end; a++) {
        const parameters *own = safetensors_tensors(&arrays[a], p);
        for (size_t i = 0; i < own->tensor_count; i++) {
            const tensor *t = &own->tensors[i];
            char key[SAVED_PREFIX + sizeof t->name];
            snprintf(key, sizeof key, "%s%s", arrays[a].prefix, t->name);
            uint64_t begin = safetensors_offset(&none, p, arrays, first, a, t->index);
            json_text_set(&header, key, tensor_json(t, begin));
        }
    }
    return header;
}

status safetensors_make(safetensors_header *h, const parameters *p, const saved_array *arrays,
                        size_t first, size_t end)
{
    *h = (safetensors_header){0};
    json_t *header = header_json(p, arrays, first, end);
    char *text = json_dumps(header, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0, padded = (length + 7) / 8 * 8;
    json_decref(header);
    h->bytes = text ? malloc(8 + padded) : NULL;
    if (h->bytes) {
        h->size = 8 + padded;
        for (int i = 0; i < 8; i++) h->bytes[i] = (char)((uint64_t)padded >> 8 * i & 0xff);
        memset(h->bytes + 8, ' ', padded);
        memcpy(h->bytes + 8, text, length);
    }
    free(text);
    return h->bytes ? STATUS_OK
                    : fail(STATUS_NOMEM, "memory for the header of %s", arrays[first].file);
}

uint64_t safetensors_offset(const safetensors_header *h, const parameters *p,
                            const saved_array *arrays, size_t first, size_t at, uint64_t index)
{
    for (size_t a = first; a < at; a++) index += safetensors_tensors(&arrays[a], p)->count;
    return h->size + index * sizeof(float);
}

slice safetensors_part(const parameters *p, const slice *whole, size_t at, size_t max)
{
    const tensor *t = &p->tensors[whole->tensor];
    size_t first = whole->first + at, left = whole->count - at;
    size_t in_unit = t->index - p->units[t->unit].index + first;
    size_t count = max - in_unit % PARAMETER_BLOCK;
    return (slice){.tensor = whole->tensor, .first = first, .count = count < left ? count : left};
}

float *safetensors_values(const saved_array *array, const parameters *p, const slice *part)
{
    return array->values +
           (array->whole ? p->tensors[part->tensor].index + part->first : part->offset);
}

uint64_t safetensors_checksum(const parameters *p, const slice *part, const float *values)
{
    const tensor *t = &p->tensors[part->tensor];
    size_t in_unit = t->index - p->units[t->unit].index; /* of the tensor's first element */
    uint64_t sum = 0;
    for (size_t at = part->first; at < part->first + part->count;) {
        size_t block_end = ((in_unit + at) / PARAMETER_BLOCK + 1) * PARAMETER_BLOCK - in_unit;
        size_t end = part->first + part->count;
        if (block_end < end) end = block_end;
        sum += XXH3_64bits_withSeed(values + (at - part->first), (end - at) * sizeof(float), at);
        at = end;
    }
    return sum;
}
