/* The Jacobian, layer by layer, and variances of outputs. Slopes of all outputs go back over the
 * layers together, output after output: (C, N, width), so a layer's weights are asked for once.
 * Products of slopes and weights take their operands in the compute type; the rest is fp32. */
#include "kernels/kernels.h"
#include "model/mlp_internal.h"

#include <math.h>
#include <string.h>

static size_t wide(const mlp_pass *p, size_t l)
{
    return mlp_width(&p->m->config, l);
}

/* What layer l takes in, as fp32, in m->squares. */
static float *wide_input(const mlp_pass *p, size_t l)
{
    mlp *m = p->m;
    convert(m->squares, DTYPE_F32, mlp_layer_input(p, l), m->shape.precision,
            p->b->sequences * wide(p, l));
    return m->squares;
}

static const float *basis_of(const float *const *bases, size_t l)
{
    return bases ? bases[l] : NULL;
}

/* products = (a^2) variance + variance of the bias, which may be NULL, of layer l. */
static void own_variances(const mlp_pass *p, size_t l, const float *variances, const float *left,
                          const float *bias)
{
    mlp *m = p->m;
    size_t N = p->b->sequences, in = wide(p, l), out = wide(p, l + 1);
    const float *a = wide_input(p, l);
    if (left) {
        gemm(N, in, in, a, in, false, left, in, false, m->turned, in, DTYPE_F32, DTYPE_F32, NULL,
             false);
        a = m->turned;
    }
    for (size_t i = 0; i < N * in; i++) m->squares[i] = a[i] * a[i];
    gemm(N, out, in, m->squares, in, false, variances + mlp_gradient_offset(m, l, false), out,
         false, m->products, out, DTYPE_F32, DTYPE_F32, bias, false);
    hooks_poll(p->hooks);
}

/* found(n, c) += sum over j of slopes(c, n, j)^2 of(n, j), or of(j) where rows are the same. */
static void add_variances(const mlp_pass *p, size_t l, const float *slopes, const float *of,
                          bool same, float *found)
{
    size_t N = p->b->sequences, C = p->m->config.outputs, width = wide(p, l + 1);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < C * N; row++) {
        size_t c = row / N, n = row % N;
        const float *d = slopes + row * width, *v = same ? of : of + n * width;
        double sum = 0.0;
        for (size_t j = 0; j < width; j++) sum += (double)d[j] * (double)d[j] * (double)v[j];
        found[n * C + c] += (float)sum;
    }
}

/* Slopes of layer l's sums from those of its outputs. */
static void through_activation(const mlp_pass *p, size_t l)
{
    const mlp *m = p->m;
    size_t count = p->b->sequences * wide(p, l + 1);
    for (size_t c = 0; c < m->config.outputs; c++)
        mlp_activate_backward(m->slopes + c * count, m->sums[l], m->config.activation, count);
    hooks_poll(p->hooks);
}

/* Slopes of the last layer's inputs are its weights, the same for every example. */
static void first_slopes(const mlp_pass *p, const void *weights)
{
    mlp *m = p->m;
    size_t N = p->b->sequences, C = m->config.outputs, last = mlp_last(m), width = wide(p, last);
    const void *weight = mlp_weight(m, weights, last);
    for (size_t j = 0; j < width; j++)
        for (size_t c = 0; c < C; c++) {
            size_t at = j * C + c;
            m->columns[c * width + j] = m->shape.precision == DTYPE_BF16
                                            ? bf16_to_float(((const bf16 *)weight)[at])
                                            : ((const float *)weight)[at];
        }
    for (size_t row = 0; row < C * N; row++)
        memcpy(m->slopes + row * width, m->columns + row / N * width, width * sizeof(float));
}

static void next_slopes(const mlp_pass *p, size_t l, const void *weights)
{
    mlp *m = p->m;
    dtype type = m->shape.precision;
    size_t rows = p->b->sequences * m->config.outputs, in = wide(p, l), out = wide(p, l + 1);
    convert(m->slopes_in, type, m->slopes, DTYPE_F32, rows * out);
    gemm(rows, in, out, m->slopes_in, out, false, mlp_weight(m, weights, l), out, true, m->slopes,
         in, type, DTYPE_F32, NULL, false);
    hooks_poll(p->hooks);
}

