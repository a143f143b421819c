/* The whole model: embeddings, blocks, the tied output layer in chunks of rows. */
#include "model/gpt2.h"

#include "kernels/kernels.h"
#include "model/gpt2_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOGITS_BYTES = 64 << 20, /* of one chunk, about */
    CHUNK_STEP = 256,        /* its rows are a multiple of this: a stretch of weight_gradient's; */
    CHUNK_MIN = 32,          /* of this where the limit allows no more */
};

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_block(gpt2 *g, block_saved *s, arena_rows *take)
{
    arena *a = &g->arena;
    size_t N = gpt2_rows(g), C = g->config.n_embd, act = gpt2_act_bytes(g);
    float **rows[] = {&s->mean1, &s->rstd1, &s->mean2, &s->rstd2};
    for (int i = 0; i < 4; i++) *rows[i] = take(a, N, sizeof(float));
    s->lse = take(a, N, g->config.n_head * sizeof(float));
    s->ln1 = take(a, N, C * act);
    s->qkv = take(a, N, 3 * C * act);
    s->att = take(a, N, C * act);
    s->ln2 = take(a, N, C * act);
    s->fc = take(a, N, 4 * C * act);
    s->gelu = take(a, N, 4 * C * act);
    if (g->shape.training) s->mid = take(a, N, C * sizeof(float));
}

static void place_blocks(gpt2 *g, arena_rows *take)
{
    bool all = g->shape.training && g->shape.recompute == RECOMPUTE_NONE;
    for (size_t l = 0; l < g->config.n_layer; l++) {
        if (l == 0 || all)
            place_block(g, &g->blocks[l], take);
        else
            g->blocks[l] = g->blocks[0];
    }
    for (size_t l = 0; l < g->config.n_layer; l++) {
        g->blocks[l].in = g->shape.training
                              ? take(&g->arena, gpt2_rows(g), g->config.n_embd * sizeof(float))
                              : g->residual;
        if (!g->shape.training) g->blocks[l].mid = g->residual;
    }
}

static void place_backward(gpt2 *g, arena_rows *take)
{
    arena *a = &g->arena;
    size_t N = gpt2_rows(g), C = g->config.n_embd, act = gpt2_act_bytes(g);
    g->d_residual = take(a, N, C * sizeof(float));
    g->d_norm = take(a, N, C * sizeof(float));
    g->dc = take(a, N, C * act);
    g->da = take(a, N, C * act);
    g->d3 = take(a, N, 3 * C * act);
    g->d4 = take(a, N, 4 * C * act);
    g->wte_final = take(a, 1, gemm_packed_bytes(C, g->config.vocab_size, g->shape.precision));
    g->d_logits = take(a, g->chunk, g->config.vocab_size * act);
}

/* Rows of the output layer at once. */
static size_t chunk_rows(const gpt2 *g)
{
    size_t N = gpt2_rows(g), max = LOGITS_BYTES / sizeof(float) / g->config.vocab_size;
    size_t step = max < CHUNK_STEP ? CHUNK_MIN : CHUNK_STEP;
    size_t rows = max < step ? step : max / step * step;
    return rows < N ? rows : N;
}

/* Hand out all buffers; with arena_count_rows only adds up what they take. */
static void gpt2_place(gpt2 *g, arena_rows *take)
{
    arena *a = &g->arena;
    size_t N = gpt2_rows(g), C = g->config.n_embd;
    size_t work = largest(attention_work_floats(g->shape.length, C, g->config.n_head),
                          largest(weight_gradient_work_floats(4 * C),
                                  largest(layernorm_work_floats(C), bias_work_floats(4 * C))));
    g->chunk = chunk_rows(g);
    g->residual = take(a, N, C * sizeof(float));
    place_blocks(g, take);
    g->projected = take(a, N, C * gpt2_act_bytes(g));
    g->final = take(a, N, C * gpt2_act_bytes(g));
    g->final_mean = take(a, N, sizeof(float));
    g->final_rstd = take(a, N, sizeof(float));
    g->losses = take(a, N, sizeof(float));
    g->logits = take(a, g->chunk, g->config.vocab_size * sizeof(float));
    g->wte_logits = take(a, 1, gemm_packed_bytes(g->config.vocab_size, C, g->shape.precision));
    g->work = take(a, work, sizeof(float));
    if (g->shape.training) place_backward(g, take);
}

