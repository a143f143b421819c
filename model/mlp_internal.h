/** Sizes that the files of the model share. */
#ifndef VARIO_MODEL_MLP_INTERNAL_H
#define VARIO_MODEL_MLP_INTERNAL_H

#include "model/mlp.h"

size_t mlp_layers(const mlp_config *config);

/** Elements that layer l takes in; of the last layer's outputs, when l is the number of layers. */
size_t mlp_width(const mlp_config *config, size_t l);

/** Dropout's first element after hidden layer l. */
uint64_t mlp_dropout_index(const mlp *m, size_t l);

struct mlp {
    mlp_config config;
    model_shape shape;
    parameters p;
    layout weights_layout, gradients_layout;
    arena arena;
    const void *ends[2];      /**< weights of the first and the last layer, during a pass */
    void *inputs;             /**< act (N, inputs), where bf16 makes a copy */
    float *sums[MLP_HIDDEN];  /**< (N, width) before the activation, for a backward pass */
    void *hidden[MLP_HIDDEN]; /**< act (N, width) after activation and dropout */
    float *wide;              /**< (N, widest hidden layer) */
    float *outputs;           /**< (N, outputs) */
    void *d;                  /**< act (N, widest layer): gradient of a layer's sums */
    float *losses;            /**< [N] */
    float *work;
    /* For variances; C the number of outputs. */
    float *squares;  /**< (N, widest input) of what a layer takes in */
    float *products; /**< (N, widest output): variances of a layer's sums from its own weights */
    float *columns;  /**< (C, last hidden layer): the last weights, column after column */
    float *slopes;   /**< (C, N, widest hidden): d output / d sums of a layer */
    void *slopes_in; /**< act, the same: operand of the product that goes back a layer */
    float *turned;   /**< slopes, or what a layer takes in, in its bases */
};

/** One pass over a batch. */
typedef struct {
    mlp *m;
    const model_hooks *hooks;
    const batch *b;
    double drop; /**< 0 without dropout */
    noise_key key;
} mlp_pass;

static inline size_t mlp_last(const mlp *m)
{
    return m->config.hidden_count;
}

/** Outputs; holds the first and the last unit's weights. */
void mlp_forward(const mlp_pass *p);

/** What layer l takes in, act. */
const void *mlp_layer_input(const mlp_pass *p, size_t l);

/** A layer's weight in a unit's buffer. */
const void *mlp_weight(const mlp *m, const void *buffer, size_t l);

/** Float of a unit's fp32 buffer where a layer's weight or bias begins. */
size_t mlp_gradient_offset(const mlp *m, size_t l, bool bias);

/** d [count] becomes the gradient of the activation's input `in`. */
void mlp_activate_backward(float *d, const float *in, activation_kind kind, size_t count);

#endif
