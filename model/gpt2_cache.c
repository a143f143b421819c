/* Keys and values of the positions so far, and attention to them. */
#include "kernels/kernels.h"
#include "model/gpt2_internal.h"

#include <stdlib.h>

/* The heads of a block's keys or values, each [max][C / NH]. */
static bool half_bytes(const gpt2 *g, size_t *bytes)
{
    size_t row =
        g->config.n_embd * (g->shape.precision == DTYPE_BF16 ? sizeof(bf16) : sizeof(float));
    return memory_product(bytes, row, g->shape.length);
}

size_t gpt2_cache_bytes(const gpt2 *model)
{
    size_t half, bytes;
    return half_bytes(model, &half) && memory_product(&bytes, half, 2 * model->config.n_layer)
               ? bytes
               : SIZE_MAX;
}

status gpt2_cache_open(gpt2_cache **cache, const gpt2 *model)
{
    *cache = NULL;
    gpt2_cache *c = calloc(1, sizeof *c);
    if (!c) return fail(STATUS_NOMEM, "memory for a cache");
    c->max = model->shape.length;
    size_t bytes = gpt2_cache_bytes(model);
    half_bytes(model, &c->half);
    status result = arena_open(&c->arena, "keys and values", bytes);
    if (result) {
        free(c);
        return result;
    }
    c->base = arena_take(&c->arena, bytes);
    *cache = c;
    return STATUS_OK;
}

void gpt2_cache_close(gpt2_cache **cache)
{
    if (!*cache) return;
    arena_close(&(*cache)->arena);
    free(*cache);
    *cache = NULL;
}

void gpt2_cache_clear(gpt2_cache *cache)
{
    cache->length = 0;
}

/* From an empty cache the whole prompt's attention is that of any sequence, in tiles. */
void gpt2_cache_attend(gpt2 *g, size_t l, const forward_pass *pass)
{
    const gpt2_cache *c = pass->cache;
    const block_saved *s = &g->blocks[l];
    dtype type = g->shape.precision;
    size_t C = g->config.n_embd, NH = g->config.n_head;
    char *keys = c->base + 2 * l * c->half, *values = keys + c->half;
    attention_store(keys, values, s->qkv, type, c->length, pass->length, c->max, C, NH);
    if (c->length == 0)
        attention_forward(s->att, s->lse, s->qkv, type, 1, pass->length, C, NH, 0.0, pass->key, 0,
                          g->work);
    else
        attention_cached(s->att, keys, values, s->qkv, type, c->length, pass->length, c->max, C, NH,
                         g->work);
}
