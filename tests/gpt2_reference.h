/* GPT-2 in double, from the reference kernels: what the model is tested against. */
#ifndef VARIO_TESTS_GPT2_REFERENCE_H
#define VARIO_TESTS_GPT2_REFERENCE_H

#include "kernels/reference.h"
#include "model/gpt2.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    double *ln1, *mean1, *rstd1, *qkv, *lse, *att, *mid, *ln2, *mean2, *rstd2, *fc, *gelu, *out;
} reference_block;

static double *reference_doubles(size_t n)
{
    return calloc(n, sizeof(double));
}

static const double *reference_tensor(const parameters *p, const double *theta, size_t unit_number,
                                      size_t i)
{
    return theta + p->tensors[p->units[unit_number].first + i].index;
}

/* Tensor `which` of a unit: the weight, or its bias (NULL without). */
static const double *reference_part(const parameters *p, const gpt2_config *c, const double *theta,
                                    size_t u, size_t which, bool bias)
{
    if (bias && !c->bias) return NULL;
    return reference_tensor(p, theta, u, c->bias ? 2 * which + bias : which);
}

#define W(u, which) reference_part(p, c, theta, u, which, false)
#define BIAS(u, which) reference_part(p, c, theta, u, which, true)
#define DW(u, which) ((double *)(size_t)reference_part(p, c, grad, u, which, false))
#define DBIAS(u, which) ((double *)(size_t)reference_part(p, c, grad, u, which, true))

static void reference_block_forward(reference_block *s, const parameters *p, const gpt2_config *c,
                                    const double *theta, size_t l, const double *in, size_t B,
                                    size_t T)
{
    size_t C = c->n_embd, N = B * T, u = 1 + l;
    *s = (reference_block){reference_doubles(N * C),
                           reference_doubles(N),
                           reference_doubles(N),
                           reference_doubles(N * 3 * C),
                           reference_doubles(N * c->n_head),
                           reference_doubles(N * C),
                           reference_doubles(N * C),
                           reference_doubles(N * C),
                           reference_doubles(N),
                           reference_doubles(N),
                           reference_doubles(N * 4 * C),
                           reference_doubles(N * 4 * C),
                           reference_doubles(N * C)};
    reference_layernorm_forward(s->ln1, s->mean1, s->rstd1, in, W(u, 0), BIAS(u, 0), N, C);
    reference_gemm(N, 3 * C, C, s->ln1, C, false, W(u, 1), 3 * C, false, s->qkv, 3 * C, BIAS(u, 1),
                   false);
    reference_attention_forward(s->att, s->lse, s->qkv, B, T, C, c->n_head);
    memcpy(s->mid, in, N * C * sizeof(double));
    reference_gemm(N, C, C, s->att, C, false, W(u, 2), C, false, s->mid, C, BIAS(u, 2), true);
    reference_layernorm_forward(s->ln2, s->mean2, s->rstd2, s->mid, W(u, 3), BIAS(u, 3), N, C);
    reference_gemm(N, 4 * C, C, s->ln2, C, false, W(u, 4), 4 * C, false, s->fc, 4 * C, BIAS(u, 4),
                   false);
    reference_gelu_forward(s->gelu, s->fc, N * 4 * C);
    memcpy(s->out, s->mid, N * C * sizeof(double));
    reference_gemm(N, C, 4 * C, s->gelu, 4 * C, false, W(u, 5), C, false, s->out, C, BIAS(u, 5),
                   true);
}

static void reference_columns(double *out, const double *in, size_t N, size_t C)
{
    if (!out) return;
    for (size_t i = 0; i < C; i++) {
        out[i] = 0.0;
        for (size_t n = 0; n < N; n++) out[i] += in[n * C + i];
    }
}

static void reference_linear_backward(double *d_in, double *dw, double *dbias, const double *d_out,
                                      const double *in, const double *w, size_t N, size_t I,
                                      size_t O)
{
    reference_gemm(I, O, N, in, I, true, d_out, O, false, dw, O, NULL, false);
    reference_columns(dbias, d_out, N, O);
    reference_gemm(N, I, O, d_out, O, false, w, O, true, d_in, I, NULL, false);
}

