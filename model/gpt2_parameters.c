/* The order, shapes and initial weights of GPT-2's tensors (Radford et al., 2019). */
#include "model/gpt2.h"

#include <math.h>
#include <stdio.h>

static void add_norm(parameters *p, const gpt2_config *c, size_t unit_number, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    parameters_add(p, unit_number, full, c->n_embd, 0, 1.0, 0.0);
    snprintf(full, sizeof full, "%s.bias", name);
    if (c->bias) parameters_add(p, unit_number, full, c->n_embd, 0, 0.0, 0.0);
}

static void add_linear(parameters *p, const gpt2_config *c, size_t unit_number, const char *name,
                       size_t in, size_t out, double deviation, size_t matrices)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    parameters_add(p, unit_number, full, in, out, 0.0, deviation);
    p->tensors[p->tensor_count - 1].matrices = matrices;
    snprintf(full, sizeof full, "%s.bias", name);
    if (c->bias) parameters_add(p, unit_number, full, out, 0, 0.0, 0.0);
}

static void add_block(parameters *p, const gpt2_config *c, size_t l)
{
    size_t C = c->n_embd;
    double residual = 0.02 / sqrt(2.0 * (double)c->n_layer);
    char name[48];
    snprintf(name, sizeof name, "h.%zu.ln_1", l);
    add_norm(p, c, 1 + l, name);
    snprintf(name, sizeof name, "h.%zu.attn.c_attn", l);
    add_linear(p, c, 1 + l, name, C, 3 * C, 0.02, 3); /* queries, keys, values */
    snprintf(name, sizeof name, "h.%zu.attn.c_proj", l);
    add_linear(p, c, 1 + l, name, C, C, residual, 1);
    snprintf(name, sizeof name, "h.%zu.ln_2", l);
    add_norm(p, c, 1 + l, name);
    snprintf(name, sizeof name, "h.%zu.mlp.c_fc", l);
    add_linear(p, c, 1 + l, name, C, 4 * C, 0.02, 1);
    snprintf(name, sizeof name, "h.%zu.mlp.c_proj", l);
    add_linear(p, c, 1 + l, name, 4 * C, C, residual, 1);
}

status gpt2_parameters(parameters *p, const gpt2_config *config)
{
    status result = parameters_open(p, config->n_layer + 2, 4 + 12 * config->n_layer);
    if (result) return result;
    parameters_add(p, 0, "wte.weight", config->vocab_size, config->n_embd, 0.0, 0.02);
    parameters_add(p, 0, "wpe.weight", config->block_size, config->n_embd, 0.0, 0.02);
    for (size_t l = 0; l < config->n_layer; l++) add_block(p, config, l);
    add_norm(p, config, config->n_layer + 1, "ln_f");
    return STATUS_OK;
}

double gpt2_flops_per_token(const gpt2_config *config, size_t length)
{
    double C = (double)config->n_embd, L = (double)config->n_layer;
    double products = L * 12.0 * C * C + (double)config->vocab_size * C;
    return 6.0 * products + 6.0 * L * C * (double)length;
}
