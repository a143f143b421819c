/* A small GPT-2 whose weights and gradients are plain buffers. */
#ifndef VARIO_TESTS_GPT2_SMALL_H
#define VARIO_TESTS_GPT2_SMALL_H

#include "kernels/kernels.h"
#include "model/gpt2.h"
#include "optimizer/optimizer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 12, N = B * T };

static const gpt2_config small = {
    .n_layer = 2, .n_head = 2, .n_embd = 16, .block_size = 16, .vocab_size = 97, .bias = true};

/* A model whose weights and gradients are plain buffers. */
typedef struct {
    gpt2_config config;
    parameters p;
    layout weights_layout, gradients_layout;
    gpt2 *model;
    model_hooks hooks;
    float *theta; /* [count] */
    char **weights;
    float **gradients;
} fixture;

static const void *give_weights(void *context, size_t u)
{
    return ((fixture *)context)->weights[u];
}

static float *give_gradients(void *context, size_t u)
{
    return ((fixture *)context)->gradients[u];
}

static void nothing(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static void load_weights(fixture *f)
{
    for (size_t i = 0; i < f->p.tensor_count; i++) {
        const tensor *t = &f->p.tensors[i];
        bool narrow = layout_element_bytes(&f->weights_layout, t) == sizeof(bf16);
        convert(f->weights[t->unit] + f->weights_layout.tensor_offset[i],
                narrow ? DTYPE_BF16 : DTYPE_F32, f->theta + t->index, DTYPE_F32, t->count);
    }
}

static void open_fixture(fixture *f, gpt2_config config, dtype precision, recompute_kind recompute)
{
    model_shape shape = {.sequences = B,
                         .length = T,
                         .precision = precision,
                         .recompute = recompute,
                         .training = true};
    *f = (fixture){.config = config};
    omp_set_num_threads(2);
    kernels_open();
    cr_assert_eq(gpt2_parameters(&f->p, &config), STATUS_OK);
    cr_assert_eq(layout_open(&f->weights_layout, &f->p, precision), STATUS_OK);
    cr_assert_eq(layout_open(&f->gradients_layout, &f->p, DTYPE_F32), STATUS_OK);
    cr_assert_eq(gpt2_open(&f->model, &config, &shape), STATUS_OK);
    f->theta = calloc(f->p.count, sizeof(float));
    f->weights = calloc(f->p.unit_count, sizeof(char *));
    f->gradients = calloc(f->p.unit_count, sizeof(float *));
    for (size_t u = 0; u < f->p.unit_count; u++) {
        f->weights[u] = aligned_alloc(64, f->weights_layout.unit_bytes[u]);
        f->gradients[u] = aligned_alloc(64, f->gradients_layout.unit_bytes[u]);
        memset(f->gradients[u], 0xff, f->gradients_layout.unit_bytes[u]); /* NaN unless written */
    }
    /* Larger than the initial weights, so that every gradient is well away from 0. */
    for (size_t i = 0; i < f->p.tensor_count; i++) {
        const tensor *t = &f->p.tensors[i];
        initial_weights(f->theta + t->index, t->init_mean, 0.2, 3, t->index, t->count);
    }
    load_weights(f);
    f->hooks = (model_hooks){f, give_weights, nothing, give_gradients, nothing, NULL};
}

static void close_fixture(fixture *f)
{
    for (size_t u = 0; u < f->p.unit_count; u++) {
        free(f->weights[u]);
        free(f->gradients[u]);
    }
    free(f->weights);
    free(f->gradients);
    free(f->theta);
    gpt2_close(&f->model);
    layout_close(&f->weights_layout);
    layout_close(&f->gradients_layout);
    parameters_close(&f->p);
    kernels_close();
}

static const float *gradient_of(const fixture *f, size_t i)
{
    const tensor *t = &f->p.tensors[i];
    return f->gradients[t->unit] + f->gradients_layout.tensor_offset[i] / sizeof(float);
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