size_t gpt2_activation_bytes(const gpt2_config *config, const model_shape *shape)
{
    gpt2 g = {.config = *config, .shape = *shape};
    size_t rows;
    if (!memory_product(&rows, shape->sequences, shape->length)) return SIZE_MAX;
    g.blocks = calloc(config->n_layer, sizeof *g.blocks);
    if (!g.blocks) return SIZE_MAX;
    gpt2_place(&g, arena_count_rows);
    free(g.blocks);
    return g.arena.used;
}

status gpt2_open(gpt2 **model, const gpt2_config *config, const model_shape *shape)
{
    *model = NULL;
    gpt2 *g = calloc(1, sizeof *g);
    if (!g) return fail(STATUS_NOMEM, "memory for a model");
    *g = (gpt2){.config = *config, .shape = *shape};
    g->blocks = calloc(config->n_layer, sizeof *g->blocks);
    status result = g->blocks ? STATUS_OK : fail(STATUS_NOMEM, "memory for a model");
    if (!result) result = gpt2_parameters(&g->p, config);
    if (!result) result = layout_open(&g->weights_layout, &g->p, shape->precision);
    if (!result) result = layout_open(&g->gradients_layout, &g->p, DTYPE_F32);
    if (!result)
        result = arena_open(&g->arena, "activations", gpt2_activation_bytes(config, shape));
    if (result) {
        gpt2_close(&g);
        return result;
    }
    gpt2_place(g, arena_take_rows);
    *model = g;
    return STATUS_OK;
}

void gpt2_close(gpt2 **model)
{
    gpt2 *g = *model;
    if (!g) return;
    arena_close(&g->arena);
    layout_close(&g->weights_layout);
    layout_close(&g->gradients_layout);
    parameters_close(&g->p);
    free(g->blocks);
    free(g);
    *model = NULL;
}

end_weights gpt2_forward(gpt2 *g, const model_hooks *hooks, const uint16_t *tokens,
                         const forward_pass *pass)
{
    size_t B = pass->sequences, T = pass->length, C = g->config.n_embd, N = B * T;
    size_t L = g->config.n_layer, position = pass->cache ? pass->cache->length : 0;
    const void *first = hooks->weights(hooks->context, 0);
    float *stream = g->blocks[0].in;
    embedding_forward(stream, gpt2_embeddings(g, first, 0),
                      gpt2_act_row(g, gpt2_embeddings(g, first, 1), position, C),
                      g->shape.precision, tokens, B, T, C);
    dropout_apply(stream, N * C, pass->drop, pass->key, 0);
    for (size_t l = 0; l < L; l++) {
        const void *weights = hooks->weights(hooks->context, 1 + l);
        gpt2_block_forward(g, hooks, l, weights, l + 1 < L ? g->blocks[l + 1].in : g->residual,
                           pass);
    }
    const void *last = hooks->weights(hooks->context, L + 1);
    layernorm_forward(g->final, g->shape.precision, g->final_mean, g->final_rstd, g->residual,
                      gpt2_weight(g, last, L + 1, 0), gpt2_bias(g, last, L + 1, 0), N, C);
    return (end_weights){first, last};
}

static void pack_output(gpt2 *g, const void *first)
{
    gemm_pack(g->wte_logits, g->config.vocab_size, g->config.n_embd, gpt2_embeddings(g, first, 0),
              g->config.n_embd, true, g->shape.precision);
}

/* Logits of rows [at, at + rows), wte packed. */
static void output(gpt2 *g, size_t at, size_t rows)
{
    size_t C = g->config.n_embd, V = g->config.vocab_size;
    gemm_packed(rows, V, C, gpt2_act_row(g, g->final, at, C), C, g->wte_logits, g->logits, V,
                g->shape.precision, DTYPE_F32);
}

/* The others' losses and their gradients are 0. */
static void keep_counted(gpt2 *g, const uint8_t *counted, size_t at, size_t rows)
{
    size_t V = g->config.vocab_size, row_bytes = V * gpt2_act_bytes(g);
    for (size_t n = 0; n < rows; n++) {
        if (counted[at + n]) continue;
        g->losses[at + n] = 0.0F;
        memset((char *)g->d_logits + n * row_bytes, 0, row_bytes);
    }
}

