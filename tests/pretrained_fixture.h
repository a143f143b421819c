/** Models as others store them: files whose values follow from their place, and what an import of
 * them must give. */
#ifndef VARIO_TESTS_PRETRAINED_FIXTURE_H
#define VARIO_TESTS_PRETRAINED_FIXTURE_H

#include "checkpoint_fixture.h"
#include "io/checkpoints/safetensors.h"
#include "io/weights/pretrained.h"
#include "kernels/kernels.h"

#include <xxhash.h>

typedef enum { AS_F32, AS_F16, AS_BF16 } stored;

/* The patterns of binary16 that are finite, of both signs, in turn: 1940 weights see all exponents.
 */
static inline uint16_t half_bits(size_t index)
{
    return (uint16_t)(index * 37 % 0x7c00 | (index % 2) << 15);
}

/* The same by the definition: (-1)^s 2^(e-15) (1 + f/1024), and without the 1 where e is 0. */
static inline float half_value(uint16_t bits)
{
    int e = bits >> 10 & 31;
    double f = (bits & 1023) / 1024.0, x = e ? (1.0 + f) * pow(2.0, e - 15) : f * pow(2.0, -14);
    return (float)(bits >> 15 ? -x : x);
}

static inline float stored_value(stored as, size_t index)
{
    float value = value_of(5, 0, index);
    return as == AS_F32   ? value
           : as == AS_F16 ? half_value(half_bits(index))
                          : bf16_to_float(bf16_from_float(value));
}

static inline void put_value(FILE *out, stored as, size_t index, bool zero)
{
    float value = zero ? 0.0F : stored_value(as, index);
    bf16 half = zero ? 0 : as == AS_F16 ? half_bits(index) : bf16_from_float(value);
    if (as == AS_F32)
        fwrite(&value, sizeof value, 1, out);
    else
        fwrite(&half, sizeof half, 1, out);
}

static inline bool is_bias(const tensor *x)
{
    return strcmp(strrchr(x->name, '.'), ".bias") == 0;
}

/* What a file is to hold: the tensors i of p with i mod of = part. */
typedef struct {
    size_t part, of;
    stored as;
    const char *prefix, *more; /* before names; one more entry of the header, with its offsets to
                                  fill in */
    bool no_biases, zero_biases;
    size_t more_bytes; /* of its data */
} plan;

/* An output layer behind the others, with wte's values. */
typedef struct {
    stored as;
    size_t columns;
    float added; /* to its last value */
} output_layer;

static inline bool is_in(const plan *b, const parameters *p, size_t i)
{
    return i % b->of == b->part && !(b->no_biases && is_bias(&p->tensors[i]));
}

static inline content build_with(const parameters *p, plan b, const output_layer *head)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    content c = {0};
    FILE *out = open_memstream(&c.bytes, &c.size);
    size_t begin = 0, width = b.as == AS_F32 ? 4 : 2;
    fprintf(out, "12345678{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *x = &p->tensors[i];
        if (!is_in(&b, p, i)) continue;
        fprintf(out, ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%zu", b.prefix ? b.prefix : "",
                x->name, names[b.as], x->shape[0]);
        if (x->dimensions == 2) fprintf(out, ",%zu", x->shape[1]);
        fprintf(out, "],\"data_offsets\":[%zu,%zu]}", begin, begin + width * x->count);
        begin += width * x->count;
    }
    if (b.more) fprintf(out, b.more, begin, begin + b.more_bytes);
    const tensor *wte = &p->tensors[0];
    if (head)
        fprintf(out,
                ",\"%slm_head.weight\":{\"dtype\":\"%s\",\"shape\":[%zu,%zu],\"data_offsets\":"
                "[%zu,%zu]}",
                b.prefix ? b.prefix : "", names[head->as], wte->shape[0], head->columns, begin,
                begin + (head->as == AS_F32 ? 4 : 2) * wte->count);
    fprintf(out, "}");
    fflush(out);
    uint64_t length = c.size - 8;
    for (size_t i = 0; i < p->tensor_count; i++)
        for (size_t e = 0; is_in(&b, p, i) && e < p->tensors[i].count; e++)
            put_value(out, b.as, p->tensors[i].index + e, b.zero_biases && is_bias(&p->tensors[i]));
    for (size_t i = 0; i < b.more_bytes; i++) { /* the first ones again */
        fflush(out);
        fputc(c.bytes[8 + length + i], out);
    }
    for (size_t e = 0; head && e < wte->count; e++) {
        float value = stored_value(b.as, e) + (e + 1 == wte->count ? head->added : 0.0F);
        if (head->as == AS_F32)
            fwrite(&value, sizeof value, 1, out);
        else
            put_value(out, head->as, e, false);
    }
    fclose(out);
    for (int i = 0; i < 8; i++) c.bytes[i] = (char)(length >> 8 * i & 0xff);
    return c;
}

