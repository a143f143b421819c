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
};

#endif
