/* Which kind does it. */
#include "model/model.h"

#include "kernels/kernels.h"

#include <assert.h>
#include <stdlib.h>

struct model {
    gpt2 *gpt2; /* one of them */
    mlp *mlp;
};

static bool is_gpt2(const model_config *config)
{
    return config->kind == MODEL_GPT2;
}

status model_parameters(parameters *p, const model_config *config)
{
    return is_gpt2(config) ? gpt2_parameters(p, &config->gpt2) : mlp_parameters(p, &config->mlp);
}

bool model_is_layer(const model_config *config, const tensor *t)
{
    return t->dimensions == 2 && !(is_gpt2(config) && t->unit == 0);
}

bool model_has_bias(const model_config *config)
{
    return is_gpt2(config) ? config->gpt2.bias : config->mlp.bias;
}

size_t model_activation_bytes(const model_config *config, const model_shape *shape)
{
    return is_gpt2(config) ? gpt2_activation_bytes(&config->gpt2, shape)
                           : mlp_activation_bytes(&config->mlp, shape);
}

status model_open(model **out, const model_config *config, const model_shape *shape)
{
    *out = NULL;
    model *m = calloc(1, sizeof *m);
    if (!m) return fail(STATUS_NOMEM, "memory for a model");
    status result = is_gpt2(config) ? gpt2_open(&m->gpt2, &config->gpt2, shape)
                                    : mlp_open(&m->mlp, &config->mlp, shape);
    if (result) model_close(&m);
    *out = m;
    return result;
}

void model_close(model **m)
{
    if (!*m) return;
    gpt2_close(&(*m)->gpt2);
    mlp_close(&(*m)->mlp);
    free(*m);
    *m = NULL;
}

double model_backward(model *m, const model_hooks *hooks, const batch *b, noise_key key)
{
    return m->gpt2 ? gpt2_backward(m->gpt2, hooks, b, key) : mlp_backward(m->mlp, hooks, b, key);
}

void model_predict(model *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                   model_visit *visit, void *context)
{
    if (m->gpt2)
        gpt2_predict(m->gpt2, hooks, b, drop, key, visit, context);
    else
        mlp_predict(m->mlp, hooks, b, drop, key, visit, context);
}

void model_variances(model *m, const model_hooks *hooks, const float *const *variances,
                     const batch *b, float *outputs, float *found)
{
    assert(m->mlp);
    mlp_variances(m->mlp, hooks, variances, b, outputs, found);
}

void model_jacobian(model *m, const model_hooks *hooks, const batch *b, float *outputs,
                    mlp_slopes *visit, void *context)
{
    assert(m->mlp);
    mlp_jacobian(m->mlp, hooks, b, outputs, visit, context);
}

void model_losses(float *losses, const model_config *config, const batch *b, size_t first,
                  size_t rows, float *outputs)
{
    size_t O = model_outputs(config);
    if (model_has_classes(config))
        cross_entropy(losses, NULL, 0, DTYPE_F32, outputs, O, b->targets + first, rows, O, 1.0);
    else
        gaussian(losses, NULL, DTYPE_F32, outputs, b->values + first * O, rows, O,
                 config->mlp.noise_variance, 1.0);
}

size_t model_outputs(const model_config *config)
{
    return is_gpt2(config) ? config->gpt2.vocab_size : config->mlp.outputs;
}

bool model_has_classes(const model_config *config)
{
    return is_gpt2(config) || config->mlp.loss == LOSS_CROSS_ENTROPY;
}

gpt2 *model_gpt2(model *m)
{
    assert(m->gpt2);
    return m->gpt2;
}

double model_flops_per_row(const model_config *config, size_t length)
{
    return is_gpt2(config) ? gpt2_flops_per_token(&config->gpt2, length)
                           : mlp_flops_per_row(&config->mlp);
}
