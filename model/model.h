/** One interface over the kinds of model. */
#ifndef VARIO_MODEL_MODEL_H
#define VARIO_MODEL_MODEL_H

#include "model/kinds.h"

typedef struct model model;

/** What a configuration's kind is called and counts. */
const model_row *model_words(const model_config *config);

/** Units: gpt2_parameters and mlp_parameters say which. */
status model_parameters(parameters *p, const model_config *config);

/** Whether a tensor is the weight (in, out) of a linear layer, of which the hook `layer` tells:
 * matrices but for embeddings, whose transpose gives GPT-2's logits. The layer's bias, where it has
 * one, is the next tensor. */
bool model_is_layer(const model_config *config, const tensor *t);

/** Bytes of activations that model_open will allocate, to the byte; SIZE_MAX when no size_t holds
 * them. */
size_t model_activation_bytes(const model_config *config, const model_shape *shape);

/** Allocate; not collective. @return STATUS_OK or STATUS_NOMEM (*m is then NULL). */
status model_open(model **m, const model_config *config, const model_shape *shape);
void model_close(model **m);

/** Forward and backward of one micro-batch.
 *
 * @param b    from one sequence or example to as many as the shape has
 * @param key  dropout noise: stream STREAM_DROPOUT, sample w, step t; unused without dropout
 * @return the mean loss in nats a row; gradients are those of the mean
 */
double model_backward(model *m, const model_hooks *hooks, const batch *b, noise_key key);

/** A forward pass that hands the outputs to `visit`, in chunks of rows; targets and values are not
 * read. Calls the hooks as any pass without a backward does.
 *
 * @param b     from one sequence to as many as the shape has
 * @param drop  with the dropout of `key`; else without any
 */
void model_predict(model *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                   model_visit *visit, void *context);

/** Outputs of examples and their variances: see mlp_variances; not of tokens. The model's shape
 * must have `variances`. */
void model_variances(model *m, const model_hooks *hooks, const weight_spread *spread,
                     const batch *b, float *outputs, float *found);

/** Outputs of examples and what makes their Jacobian: see mlp_jacobian; not of tokens. The model's
 * shape must have `variances`. */
void model_jacobian(model *m, const model_hooks *hooks, const batch *b, float *outputs,
                    mlp_slopes *visit, void *context);

/** Losses in nats of the rows that a visit is given: cross-entropy, or the Gaussian loss.
 * @param losses  out: [rows] */
void model_losses(float *losses, const model_config *config, const batch *b, size_t first,
                  size_t rows, float *outputs);

/** Whether its rows are tokens of sequences, else examples. */
bool model_reads_tokens(const model_config *config);

/** Probability of dropping in training. */
double model_dropout(const model_config *config);

/** Whether linear layers have biases. */
bool model_has_bias(const model_config *config);

/** Outputs of a row: tokens of the vocabulary, classes, or values. */
size_t model_outputs(const model_config *config);

/** Whether rows have a class (or a next token) as their target. */
bool model_has_classes(const model_config *config);

/** The GPT-2 that a model of that kind is, for what it alone can do. */
gpt2 *model_gpt2(model *m);

/** Floating-point operations of one row in training: of a token in a sequence of `length`, or of an
 * example. */
double model_flops_per_row(const model_config *config, size_t length);

#endif
