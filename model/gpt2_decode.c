/* Decoding with a key-value cache: a position's keys and values depend on nothing that follows, so
 * a text that grows by one token needs one row of everything else. */
#include "kernels/kernels.h"
#include "model/gpt2_internal.h"

#include <assert.h>

void gpt2_decode(gpt2 *model, const model_hooks *hooks, gpt2_cache *cache, const uint16_t *tokens,
                 size_t length, float *logits)
{
    gpt2 *g = model;
    size_t C = g->config.n_embd, rows = length - cache->length;
    assert(length > cache->length && length <= cache->max);
    forward_pass pass = {.sequences = 1, .length = rows, .cache = cache};
    const void *first = gpt2_forward(g, hooks, tokens + cache->length, &pass).first;
    gemv(g->config.vocab_size, C, gpt2_act_row(g, g->final, rows - 1, C),
         gpt2_embeddings(g, first, 0), C, true, logits, g->shape.precision, DTYPE_F32, NULL);
    cache->length = length;
}