static void reference_block_backward(const reference_block *s, const parameters *p,
                                     const gpt2_config *c, const double *theta, double *grad,
                                     size_t l, const double *in, double *d, size_t B, size_t T)
{
    size_t C = c->n_embd, N = B * T, u = 1 + l;
    double *d4 = reference_doubles(N * 4 * C), *d3 = reference_doubles(N * 3 * C);
    double *dc = reference_doubles(N * C);
    reference_linear_backward(d4, DW(u, 5), DBIAS(u, 5), d, s->gelu, W(u, 5), N, 4 * C, C);
    reference_gelu_backward(d4, d4, s->fc, N * 4 * C);
    reference_linear_backward(dc, DW(u, 4), DBIAS(u, 4), d4, s->ln2, W(u, 4), N, C, 4 * C);
    reference_layernorm_backward(d, DW(u, 3), DBIAS(u, 3), dc, s->mid, W(u, 3), s->mean2, s->rstd2,
                                 N, C);
    reference_linear_backward(dc, DW(u, 2), DBIAS(u, 2), d, s->att, W(u, 2), N, C, C);
    reference_attention_backward(d3, dc, s->qkv, s->att, s->lse, B, T, C, c->n_head);
    reference_linear_backward(dc, DW(u, 1), DBIAS(u, 1), d3, s->ln1, W(u, 1), N, C, 3 * C);
    reference_layernorm_backward(d, DW(u, 0), DBIAS(u, 0), dc, in, W(u, 0), s->mean1, s->rstd1, N,
                                 C);
    free(d4);
    free(d3);
    free(dc);
}

static void reference_block_free(reference_block *s)
{
    double *all[] = {s->ln1, s->mean1, s->rstd1, s->qkv, s->lse,  s->att, s->mid,
                     s->ln2, s->mean2, s->rstd2, s->fc,  s->gelu, s->out};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* Mean loss; logits [N][V] when not NULL; gradients of all parameters when grad is not NULL. */
static double reference_gpt2(const parameters *p, const gpt2_config *c, const double *theta,
                             const uint16_t *tokens, const uint16_t *targets, size_t B, size_t T,
                             double *logits, double *grad)
{
    size_t C = c->n_embd, L = c->n_layer, V = c->vocab_size, N = B * T;
    const double *wte = reference_tensor(p, theta, 0, 0), *wpe = reference_tensor(p, theta, 0, 1);
    reference_block *s = calloc(L, sizeof *s);
    double *first = reference_doubles(N * C), *final = reference_doubles(N * C);
    double *mean = reference_doubles(N), *rstd = reference_doubles(N),
           *losses = reference_doubles(N);
    double *own_logits = reference_doubles(N * V), *dlogits = reference_doubles(N * V);
    reference_embedding_forward(first, wte, wpe, tokens, B, T, C);
    for (size_t l = 0; l < L; l++)
        reference_block_forward(&s[l], p, c, theta, l, l ? s[l - 1].out : first, B, T);
    const double *last = s[L - 1].out;
    reference_layernorm_forward(final, mean, rstd, last, W(L + 1, 0), BIAS(L + 1, 0), N, C);
    reference_gemm(N, V, C, final, C, false, wte, C, true, own_logits, V, NULL, false);
    reference_cross_entropy(losses, dlogits, own_logits, targets, N, V, 1.0 / (double)N);
    if (logits) memcpy(logits, own_logits, N * V * sizeof(double));
    if (grad) {
        double *d = reference_doubles(N * C), *df = reference_doubles(N * C);
        double *dwte = (double *)(size_t)reference_tensor(p, grad, 0, 0);
        double *dwpe = (double *)(size_t)reference_tensor(p, grad, 0, 1);
        reference_gemm(N, C, V, dlogits, V, false, wte, C, false, df, C, NULL, false);
        reference_gemm(V, C, N, dlogits, V, true, final, C, false, dwte, C, NULL, false);
        reference_layernorm_backward(d, DW(L + 1, 0), DBIAS(L + 1, 0), df, last, W(L + 1, 0), mean,
                                     rstd, N, C);
        for (size_t l = L; l-- > 0;)
            reference_block_backward(&s[l], p, c, theta, grad, l, l ? s[l - 1].out : first, d, B,
                                     T);
        reference_embedding_backward(dwte, dwpe, d, tokens, B, T, C, V, c->block_size);
        free(d);
        free(df);
    }
    double sum = 0.0;
    for (size_t n = 0; n < N; n++) sum += losses[n] / (double)N;
    for (size_t l = 0; l < L; l++) reference_block_free(&s[l]);
    double *all[] = {first, final, mean, rstd, losses, own_logits, dlogits};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    free(s);
    return sum;
}

#undef W
#undef BIAS
#undef DW
#undef DBIAS

#endif
