/** Layers of examples: linear models and multilayer perceptrons, one unit a layer. */
#ifndef VARIO_MODEL_MLP_H
#define VARIO_MODEL_MLP_H

#include "base/memory.h"
#include "kernels/noise.h"
#include "model/hooks.h"

typedef enum { ACTIVATION_TANH, ACTIVATION_RELU, ACTIVATION_GELU } activation_kind;
typedef enum { LOSS_CROSS_ENTROPY, LOSS_GAUSSIAN } loss_kind;

enum { MLP_HIDDEN = 16 /**< layers at most */ };

typedef struct {
    size_t inputs, outputs;                  /**< of an example: features; classes or values */
    size_t hidden_count, hidden[MLP_HIDDEN]; /**< widths; none make a linear model */
    activation_kind activation;
    bool bias;
    double dropout; /**< after each hidden activation: probability of dropping, 0 for none */
    loss_kind loss;
    double noise_variance; /**< of the Gaussian loss */
} mlp_config;

/** Unit l is layer l: layers.l.weight (in, out) and, with biases, layers.l.bias. Initial weights
 * have deviation 1/sqrt(in), before a ReLU sqrt(2/in) (He et al., 2015); biases are 0. */
status mlp_parameters(parameters *p, const mlp_config *config);

typedef struct mlp mlp;

/** Bytes of activations that mlp_open will allocate, to the byte; SIZE_MAX when no size_t holds
 * them. */
size_t mlp_activation_bytes(const mlp_config *config, const model_shape *shape);

/** Allocate; not collective. @return STATUS_OK or STATUS_NOMEM (*model is then NULL). */
status mlp_open(mlp **model, const mlp_config *config, const model_shape *shape);
void mlp_close(mlp **model);

/** Forward and backward of one micro-batch.
 *
 * @param b    inputs, and targets below `outputs` or values; at least one sequence
 * @param key  dropout noise; element numbers count site after site, in a site row after row
 * @return the mean over the examples of their cross-entropy in nats, or of
 *         sum over outputs of (f - y)^2 / (2 noise_variance) + ln(2 pi noise_variance) / 2;
 *         gradients are those of the mean
 */
double mlp_backward(mlp *model, const model_hooks *hooks, const batch *b, noise_key key);

/** Outputs of every example, all at once; targets and values are not read.
 * @param drop  with the dropout of `key`; else without any */
void mlp_predict(mlp *model, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                 model_visit *visit, void *context);

/** Variances of every output of every example under a posterior of the weights that is diagonal, or
 * is so in bases, to first order around them: v_nc = sum over weights of
 * variance * (d output_nc / d weight)^2.
 *
 * One way back for all outputs: a layer with input a and slopes d has sum over ij of
 * variance_ij a_i^2 d_j^2 = (a^2)^T variance d^2; in bases a is Q_L' a and d is Q_R' d. Calls the
 * hooks as a backward pass does, without those of gradients.
 *
 * @param spread     of the layers
 * @param outputs    out: (rows, outputs), without dropout
 * @param found      out: (rows, outputs)
 */
void mlp_variances(mlp *model, const model_hooks *hooks, const weight_spread *spread,
                   const batch *b, float *outputs, float *found);

/** Called with what makes the Jacobian of a layer, from the last to the first: output c of row n
 * has the derivative inputs(n, i) slopes(c, n, j) by weight (i, j), and slopes(c, n, j) by bias j.
 * @param inputs  (rows, in) that the layer takes in
 * @param slopes  (outputs, rows, out); NULL for the last layer, where slopes(c, n, j) = [c is j] */
typedef void mlp_slopes(void *context, size_t layer, size_t rows, const float *inputs,
                        const float *slopes);

/** Derivatives of every output of every example by all weights, in one way back. Calls the hooks as
 * mlp_variances does, and like it needs a shape with `variances`.
 * @param outputs  out: (rows, outputs), without dropout */
void mlp_jacobian(mlp *model, const model_hooks *hooks, const batch *b, float *outputs,
                  mlp_slopes *visit, void *context);

/** Floating-point operations of one training example: 6 for every weight, but 4 for those of the
 * first layer, whose inputs have no gradient. */
double mlp_flops_per_row(const mlp_config *config);

#endif