/* Rows [at, at + rows): losses, d logits, d_norm = dlogits wte, d wte += dlogits^T final. */
static void rows_backward(gpt2 *g, const model_hooks *hooks, size_t at, size_t rows, float *d_wte,
                          const batch *b)
{
    dtype type = g->shape.precision;
    size_t N = b->sequences * b->length, C = g->config.n_embd, V = g->config.vocab_size;
    output(g, at, rows);
    hooks_poll(hooks);
    cross_entropy(g->losses + at, g->d_logits, V, type, g->logits, V, b->targets + at, rows, V,
                  1.0 / (double)N);
    if (b->counted) keep_counted(g, b->counted, at, rows);
    gemm_packed(rows, C, V, g->d_logits, V, g->wte_final, g->d_norm + at * C, C, type, DTYPE_F32);
    hooks_poll(hooks);
    weight_gradient(d_wte, g->d_logits, gpt2_act_row(g, g->final, at, C), type, g->work, rows, V, C,
                    at > 0);
    hooks_poll(hooks);
}

static void output_backward(gpt2 *g, const model_hooks *hooks, const void *first, float *d_wte,
                            const batch *b)
{
    size_t N = b->sequences * b->length, C = g->config.n_embd, V = g->config.vocab_size;
    pack_output(g, first);
    gemm_pack(g->wte_final, C, V, gpt2_embeddings(g, first, 0), C, false, g->shape.precision);
    for (size_t at = 0; at < N; at += g->chunk)
        rows_backward(g, hooks, at, N - at < g->chunk ? N - at : g->chunk, d_wte, b);
}

static void final_backward(gpt2 *g, const model_hooks *hooks, size_t N, const void *last,
                           float *gradients)
{
    size_t C = g->config.n_embd, L = g->config.n_layer;
    memory_clear(g->d_residual, N * C * sizeof *g->d_residual);
    layernorm_backward(g->d_residual, gpt2_weight_grad(g, gradients, L + 1, 0),
                       gpt2_bias_grad(g, gradients, L + 1, 0), g->d_norm, DTYPE_F32, g->residual,
                       gpt2_weight(g, last, L + 1, 0), g->final_mean, g->final_rstd, g->work, N, C);
    hooks->gradients_done(hooks->context, L + 1);
}

/* The blocks share what they save, so it is still there of the last one; what a block puts out is
 * not needed again. */
static void blocks_backward(gpt2 *g, const model_hooks *hooks, const forward_pass *pass)
{
    for (size_t l = g->config.n_layer; l-- > 0;) {
        const void *weights = hooks->weights(hooks->context, 1 + l);
        float *gradients = hooks->gradients(hooks->context, 1 + l);
        if (g->shape.recompute == RECOMPUTE_BLOCK && l + 1 < g->config.n_layer)
            gpt2_block_forward(g, hooks, l, weights, NULL, pass);
        gpt2_block_backward(g, hooks, l, weights, gradients, pass);
        hooks->gradients_done(hooks->context, 1 + l);
    }
}

double gpt2_backward(gpt2 *model, const model_hooks *hooks, const batch *b, noise_key key)
{
    gpt2 *g = model;
    size_t B = b->sequences, T = g->shape.length, C = g->config.n_embd, N = B * T;
    double drop = g->config.dropout;
    forward_pass pass = {.sequences = B, .length = T, .drop = drop, .key = key};
    end_weights ends = gpt2_forward(g, hooks, b->tokens, &pass);
    float *d_first = hooks->gradients(hooks->context, 0);
    float *d_last = hooks->gradients(hooks->context, g->config.n_layer + 1);
    output_backward(g, hooks, ends.first, gpt2_gradient(g, d_first, 0), b);
    final_backward(g, hooks, N, ends.last, d_last);
    blocks_backward(g, hooks, &pass);
    dropout_apply(g->d_residual, N * C, drop, key, 0);
    embedding_backward(gpt2_gradient(g, d_first, 0), gpt2_gradient(g, d_first, 1), g->d_residual,
                       b->tokens, B, T, C, g->config.vocab_size, g->config.block_size);
    hooks->gradients_done(hooks->context, 0);
    double sum = 0.0;
    for (size_t n = 0; n < N; n++) sum += (double)g->losses[n];
    return sum / (double)N;
}

void gpt2_predict(gpt2 *model, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                  model_visit *visit, void *context)
{
    gpt2 *g = model;
    size_t N = b->sequences * g->shape.length;
    forward_pass pass = {.sequences = b->sequences,
                         .length = g->shape.length,
                         .drop = drop ? g->config.dropout : 0.0,
                         .key = key};
    pack_output(g, gpt2_forward(g, hooks, b->tokens, &pass).first);
    for (size_t at = 0; at < N; at += g->chunk) {
        size_t rows = N - at < g->chunk ? N - at : g->chunk;
        output(g, at, rows);
        visit(context, at, rows, g->logits);
        hooks_poll(hooks);
    }
}
