/* Headers, offsets, checksums. */
#include "io/checkpoints/safetensors.h"

#include <inttypes.h>
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

static void print_tensor(FILE *out, const tensor *t, const char *prefix, uint64_t begin)
{
    fprintf(out, ",\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%zu", prefix, t->name, t->shape[0]);
    for (int d = 1; d < t->dimensions; d++) fprintf(out, ",%zu", t->shape[d]);
    fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin,
            begin + (uint64_t)t->count * sizeof(float));
}

status safetensors_make(safetensors_header *h, const parameters *p, const saved_array *arrays,
                        size_t first, size_t end)
{
    const safetensors_header none = {0}; /* offsets there are counted from the data's beginning */
    *h = none;
    FILE *out = open_memstream(&h->bytes, &h->size);
    if (!out) return fail(STATUS_NOMEM, "memory for the header of %s", arrays[first].file);
    fwrite("\0\0\0\0\0\0\0\0", 1, 8, out);
    fprintf(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t a = first; a < end; a++) {
        const parameters *own = safetensors_tensors(&arrays[a], p);
        for (size_t i = 0; i < own->tensor_count; i++)
            print_tensor(out, &own->tensors[i], arrays[a].prefix,
                         safetensors_offset(&none, p, arrays, first, a, own->tensors[i].index));
    }
    fputc('}', out);
    for (long at = ftell(out); at % 8; at++) fputc(' ', out);
    if (fclose(out) != 0) {
        free(h->bytes);
        h->bytes = NULL;
        return fail(STATUS_NOMEM, "memory for the header of %s", arrays[first].file);
    }
    uint64_t length = h->size - 8;
    for (int i = 0; i < 8; i++) h->bytes[i] = (char)(length >> 8 * i & 0xff);
    return STATUS_OK;
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
