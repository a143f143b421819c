/* The order, shapes and initial weights of GPT-2's tensors (Radford et al., 2019). */
#include "model/gpt2.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(parameters *p, size_t unit_number, const char *name, size_t rows, size_t columns,
                double mean, double deviation)
{
    tensor *t = &p->tensors[p->tensor_count];
    unit *u = &p->units[unit_number];
    *t = (tensor){.unit = unit_number,
                  .index = p->count,
                  .count = columns ? rows * columns : rows,
                  .dimensions = columns ? 2 : 1,
                  .shape = {rows, columns ? columns : 1},
                  .init_mean = mean,
                  .init_deviation = deviation};
    snprintf(t->name, sizeof t->name, "%s", name);
    if (u->tensors == 0) {
        u->first = p->tensor_count;
        u->index = p->count;
    }
    u->tensors++;
    u->count += t->count;
    p->count += t->count;
    p->tensor_count++;
}

static void add_norm(parameters *p, const gpt2_config *c, size_t unit_number, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add(p, unit_number, full, c->n_embd, 0, 1.0, 0.0);
    snprintf(full, sizeof full, "%s.bias", name);
    if (c->bias) add(p, unit_number, full, c->n_embd, 0, 0.0, 0.0);
}

static void add_linear(parameters *p, const gpt2_config *c, size_t unit_number, const char *name,
                       size_t in, size_t out, double deviation)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add(p, unit_number, full, in, out, 0.0, deviation);
    snprintf(full, sizeof full, "%s.bias", name);
    if (c->bias) add(p, unit_number, full, out, 0, 0.0, 0.0);
}

static void add_block(parameters *p, const gpt2_config *c, size_t l)
{
    size_t C = c->n_embd;
    double residual = 0.02 / sqrt(2.0 * (double)c->n_layer);
    char name[48];
    snprintf(name, sizeof name, "h.%zu.ln_1", l);
    add_norm(p, c, 1 + l, name);
    snprintf(name, sizeof name, "h.%zu.attn.c_attn", l);
    add_linear(p, c, 1 + l, name, C, 3 * C, 0.02);
    snprintf(name, sizeof name, "h.%zu.attn.c_proj", l);
    add_linear(p, c, 1 + l, name, C, C, residual);
    snprintf(name, sizeof name, "h.%zu.ln_2", l);
    add_norm(p, c, 1 + l, name);
    snprintf(name, sizeof name, "h.%zu.mlp.c_fc", l);
    add_linear(p, c, 1 + l, name, C, 4 * C, 0.02);
    snprintf(name, sizeof name, "h.%zu.mlp.c_proj", l);
    add_linear(p, c, 1 + l, name, 4 * C, C, residual);
}

status gpt2_parameters(parameters *p, const gpt2_config *config)
{
    *p = (parameters){.unit_count = config->n_layer + 2};
    p->tensors = calloc(4 + 12 * config->n_layer, sizeof *p->tensors);
    p->units = calloc(p->unit_count, sizeof *p->units);
    if (!p->tensors || !p->units) {
        parameters_close(p);
        return fail(STATUS_NOMEM, "memory for the tensors of %zu layers", config->n_layer);
    }
    add(p, 0, "wte.weight", config->vocab_size, config->n_embd, 0.0, 0.02);
    add(p, 0, "wpe.weight", config->block_size, config->n_embd, 0.0, 0.02);
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
