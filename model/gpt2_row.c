/* GPT-2's row of the table of kinds. */
#include "model/kinds.h"

static status row_parameters(parameters *p, const model_config *config)
{
    return gpt2_parameters(p, &config->gpt2);
}

static size_t row_activation_bytes(const model_config *config, const model_shape *shape)
{
    return gpt2_activation_bytes(&config->gpt2, shape);
}

static status row_open(void **m, const model_config *config, const model_shape *shape)
{
    gpt2 *made;
    status result = gpt2_open(&made, &config->gpt2, shape);
    *m = made;
    return result;
}

static void row_close(void **m)
{
    gpt2 *made = *m;
    gpt2_close(&made);
    *m = NULL;
}

static double row_backward(void *m, const model_hooks *hooks, const batch *b, noise_key key)
{
    return gpt2_backward(m, hooks, b, key);
}

static void row_predict(void *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                        model_visit *visit, void *context)
{
    gpt2_predict(m, hooks, b, drop, key, visit, context);
}

static bool row_has_bias(const model_config *config)
{
    return config->gpt2.bias;
}

static double row_dropout(const model_config *config)
{
    return config->gpt2.dropout;
}

/* Embeddings are matrices, and no layers: their transpose gives the logits. */
static bool row_is_layer(const tensor *t)
{
    return t->unit != 0;
}

static size_t row_outputs(const model_config *config)
{
    return config->gpt2.vocab_size;
}

static bool row_has_classes(const model_config *config)
{
    (void)config;
    return true;
}

static double row_flops(const model_config *config, size_t length)
{
    return gpt2_flops_per_token(&config->gpt2, length);
}

const model_row gpt2_row = {
    .name = "gpt2",
    .tokens = true,
    .row = "token",
    .rows = "tokens",
    .item = "sequence",
    .items = "sequences",
    .parameters = row_parameters,
    .is_layer = row_is_layer,
    .activation_bytes = row_activation_bytes,
    .open = row_open,
    .close = row_close,
    .backward = row_backward,
    .predict = row_predict,
    .has_bias = row_has_bias,
    .dropout = row_dropout,
    .outputs = row_outputs,
    .has_classes = row_has_classes,
    .flops_per_row = row_flops,
};
