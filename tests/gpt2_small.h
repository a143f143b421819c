/* A small GPT-2 whose weights and gradients are plain buffers. */
#ifndef VARIO_TESTS_GPT2_SMALL_H
#define VARIO_TESTS_GPT2_SMALL_H

#include "model/gpt2.h"
#include "model_fixture.h"

enum { B = 2, T = 12, N = B * T };

static const gpt2_config small = {
    .n_layer = 2, .n_head = 2, .n_embd = 16, .block_size = 16, .vocab_size = 97, .bias = true};

typedef struct {
    gpt2_config config;
    buffers w;
    gpt2 *model;
} fixture;

static void open_fixture(fixture *f, gpt2_config config, dtype precision, recompute_kind recompute)
{
    model_shape shape = {.sequences = B,
                         .length = T,
                         .precision = precision,
                         .recompute = recompute,
                         .training = true};
    *f = (fixture){.config = config};
    cr_assert_eq(gpt2_parameters(&f->w.p, &config), STATUS_OK);
    buffers_open(&f->w, precision);
    cr_assert_eq(gpt2_open(&f->model, &config, &shape), STATUS_OK);
    /* Larger than the initial weights, so that every gradient is well away from 0. */
    for (size_t i = 0; i < f->w.p.tensor_count; i++) {
        const tensor *t = &f->w.p.tensors[i];
        initial_weights(f->w.theta + t->index, t->init_mean, 0.2, 3, t->index, t->count);
    }
    load_weights(&f->w);
}

static void close_fixture(fixture *f)
{
    gpt2_close(&f->model);
    buffers_close(&f->w);
}

static void make_tokens(uint16_t *tokens, uint16_t *targets, size_t vocab)
{
    for (size_t n = 0; n < N; n++) {
        tokens[n] = (uint16_t)(n * n * 7 % vocab);
        targets[n] = (uint16_t)((n * 31 + 5) % vocab);
    }
}

/* A micro-batch: loss and gradients. */
static inline double backward(gpt2 *g, const model_hooks *hooks, const uint16_t *tokens,
                              const uint16_t *targets, noise_key key)
{
    batch b = {.sequences = B, .length = T, .tokens = tokens, .targets = targets};
    return gpt2_backward(g, hooks, &b, key);
}

typedef struct {
    size_t vocab_size;
    const uint16_t *targets;
    float *losses;
} loss_visitor;

static inline void visit_losses(void *context, size_t first, size_t rows, float *logits)
{
    loss_visitor *v = context;
    cross_entropy(v->losses + first, NULL, 0, DTYPE_F32, logits, v->vocab_size, v->targets + first,
                  rows, v->vocab_size, 1.0);
}

/* losses [N] of the tokens, without dropout. */
static inline void losses_of(gpt2 *g, const model_hooks *hooks, const uint16_t *tokens,
                             const uint16_t *targets, float *losses)
{
    batch b = {.sequences = B, .length = T, .tokens = tokens};
    loss_visitor v = {small.vocab_size, targets, losses};
    gpt2_predict(g, hooks, &b, false, (noise_key){0}, visit_losses, &v);
}

#endif
