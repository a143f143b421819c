/* The order, shapes and initial weights of the layers. */
#include "model/mlp_internal.h"

#include <math.h>
#include <stdio.h>

size_t mlp_layers(const mlp_config *config)
{
    return config->hidden_count + 1;
}

size_t mlp_width(const mlp_config *config, size_t l)
{
    if (l == 0) return config->inputs;
    return l <= config->hidden_count ? config->hidden[l - 1] : config->outputs;
}

static void add_layer(parameters *p, const mlp_config *config, size_t l)
{
    size_t in = mlp_width(config, l), out = mlp_width(config, l + 1);
    bool rectified = config->activation == ACTIVATION_RELU && l < config->hidden_count;
    char name[32];
    snprintf(name, sizeof name, "layers.%zu.weight", l);
    parameters_add(p, l, name, in, out, 0.0, sqrt((rectified ? 2.0 : 1.0) / (double)in));
    p->tensors[p->tensor_count - 1].matrices = 1;
    snprintf(name, sizeof name, "layers.%zu.bias", l);
    if (config->bias) parameters_add(p, l, name, out, 0, 0.0, 0.0);
}

status mlp_parameters(parameters *p, const mlp_config *config)
{
    size_t layers = mlp_layers(config);
    status result = parameters_open(p, layers, 2 * layers);
    for (size_t l = 0; !result && l < layers; l++) add_layer(p, config, l);
    return result;
}

double mlp_flops_per_row(const mlp_config *config)
{
    double flops = 0.0;
    for (size_t l = 0; l < mlp_layers(config); l++)
        flops += (l ? 6.0 : 4.0) * (double)mlp_width(config, l) * (double)mlp_width(config, l + 1);
    return flops;
}
