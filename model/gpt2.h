/** GPT-2: parameter order, forward and backward. */
#ifndef VARIO_MODEL_GPT2_H
#define VARIO_MODEL_GPT2_H

#include "base/memory.h"
#include "base/parameters.h"
#include "kernels/noise.h"
#include "model/hooks.h"

typedef struct {
    size_t n_layer, n_head, n_embd, block_size, vocab_size;
    bool bias;
    double dropout; /**< probability of dropping, 0 for none */
} gpt2_config;

/** Units: 0 is the embeddings (wte, wpe), 1 + l is block l, 1 + n_layer is the final norm. */
status gpt2_parameters(parameters *p, const gpt2_config *config);

typedef struct gpt2 gpt2;

/** Bytes of activations that gpt2_open will allocate, to the byte; SIZE_MAX when no size_t holds
 * them. */
size_t gpt2_activation_bytes(const gpt2_config *config, const model_shape *shape);

/** Allocate; not collective. @return STATUS_OK or STATUS_NOMEM (*model is then NULL). */
status gpt2_open(gpt2 **model, const gpt2_config *config, const model_shape *shape);
void gpt2_close(gpt2 **model);

/** Forward and backward of one micro-batch, of one sequence to as many as the shape has.
 *
 * @param b    tokens and targets, each below vocab_size
 * @param key  dropout noise: stream STREAM_DROPOUT, sample w, step t; unused without dropout
 * @return the mean loss in nats a token; gradients are those of the mean
 */
double gpt2_backward(gpt2 *model, const model_hooks *hooks, const batch *b, noise_key key);

/** Logits of every position, in chunks of rows of vocab_size; targets are not read.
 * @param drop  with the dropout of `key`; else without any */
void gpt2_predict(gpt2 *model, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                  model_visit *visit, void *context);

/** The keys and values of a text so far, with which decoding computes a position only once. */
typedef struct gpt2_cache gpt2_cache;

/** Allocate a cache of shape.length positions: 2 n_layer shape.length n_embd elements of the
 * compute type. Not collective. @return STATUS_OK or STATUS_NOMEM (*cache is then NULL). */
status gpt2_cache_open(gpt2_cache **cache, const gpt2 *model);
size_t gpt2_cache_bytes(const gpt2 *model); /**< SIZE_MAX: more than there can be */
void gpt2_cache_close(gpt2_cache **cache);

/** Forget all positions: the text or the weights are others from here on. */
void gpt2_cache_clear(gpt2_cache *cache);

/** Logits of the token that follows a text; no dropout. Computes the positions that the cache does
 * not hold yet (a prompt in one pass, then one position a call) and adds them to it. A call for one
 * position takes the time of reading every weight once.
 *
 * Calls the hooks as any pass without a backward does, so all ranks may decode the same text.
 *
 * @param cache   of this model; what it holds was computed from the first of these tokens and with
 *                the weights that the hooks give now
 * @param tokens  [length] the whole text
 * @param length  more than the cache holds, at most shape.length
 * @param logits  [vocab_size] fp32
 */
void gpt2_decode(gpt2 *model, const model_hooks *hooks, gpt2_cache *cache, const uint16_t *tokens,
                 size_t length, float *logits);

/** Floating-point operations of one training token: 6 N_mm + 12 L C T / 2 (causal half), N_mm the
 * parameters of the matrix products, tied output included, embeddings look-ups not. */
double gpt2_flops_per_token(const gpt2_config *config, size_t length);

#endif
