/* The rows of linear models and perceptrons: both are layers of examples. */
#include "model/kinds.h"

static status row_parameters(parameters *p, const model_config *config)
{
    return mlp_parameters(p, &config->mlp);
}

static size_t row_activation_bytes(const model_config *config, const model_shape *shape)
{
    return mlp_activation_bytes(&config->mlp, shape);
}

static status row_open(void **m, const model_config *config, const model_shape *shape)
{
    mlp *made;
    status result = mlp_open(&made, &config->mlp, shape);
    *m = made;
    return result;
}

static void row_close(void **m)
{
    mlp *made = *m;
    mlp_close(&made);
    *m = NULL;
}

static double row_backward(void *m, const model_hooks *hooks, const batch *b, noise_key key)
{
    return mlp_backward(m, hooks, b, key);
}

static void row_predict(void *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                        model_visit *visit, void *context)
{
    mlp_predict(m, hooks, b, drop, key, visit, context);
}

static bool row_has_bias(const model_config *config)
{
    return config->mlp.bias;
}

static double row_dropout(const model_config *config)
{
    return config->mlp.dropout;
}

static void row_variances(void *m, const model_hooks *hooks, const weight_spread *spread,
                          const batch *b, float *outputs, float *found)
{
    mlp_variances(m, hooks, spread, b, outputs, found);
}

static void row_jacobian(void *m, const model_hooks *hooks, const batch *b, float *outputs,
                         mlp_slopes *visit, void *context)
{
    mlp_jacobian(m, hooks, b, outputs, visit, context);
}

static bool row_is_layer(const tensor *t)
{
    (void)t;
    return true;
}

static size_t row_outputs(const model_config *config)
{
    return config->mlp.outputs;
}

static bool row_has_classes(const model_config *config)
{
    return config->mlp.loss == LOSS_CROSS_ENTROPY;
}

static double row_noise_variance(const model_config *config)
{
    return config->mlp.noise_variance;
}

static double row_flops(const model_config *config, size_t length)
{
    (void)length;
    return mlp_flops_per_row(&config->mlp);
}

/* clang-format off */
#define LAYERS_ROW(kind)                                                                           \
    {                                                                                              \
        .name = kind, .row = "example", .rows = "examples", .item = "example",                     \
        .items = "examples", .parameters = row_parameters, .is_layer = row_is_layer,               \
        .activation_bytes = row_activation_bytes, .open = row_open, .close = row_close,            \
        .backward = row_backward, .predict = row_predict, .variances = row_variances,              \
        .jacobian = row_jacobian, .has_bias = row_has_bias, .dropout = row_dropout,                \
        .outputs = row_outputs, .has_classes = row_has_classes,                                    \
        .noise_variance = row_noise_variance, .flops_per_row = row_flops,                          \
    }
/* clang-format on */

const model_row linear_row = LAYERS_ROW("linear"), mlp_row = LAYERS_ROW("mlp");
