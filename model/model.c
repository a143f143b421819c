/* Which kind does it. */
#include "model/model.h"

#include "kernels/kernels.h"

#include <assert.h>
#include <stdlib.h>

struct model {
    const model_row *row;
    void *made;
};

const model_row *model_row_of(model_kind kind)
{
#define MODEL_ENTRY(KIND, name) &name##_row,
    static const model_row *const rows[MODEL_KINDS] = {MODEL_KINDS_LIST(MODEL_ENTRY)};
    return rows[kind];
}

const model_row *model_words(const model_config *config)
{
    return model_row_of(config->kind);
}

bool model_reads_tokens(const model_config *config)
{
    return model_row_of(config->kind)->tokens;
}

status model_parameters(parameters *p, const model_config *config)
{
    return model_row_of(config->kind)->parameters(p, config);
}

bool model_is_layer(const model_config *config, const tensor *t)
{
    return t->dimensions == 2 && model_row_of(config->kind)->is_layer(t);
}

bool model_has_bias(const model_config *config)
{
    return model_row_of(config->kind)->has_bias(config);
}

double model_dropout(const model_config *config)
{
    return model_row_of(config->kind)->dropout(config);
}

size_t model_activation_bytes(const model_config *config, const model_shape *shape)
{
    return model_row_of(config->kind)->activation_bytes(config, shape);
}

status model_open(model **out, const model_config *config, const model_shape *shape)
{
    *out = NULL;
    model *m = calloc(1, sizeof *m);
    if (!m) return fail(STATUS_NOMEM, "memory for a model");
    m->row = model_row_of(config->kind);
    status result = m->row->open(&m->made, config, shape);
    if (result) model_close(&m);
    *out = m;
    return result;
}

void model_close(model **m)
{
    if (!*m) return;
    (*m)->row->close(&(*m)->made);
    free(*m);
    *m = NULL;
}

double model_backward(model *m, const model_hooks *hooks, const batch *b, noise_key key)
{
    return m->row->backward(m->made, hooks, b, key);
}

void model_predict(model *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                   model_visit *visit, void *context)
{
    m->row->predict(m->made, hooks, b, drop, key, visit, context);
}

void model_variances(model *m, const model_hooks *hooks, const weight_spread *spread,
                     const batch *b, float *outputs, float *found)
{
    m->row->variances(m->made, hooks, spread, b, outputs, found);
}

void model_jacobian(model *m, const model_hooks *hooks, const batch *b, float *outputs,
                    mlp_slopes *visit, void *context)
{
    m->row->jacobian(m->made, hooks, b, outputs, visit, context);
}

void model_losses(float *losses, const model_config *config, const batch *b, size_t first,
                  size_t rows, float *outputs)
{
    size_t O = model_outputs(config);
    if (model_has_classes(config))
        cross_entropy(losses, NULL, 0, DTYPE_F32, outputs, O, b->targets + first, rows, O, 1.0);
    else
        gaussian(losses, NULL, DTYPE_F32, outputs, b->values + first * O, rows, O,
                 model_row_of(config->kind)->noise_variance(config), 1.0);
}

size_t model_outputs(const model_config *config)
{
    return model_row_of(config->kind)->outputs(config);
}

bool model_has_classes(const model_config *config)
{
    return model_row_of(config->kind)->has_classes(config);
}

gpt2 *model_gpt2(model *m)
{
    assert(m->row == &gpt2_row);
    return m->made;
}

double model_flops_per_row(const model_config *config, size_t length)
{
    return model_row_of(config->kind)->flops_per_row(config, length);
}
