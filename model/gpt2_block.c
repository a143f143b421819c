/* One block, forward and backward side by side. */
#include "kernels/kernels.h"
#include "model/gpt2_internal.h"

#include <string.h>

/* out(N, O) = in(N, I) W + bias */
static void linear(gpt2 *g, const model_hooks *hooks, size_t N, void *out, const void *in,
                   const void *weights, size_t l, size_t which, size_t I, size_t O)
{
    dtype type = g->shape.precision;
    const void *weight = gpt2_weight(g, weights, 1 + l, which);
    const float *bias = gpt2_bias(g, weights, 1 + l, which);
    if (N == 1)
        gemv(O, I, in, weight, O, false, out, type, type, bias);
    else
        gemm(N, O, I, in, I, false, weight, O, false, out, O, type, type, bias, false);
    hooks_poll(hooks);
}

/* d_in(N, I) = d_out(N, O) W^T; dW = in^T d_out; dbias = column sums of d_out. */
static void linear_backward(gpt2 *g, const model_hooks *hooks, size_t N, void *d_in,
                            dtype d_in_type, const void *d_out, const void *in, const void *weights,
                            float *gradients, size_t l, size_t which, size_t I, size_t O)
{
    dtype type = g->shape.precision;
    float *d_bias = gpt2_bias_grad(g, gradients, 1 + l, which);
    hooks_layer(hooks, gpt2_tensor(g, 1 + l, which, false), N, in, d_out);
    weight_gradient(gpt2_weight_grad(g, gradients, 1 + l, which), in, d_out, type, g->work, N, I, O,
                    false);
    hooks_poll(hooks);
    if (d_bias) bias_backward(d_bias, d_out, type, g->work, N, O);
    gemm(N, I, O, d_out, O, false, gpt2_weight(g, weights, 1 + l, which), O, true, d_in, I, type,
         d_in_type, NULL, false);
    hooks_poll(hooks);
}

static void attention(gpt2 *g, size_t l, const forward_pass *pass)
{
    block_saved *s = &g->blocks[l];
    if (pass->cache)
        gpt2_cache_attend(g, l, pass);
    else
        attention_forward(s->att, s->lse, s->qkv, g->shape.precision, pass->sequences, pass->length,
                          g->config.n_embd, g->config.n_head, pass->drop, pass->key,
                          gpt2_dropout_index(g, l, SITE_ATTENTION), g->work);
}

void gpt2_block_forward(gpt2 *g, const model_hooks *hooks, size_t l, const void *weights,
                        float *out, const forward_pass *pass)
{
    block_saved *s = &g->blocks[l];
    dtype type = g->shape.precision;
    size_t C = g->config.n_embd, N = pass->sequences * pass->length;
    layernorm_forward(s->ln1, type, s->mean1, s->rstd1, s->in, gpt2_weight(g, weights, 1 + l, LN_1),
                      gpt2_bias(g, weights, 1 + l, LN_1), N, C);
    linear(g, hooks, N, s->qkv, s->ln1, weights, l, ATTN, C, 3 * C);
    attention(g, l, pass);
    hooks_poll(hooks);
    linear(g, hooks, N, g->projected, s->att, weights, l, ATTN_PROJ, C, C);
    residual_add(s->mid, s->in, g->projected, type, N * C, pass->drop, pass->key,
                 gpt2_dropout_index(g, l, SITE_ATTENTION_PROJECTION));
    layernorm_forward(s->ln2, type, s->mean2, s->rstd2, s->mid,
                      gpt2_weight(g, weights, 1 + l, LN_2), gpt2_bias(g, weights, 1 + l, LN_2), N,
                      C);
    linear(g, hooks, N, s->fc, s->ln2, weights, l, FC, C, 4 * C);
    gelu_forward(s->gelu, s->fc, type, N * 4 * C);
    if (!out) return;
    linear(g, hooks, N, g->projected, s->gelu, weights, l, FC_PROJ, 4 * C, C);
    residual_add(out, s->mid, g->projected, type, N * C, pass->drop, pass->key,
                 gpt2_dropout_index(g, l, SITE_MLP_PROJECTION));
}

static void norm_backward(gpt2 *g, size_t N, const void *weights, float *gradients, size_t l,
                          size_t which, const float *in, const float *mean, const float *rstd)
{
    layernorm_backward(g->d_residual, gpt2_weight_grad(g, gradients, 1 + l, which),
                       gpt2_bias_grad(g, gradients, 1 + l, which), g->d_norm, DTYPE_F32, in,
                       gpt2_weight(g, weights, 1 + l, which), mean, rstd, g->work, N,
                       g->config.n_embd);
}

void gpt2_block_backward(gpt2 *g, const model_hooks *hooks, size_t l, const void *weights,
                         float *gradients, const forward_pass *pass)
{
    const block_saved *s = &g->blocks[l];
    dtype type = g->shape.precision;
    size_t C = g->config.n_embd, N = pass->sequences * pass->length;
    residual_grad(g->dc, type, g->d_residual, N * C, pass->drop, pass->key,
                  gpt2_dropout_index(g, l, SITE_MLP_PROJECTION));
    linear_backward(g, hooks, N, g->d4, type, g->dc, s->gelu, weights, gradients, l, FC_PROJ, 4 * C,
                    C);
    gelu_backward(g->d4, g->d4, s->fc, type, N * 4 * C);
    linear_backward(g, hooks, N, g->d_norm, DTYPE_F32, g->d4, s->ln2, weights, gradients, l, FC, C,
                    4 * C);
    norm_backward(g, N, weights, gradients, l, LN_2, s->mid, s->mean2, s->rstd2);
    residual_grad(g->dc, type, g->d_residual, N * C, pass->drop, pass->key,
                  gpt2_dropout_index(g, l, SITE_ATTENTION_PROJECTION));
    linear_backward(g, hooks, N, g->da, type, g->dc, s->att, weights, gradients, l, ATTN_PROJ, C,
                    C);
    attention_backward(g->d3, g->da, s->qkv, s->att, s->lse, type, pass->sequences, pass->length, C,
                       g->config.n_head, pass->drop, pass->key,
                       gpt2_dropout_index(g, l, SITE_ATTENTION), g->work);
    hooks_poll(hooks);
    linear_backward(g, hooks, N, g->d_norm, DTYPE_F32, g->d3, s->ln1, weights, gradients, l, ATTN,
                    C, 3 * C);
    norm_backward(g, N, weights, gradients, l, LN_1, s->in, s->mean1, s->rstd1);
}
