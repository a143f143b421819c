/* Layers forward and backward. Sums, activations and dropout are fp32; products take their operands
 * in the compute type. */
#include "kernels/kernels.h"
#include "model/mlp_internal.h"

#include <stdlib.h>

uint64_t mlp_dropout_index(const mlp *m, size_t l)
{
    uint64_t index = 0;
    for (size_t k = 0; k < l; k++) index += (uint64_t)m->shape.sequences * m->config.hidden[k];
    return index;
}

static size_t tensor_number(const mlp *m, size_t l, bool bias)
{
    return m->p.units[l].first + bias;
}

const void *mlp_weight(const mlp *m, const void *buffer, size_t l)
{
    return (const char *)buffer + m->weights_layout.tensor_offset[tensor_number(m, l, false)];
}

static const float *bias_of(const mlp *m, const void *buffer, size_t l)
{
    if (!m->config.bias) return NULL;
    size_t offset = m->weights_layout.tensor_offset[tensor_number(m, l, true)];
    return (const float *)(const void *)((const char *)buffer + offset);
}

size_t mlp_gradient_offset(const mlp *m, size_t l, bool bias)
{
    return m->gradients_layout.tensor_offset[tensor_number(m, l, bias)] / sizeof(float);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t widest_hidden(const mlp_config *c)
{
    size_t max = 0;
    for (size_t l = 0; l < c->hidden_count; l++) max = larger(max, c->hidden[l]);
    return max;
}

static size_t work_floats(const mlp_config *c)
{
    size_t max = 0;
    for (size_t l = 1; l <= mlp_layers(c); l++) {
        size_t out = mlp_width(c, l);
        max = larger(max, larger(weight_gradient_work_floats(out), bias_work_floats(out)));
    }
    return max;
}

/* Without a way back a layer's sums are not kept, and its output takes the place of its input,
 * which has gone into the sums. */
static void place_hidden(mlp *m, size_t act, arena_rows *take)
{
    const mlp_config *c = &m->config;
    bool kept = m->shape.training || m->shape.variances;
    size_t N = m->shape.sequences, widest = widest_hidden(c);
    m->wide = take(&m->arena, N, widest * sizeof(float));
    for (size_t l = 0; l < c->hidden_count; l++) {
        if (kept) {
            m->sums[l] = take(&m->arena, N, c->hidden[l] * sizeof(float));
            m->hidden[l] = take(&m->arena, N, c->hidden[l] * act);
        } else {
            m->sums[l] = m->wide;
            m->hidden[l] = l ? m->hidden[0] : take(&m->arena, N, widest * act);
        }
    }
}

/* For variances: every class goes back over the layers at once. */
static void place_variances(mlp *m, size_t act, arena_rows *take)
{
    const mlp_config *c = &m->config;
    size_t N = m->shape.sequences, hidden = widest_hidden(c), rows;
    if (!memory_product(&rows, N, c->outputs)) rows = SIZE_MAX;
    m->squares = take(&m->arena, N, larger(hidden, c->inputs) * sizeof(float));
    m->products = take(&m->arena, N, larger(hidden, c->outputs) * sizeof(float));
    m->columns = take(&m->arena, c->outputs, hidden * sizeof(float));
    m->slopes = take(&m->arena, rows, hidden * sizeof(float));
    m->slopes_in = take(&m->arena, rows, hidden * act);
    size_t wide = larger(larger(hidden, c->inputs), c->outputs);
    if (m->shape.bases) m->turned = take(&m->arena, rows, wide * sizeof(float));
}

/* Hand out all buffers; with arena_count_rows only adds up what they take. */
static void mlp_place(mlp *m, arena_rows *take)
{
    const mlp_config *c = &m->config;
    arena *a = &m->arena;
    bool narrow = m->shape.precision == DTYPE_BF16;
    size_t N = m->shape.sequences, act = narrow ? sizeof(bf16) : sizeof(float);
    if (narrow) m->inputs = take(a, N, c->inputs * act);
    place_hidden(m, act, take);
    m->outputs = take(a, N, c->outputs * sizeof(float));
    if (m->shape.variances) place_variances(m, act, take);
    if (!m->shape.training) return;
    m->d = take(a, N, larger(widest_hidden(c), c->outputs) * act);
    m->losses = take(a, N, sizeof(float));
    m->work = take(a, work_floats(c), sizeof(float));
}

size_t mlp_activation_bytes(const mlp_config *config, const model_shape *shape)
{
    mlp m = {.config = *config, .shape = *shape};
    mlp_place(&m, arena_count_rows);
    return m.arena.used;
}

status mlp_open(mlp **model, const mlp_config *config, const model_shape *shape)
{
    *model = NULL;
    mlp *m = calloc(1, sizeof *m);
    if (!m) return fail(STATUS_NOMEM, "memory for a model");
    *m = (mlp){.config = *config, .shape = *shape};
    status result = mlp_parameters(&m->p, config);
    if (!result) result = layout_open(&m->weights_layout, &m->p, shape->precision);
    if (!result) result = layout_open(&m->gradients_layout, &m->p, DTYPE_F32);
    if (!result) result = arena_open(&m->arena, "activations", mlp_activation_bytes(config, shape));
    if (result) {
        mlp_close(&m);
        return result;
    }
    mlp_place(m, arena_take_rows);
    *model = m;
    return STATUS_OK;
}

void mlp_close(mlp **model)
{
    mlp *m = *model;
    if (!m) return;
    arena_close(&m->arena);
    layout_close(&m->weights_layout);
    layout_close(&m->gradients_layout);
    parameters_close(&m->p);
    free(m);
    *model = NULL;
}

static void activate(float *out, const float *in, activation_kind kind, size_t count)
{
    switch (kind) {
    case ACTIVATION_TANH: tanh_forward(out, in, count); break;
    case ACTIVATION_RELU: relu_forward(out, in, count); break;
    case ACTIVATION_GELU: gelu_forward(out, in, DTYPE_F32, count); break;
    }
}

void mlp_activate_backward(float *d, const float *in, activation_kind kind, size_t count)
{
    switch (kind) {
    case ACTIVATION_TANH: tanh_backward(d, d, in, count); break;
    case ACTIVATION_RELU: relu_backward(d, d, in, count); break;
    case ACTIVATION_GELU: gelu_backward(d, d, in, DTYPE_F32, count); break;
    }
}

const void *mlp_layer_input(const mlp_pass *p, size_t l)
{
    const mlp *m = p->m;
    if (l > 0) return m->hidden[l - 1];
    return m->shape.precision == DTYPE_BF16 ? m->inputs : (const void *)p->b->inputs;
}

static void layer_forward(const mlp_pass *p, size_t l, const void *weights)
{
    mlp *m = p->m;
    size_t N = p->b->sequences, in = mlp_width(&m->config, l), out = mlp_width(&m->config, l + 1);
    bool hidden = l < mlp_last(m);
    float *sums = hidden ? m->sums[l] : m->outputs;
    gemm(N, out, in, mlp_layer_input(p, l), in, false, mlp_weight(m, weights, l), out, false, sums,
         out, m->shape.precision, DTYPE_F32, bias_of(m, weights, l), false);
    hooks_poll(p->hooks);
    if (!hidden) return;
    activate(m->wide, sums, m->config.activation, N * out);
    residual_grad(m->hidden[l], m->shape.precision, m->wide, N * out, p->drop, p->key,
                  mlp_dropout_index(m, l));
}

void mlp_forward(const mlp_pass *p)
{
    mlp *m = p->m;
    const model_hooks *hooks = p->hooks;
    size_t last = mlp_last(m);
    if (m->inputs)
        convert(m->inputs, DTYPE_BF16, p->b->inputs, DTYPE_F32, p->b->sequences * m->config.inputs);
    for (size_t l = 0; l <= last; l++) {
        const void *weights = hooks->weights(hooks->context, l);
        layer_forward(p, l, weights);
        if (l == 0) m->ends[0] = weights;
        if (l == last) m->ends[1] = weights;
    }
}

/* Losses, and m->d their mean's gradient. */
static double loss_backward(const mlp_pass *p)
{
    mlp *m = p->m;
    size_t N = p->b->sequences, O = m->config.outputs;
    if (m->config.loss == LOSS_GAUSSIAN)
        gaussian(m->losses, m->d, m->shape.precision, m->outputs, p->b->values, N, O,
                 m->config.noise_variance, 1.0 / (double)N);
    else
        cross_entropy(m->losses, m->d, O, m->shape.precision, m->outputs, O, p->b->targets, N, O,
                      1.0 / (double)N);
    double sum = 0.0;
    for (size_t n = 0; n < N; n++) sum += (double)m->losses[n];
    return sum / (double)N;
}

/* m->d from the gradient of layer l's sums to that of the layer's before it. */
static void layer_backward(const mlp_pass *p, size_t l, const void *weights, float *gradients)
{
    mlp *m = p->m;
    dtype type = m->shape.precision;
    size_t N = p->b->sequences, in = mlp_width(&m->config, l), out = mlp_width(&m->config, l + 1);
    hooks_layer(p->hooks, tensor_number(m, l, false), N, mlp_layer_input(p, l), m->d);
    weight_gradient(gradients + mlp_gradient_offset(m, l, false), mlp_layer_input(p, l), m->d, type,
                    m->work, N, in, out, false);
    hooks_poll(p->hooks);
    if (m->config.bias)
        bias_backward(gradients + mlp_gradient_offset(m, l, true), m->d, type, m->work, N, out);
    if (l == 0) return;
    gemm(N, in, out, m->d, out, false, mlp_weight(m, weights, l), out, true, m->wide, in, type,
         DTYPE_F32, NULL, false);
    hooks_poll(p->hooks);
    dropout_apply(m->wide, N * in, p->drop, p->key, mlp_dropout_index(m, l - 1));
    mlp_activate_backward(m->wide, m->sums[l - 1], m->config.activation, N * in);
    convert(m->d, type, m->wide, DTYPE_F32, N * in);
}

double mlp_backward(mlp *m, const model_hooks *hooks, const batch *b, noise_key key)
{
    mlp_pass p = {.m = m, .hooks = hooks, .b = b, .drop = m->config.dropout, .key = key};
    size_t last = mlp_last(m);
    mlp_forward(&p);
    float *first_gradients = hooks->gradients(hooks->context, 0);
    float *last_gradients = last ? hooks->gradients(hooks->context, last) : first_gradients;
    double loss = loss_backward(&p);
    for (size_t l = last + 1; l-- > 0;) {
        bool inner = l > 0 && l < last;
        const void *weights = inner ? hooks->weights(hooks->context, l) : m->ends[l > 0];
        float *gradients = inner ? hooks->gradients(hooks->context, l)
                           : l   ? last_gradients
                                 : first_gradients;
        layer_backward(&p, l, weights, gradients);
        hooks->gradients_done(hooks->context, l);
    }
    return loss;
}

void mlp_predict(mlp *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                 model_visit *visit, void *context)
{
    mlp_pass p = {
        .m = m, .hooks = hooks, .b = b, .drop = drop ? m->config.dropout : 0.0, .key = key};
    mlp_forward(&p);
    visit(context, 0, b->sequences, m->outputs);
    hooks_poll(hooks);
}
