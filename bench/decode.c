/* The model on plain buffers: no trainer, no ranks. */
#include "bench/decode.h"

#include "base/memory.h"
#include "kernels/kernels.h"
#include "optimizer/optimizer.h"

#include <omp.h>
#include <stdlib.h>

enum { TOKENS = 64, LENGTH_MAX = 1024 };

typedef struct {
    parameters p;
    layout l;
    arena weights, staging;
    char **units; /* [unit_count] */
    gpt2 *model;
    gpt2_cache *cache;
} decoder;

static const void *give_weights(void *context, size_t unit_number)
{
    return ((decoder *)context)->units[unit_number];
}

static size_t layout_bytes(const decoder *d)
{
    size_t bytes = 0;
    for (size_t u = 0; u < d->p.unit_count; u++) bytes += d->l.unit_bytes[u];
    return bytes;
}

static void fill_weights(decoder *d)
{
    float *drawn = (float *)(void *)d->staging.base;
    for (size_t u = 0; u < d->p.unit_count; u++)
        d->units[u] = arena_take(&d->weights, d->l.unit_bytes[u]);
    for (size_t i = 0; i < d->p.tensor_count; i++) {
        const tensor *t = &d->p.tensors[i];
        initial_weights(drawn, t->init_mean, t->init_deviation, 1, t->index, t->count);
        convert(d->units[t->unit] + d->l.tensor_offset[i],
                t->dimensions == 2 ? d->l.matrix_type : DTYPE_F32, drawn, DTYPE_F32, t->count);
    }
}

static status open_decoder(decoder *d, const gpt2_config *config, dtype type)
{
    model_shape shape = {.sequences = 1, .length = config->block_size, .precision = type};
    *d = (decoder){0};
    status result = gpt2_parameters(&d->p, config);
    if (!result) result = layout_open(&d->l, &d->p, type);
    if (!result) result = gpt2_open(&d->model, config, &shape);
    if (!result) result = gpt2_cache_open(&d->cache, d->model);
    if (!result) result = arena_open(&d->weights, "weights", layout_bytes(d));
    size_t max = config->vocab_size * config->n_embd;
    if (!result) result = arena_open(&d->staging, "initial weights", max * sizeof(float));
    d->units = calloc(d->p.unit_count + 1, sizeof *d->units);
    if (!result && !d->units) result = fail(STATUS_NOMEM, "memory for %zu units", d->p.unit_count);
    if (!result) fill_weights(d);
    return result;
}

static void close_decoder(decoder *d)
{
    gpt2_cache_close(&d->cache);
    gpt2_close(&d->model);
    arena_close(&d->weights);
    arena_close(&d->staging);
    free(d->units);
    layout_close(&d->l);
    parameters_close(&d->p);
}

static double read_seconds(const arena *a)
{
    const uint64_t *words = (const uint64_t *)(const void *)a->base;
    uint64_t sum = 0;
    double start = omp_get_wtime();
#pragma omp parallel for simd schedule(static) reduction(^ : sum)
    for (size_t i = 0; i < a->capacity / sizeof *words; i++) sum ^= words[i];
    double seconds = omp_get_wtime() - start;
    return sum == 1 ? seconds + 1e-12 : seconds; /* the sum is used */
}

status bench_decode(report *r, const gpt2_config *config, dtype type)
{
    static uint16_t tokens[LENGTH_MAX];
    decoder d;
    size_t half = config->block_size / 2;
    model_hooks hooks = {.context = &d, .weights = give_weights};
    float *logits = malloc(config->vocab_size * sizeof *logits);
    status result = open_decoder(&d, config, type);
    if (!result && !logits) result = fail(STATUS_NOMEM, "memory for logits");
    if (!result) {
        double times[TOKENS], reads[TOKENS], element = type == DTYPE_BF16 ? 2.0 : 4.0;
        for (size_t i = 0; i < LENGTH_MAX; i++) tokens[i] = (uint16_t)(i * 7919 % 50000);
        gpt2_decode(d.model, &hooks, d.cache, tokens, half, logits);
        for (size_t i = 0; i < TOKENS; i++) {
            double start = omp_get_wtime();
            gpt2_decode(d.model, &hooks, d.cache, tokens, half + 1 + i, logits);
            times[i] = omp_get_wtime() - start;
            reads[i] = read_seconds(&d.weights);
        }
        double C = (double)config->n_embd, weights = (double)d.weights.capacity;
        double read = weights - (double)config->block_size * C * element +
                      2.0 * (double)config->n_layer * C * element * (double)(half + TOKENS / 2);
        report_add(r, "generation from a cache, tokens/s at batch 1",
                   1.0 / report_median(times, TOKENS), "1/s",
                   weights / read / report_median(reads, TOKENS));
    }
    close_decoder(&d);
    free(logits);
    return result;
}
