/* Where weights, gradients and activations lie. */
#include "model/gpt2_internal.h"

size_t gpt2_act_bytes(const gpt2 *g)
{
    return g->shape.precision == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
}

size_t gpt2_tensor(const gpt2 *g, size_t unit_number, size_t which, bool bias)
{
    size_t first = g->p.units[unit_number].first;
    return g->config.bias ? first + 2 * which + bias : first + which;
}

const void *gpt2_weight(const gpt2 *g, const void *buffer, size_t unit_number, size_t which)
{
    return (const char *)buffer +
           g->weights_layout.tensor_offset[gpt2_tensor(g, unit_number, which, false)];
}

const float *gpt2_bias(const gpt2 *g, const void *buffer, size_t unit_number, size_t which)
{
    if (!g->config.bias) return NULL;
    size_t i = gpt2_tensor(g, unit_number, which, true);
    return (const float *)(const void *)((const char *)buffer + g->weights_layout.tensor_offset[i]);
}

float *gpt2_gradient(const gpt2 *g, float *buffer, size_t tensor_at)
{
    return buffer + g->gradients_layout.tensor_offset[tensor_at] / sizeof(float);
}

float *gpt2_weight_grad(const gpt2 *g, float *buffer, size_t unit_number, size_t which)
{
    return gpt2_gradient(g, buffer, gpt2_tensor(g, unit_number, which, false));
}

float *gpt2_bias_grad(const gpt2 *g, float *buffer, size_t unit_number, size_t which)
{
    return g->config.bias ? gpt2_gradient(g, buffer, gpt2_tensor(g, unit_number, which, true))
                          : NULL;
}

size_t gpt2_rows(const gpt2 *g)
{
    return g->shape.sequences * g->shape.length;
}

uint64_t gpt2_dropout_index(const gpt2 *g, size_t block, dropout_site site)
{
    uint64_t stream = (uint64_t)gpt2_rows(g) * g->config.n_embd;
    uint64_t attention = (uint64_t)gpt2_rows(g) * g->config.n_head * g->shape.length;
    uint64_t start = stream + block * (attention + 2 * stream);
    switch (site) {
    case SITE_ATTENTION: return start;
    case SITE_ATTENTION_PROJECTION: return start + attention;
    case SITE_MLP_PROJECTION: break;
    }
    return start + attention + stream;
}

const void *gpt2_embeddings(const gpt2 *g, const void *buffer, size_t which)
{
    return (const char *)buffer + g->weights_layout.tensor_offset[which];
}

const void *gpt2_act_row(const gpt2 *g, const void *values, size_t row, size_t columns)
{
    return (const char *)values + row * columns * gpt2_act_bytes(g);
}