static inline content build(const parameters *p, plan b)
{
    return build_with(p, b, NULL);
}

/* Rank 0 writes a file of the folder; the others wait. */
static inline void put(const setup *t, const char *name, const char *bytes, size_t size)
{
    char path[2 * PATH_LENGTH];
    bool stored_it = world.rank != 0 || store(in(path, "%s/%s", t->run, name), bytes, size);
    cr_assert(everywhere(stored_it));
}

static inline void put_built_with(const setup *t, const parameters *p, const char *name, plan b,
                                  const output_layer *head)
{
    content c = build_with(p, b, head);
    put(t, name, c.bytes, c.size);
    free(c.bytes);
}

static inline void put_built(const setup *t, const parameters *p, const char *name, plan b)
{
    put_built_with(t, p, name, b, NULL);
}

static inline void put_text(const setup *t, const char *name, const char *text)
{
    put(t, name, text, strlen(text));
}

static inline status import(setup *t, const gpt2_config *config, const char *path,
                            uint64_t *checksum)
{
    pretrained *w;
    const model_config of = {.kind = MODEL_GPT2, .gpt2 = *config};
    clear_values(t);
    status result = pretrained_open(&w, world.world, path, &of);
    if (!result) result = pretrained_load(w, &t->arrays[0], t->s.owned, t->s.owned_count, checksum);
    pretrained_close(&w);
    return result;
}

/* Values by the numbers of the elements in `numbers`, whose tensors are those of t->p or more. */
static inline bool holds(const setup *t, const parameters *numbers, stored as, bool zero_biases)
{
    for (size_t i = 0; i < t->s.owned_count; i++) {
        const slice *s = &t->s.owned[i];
        const tensor *x = &t->p.tensors[s->tensor];
        size_t index = numbers->tensors[parameters_find(numbers, x->name)].index + s->first;
        for (size_t e = 0; e < s->count; e++) {
            float expected = zero_biases && is_bias(x) ? 0.0F : stored_value(as, index + e);
            if (memcmp(&t->arrays[0].values[s->offset + e], &expected, sizeof expected) != 0)
                return false;
        }
    }
    return true;
}

/* As one process has it, of whole tensors. */
static inline uint64_t whole_checksum(const parameters *p, stored as)
{
    uint64_t sums[p->tensor_count];
    float *values = malloc(p->count * sizeof *values);
    for (size_t i = 0; i < p->count; i++) values[i] = stored_value(as, i);
    for (size_t i = 0; i < p->tensor_count; i++) {
        const slice whole = {.tensor = i, .count = p->tensors[i].count};
        sums[i] = safetensors_checksum(p, &whole, values + p->tensors[i].index);
    }
    free(values);
    return XXH3_64bits(sums, sizeof sums);
}

static inline void must_import(setup *t, const char *path, stored as, const char *what)
{
    uint64_t checksum = 0;
    status result = import(t, &small, path, &checksum);
    cr_assert(everywhere(result == STATUS_OK), "%s: %s", what, status_message());
    cr_assert(everywhere(holds(t, &t->p, as, false)), "%s: other values", what);
    cr_assert(everywhere(checksum == whole_checksum(&t->p, as)), "%s: another checksum", what);
}

static inline void must_not_import(setup *t, const gpt2_config *config, const char *path,
                                   const char *name, const char *words)
{
    uint64_t checksum;
    status result = import(t, config, path, &checksum);
    cr_assert(everywhere(result == STATUS_INPUT && strstr(status_message(), t->run) &&
                         strstr(status_message(), name) && strstr(status_message(), words)),
              "'%s' and '%s' expected in: %s", name, words, status_message());
    status_clear();
}

#endif