/* What is done at a layer whose slopes are at hand; there are none of the last one's. */
typedef void layer_visit(void *context, const mlp_pass *p, size_t l);

/* From the last layer to the first. */
static void go_back(const mlp_pass *p, layer_visit *visit, void *context)
{
    const mlp *m = p->m;
    const model_hooks *hooks = p->hooks;
    size_t last = mlp_last(m);
    for (size_t l = last + 1; l-- > 0;) {
        bool inner = l > 0 && l < last;
        const void *weights = inner ? hooks->weights(hooks->context, l) : m->ends[l > 0];
        visit(context, p, l);
        if (l > 0 && l == last) first_slopes(p, weights);
        if (inner) next_slopes(p, l, weights);
        if (l > 0) through_activation(p, l - 1);
    }
}

typedef struct {
    const weight_spread *spread;
    float *found;
} summing;

/* The last layer's slopes are the identity, those of its directions rows of the basis. */
static void last_variances(const mlp_pass *p, const float *right, const float *bias, float *found)
{
    const mlp *m = p->m;
    size_t N = p->b->sequences, C = m->config.outputs;
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++) {
            double sum = bias ? (double)bias[c] : 0.0;
            for (size_t j = 0; j < C; j++)
                sum += pow((double)right[c * C + j], 2) * (double)m->products[n * C + j];
            found[n * C + c] = (float)sum;
        }
}

static void layer_variances(void *context, const mlp_pass *p, size_t l)
{
    const summing *s = context;
    mlp *m = p->m;
    size_t N = p->b->sequences, C = m->config.outputs, out = wide(p, l + 1);
    const float *variances = s->spread->variances[l];
    const float *left = basis_of(s->spread->left, l), *right = basis_of(s->spread->right, l);
    const float *bias = m->config.bias ? variances + mlp_gradient_offset(m, l, true) : NULL;
    own_variances(p, l, variances, left, right ? NULL : bias);
    if (l == mlp_last(m)) {
        if (right)
            last_variances(p, right, bias, s->found);
        else
            memcpy(s->found, m->products, N * C * sizeof *s->found);
        return;
    }
    if (right)
        gemm(C * N, out, out, m->slopes, out, false, right, out, false, m->turned, out, DTYPE_F32,
             DTYPE_F32, NULL, false);
    add_variances(p, l, right ? m->turned : m->slopes, m->products, false, s->found);
    if (right && bias) add_variances(p, l, m->slopes, bias, true, s->found);
}

/* Go forward, and back. */
static void mlp_variances_run(mlp *m, const model_hooks *hooks, const batch *b, float *outputs,
                              layer_visit *visit, void *context)
{
    mlp_pass p = {.m = m, .hooks = hooks, .b = b};
    mlp_forward(&p);
    memcpy(outputs, m->outputs, b->sequences * m->config.outputs * sizeof *outputs);
    go_back(&p, visit, context);
}

void mlp_variances(mlp *m, const model_hooks *hooks, const weight_spread *spread, const batch *b,
                   float *outputs, float *found)
{
    mlp_variances_run(m, hooks, b, outputs, layer_variances, &(summing){spread, found});
}

typedef struct {
    mlp_slopes *visit;
    void *context;
} showing;

static void show_layer(void *context, const mlp_pass *p, size_t l)
{
    const showing *s = context;
    s->visit(s->context, l, p->b->sequences, wide_input(p, l),
             l == mlp_last(p->m) ? NULL : p->m->slopes);
}

void mlp_jacobian(mlp *m, const model_hooks *hooks, const batch *b, float *outputs,
                  mlp_slopes *visit, void *context)
{
    mlp_variances_run(m, hooks, b, outputs, show_layer, &(showing){visit, context});
}
