/* Small linear models and perceptrons whose weights and gradients are plain buffers, and their twin
 * in double. */
#ifndef VARIO_TESTS_MLP_SMALL_H
#define VARIO_TESTS_MLP_SMALL_H

#include "kernels/kernels.h"
#include "kernels/reference.h"
#include "model/mlp_internal.h"
#include "model/model.h"
#include "optimizer/optimizer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 70 /* rows of a micro-batch */ };

typedef struct {
    model_config config;
    parameters p;
    layout weights_layout, gradients_layout;
    model *m;
    model_hooks hooks;
    float *theta;
    char **weights;
    float **gradients;
    float *inputs, *values;
    uint16_t targets[MOST];
    batch b;
} fixture;

static const void *give_weights(void *context, size_t u)
{
    return ((fixture *)context)->weights[u];
}

static float *give_gradients(void *context, size_t u)
{
    return ((fixture *)context)->gradients[u];
}

static void nothing(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static bool is_narrow(const fixture *f, const tensor *t)
{
    return layout_element_bytes(&f->weights_layout, t) == sizeof(bf16);
}

static void load_weights(fixture *f)
{
    for (size_t i = 0; i < f->p.tensor_count; i++) {
        const tensor *t = &f->p.tensors[i];
        convert(f->weights[t->unit] + f->weights_layout.tensor_offset[i],
                is_narrow(f, t) ? DTYPE_BF16 : DTYPE_F32, f->theta + t->index, DTYPE_F32, t->count);
    }
}

/* Normals, rounded to bf16 where the model rounds them too. */
static void draw(float *out, size_t count, double deviation, uint64_t seed, bool narrow)
{
    initial_weights(out, 0.0, deviation, seed, 0, count);
    for (size_t i = 0; narrow && i < count; i++) out[i] = bf16_to_float(bf16_from_float(out[i]));
}

static void make_batch(fixture *f, size_t rows, bool narrow)
{
    const mlp_config *c = &f->config.mlp;
    f->inputs = calloc(MOST * c->inputs, sizeof(float));
    f->values = calloc(MOST * c->outputs, sizeof(float));
    draw(f->inputs, MOST * c->inputs, 1.0, 5, narrow);
    draw(f->values, MOST * c->outputs, 1.0, 6, false);
    for (size_t n = 0; n < MOST; n++) f->targets[n] = (uint16_t)((n * 31 + 5) % c->outputs);
    f->b = (batch){.sequences = rows,
                   .length = 1,
                   .inputs = f->inputs,
                   .targets = f->targets,
                   .values = f->values};
}

static void open_fixture(fixture *f, mlp_config config, dtype precision, size_t rows)
{
    model_shape shape = {.sequences = MOST, .length = 1, .precision = precision, .training = true};
    *f = (fixture){
        .config = {.kind = config.hidden_count ? MODEL_MLP : MODEL_LINEAR, .mlp = config}};
    omp_set_num_threads(2);
    kernels_open();
    cr_assert_eq(model_parameters(&f->p, &f->config), STATUS_OK);
    cr_assert_eq(layout_open(&f->weights_layout, &f->p, precision), STATUS_OK);
    cr_assert_eq(layout_open(&f->gradients_layout, &f->p, DTYPE_F32), STATUS_OK);
    cr_assert_eq(model_open(&f->m, &f->config, &shape), STATUS_OK);
    f->theta = calloc(f->p.count, sizeof(float));
    f->weights = calloc(f->p.unit_count, sizeof(char *));
    f->gradients = calloc(f->p.unit_count, sizeof(float *));
    for (size_t u = 0; u < f->p.unit_count; u++) {
        f->weights[u] = aligned_alloc(64, f->weights_layout.unit_bytes[u]);
        f->gradients[u] = aligned_alloc(64, f->gradients_layout.unit_bytes[u]);
        memset(f->gradients[u], 0xff, f->gradients_layout.unit_bytes[u]); /* NaN unless written */
    }
    for (size_t i = 0; i < f->p.tensor_count; i++) {
        const tensor *t = &f->p.tensors[i];
        draw(f->theta + t->index, t->count, t->dimensions == 2 ? t->init_deviation : 0.3, 7 + i,
             is_narrow(f, t));
    }
    load_weights(f);
    make_batch(f, rows, precision == DTYPE_BF16);
    f->hooks = (model_hooks){f, give_weights, nothing, give_gradients, nothing, NULL};
}

static void close_fixture(fixture *f)
{
    for (size_t u = 0; u < f->p.unit_count; u++) {
        free(f->weights[u]);
        free(f->gradients[u]);
    }
    free(f->weights);
    free(f->gradients);
    free(f->theta);
    free(f->inputs);
    free(f->values);
    model_close(&f->m);
    layout_close(&f->weights_layout);
    layout_close(&f->gradients_layout);
    parameters_close(&f->p);
    kernels_close();
}

static inline const float *gradient_of(const fixture *f, size_t i)
{
    const tensor *t = &f->p.tensors[i];
    return f->gradients[t->unit] + f->gradients_layout.tensor_offset[i] / sizeof(float);
}

static double *widened(const float *values, size_t count)
{
    double *out = calloc(count, sizeof *out);
    for (size_t i = 0; i < count; i++) out[i] = (double)values[i];
    return out;
}

static void reference_activation(double *out, const double *in, activation_kind kind, size_t n)
{
    if (kind == ACTIVATION_TANH) reference_tanh_forward(out, in, n);
    if (kind == ACTIVATION_RELU) reference_relu_forward(out, in, n);
    if (kind == ACTIVATION_GELU) reference_gelu_forward(out, in, n);
}

static void reference_slope(double *d, const double *in, activation_kind kind, size_t n)
{
    if (kind == ACTIVATION_TANH) reference_tanh_backward(d, d, in, n);
    if (kind == ACTIVATION_RELU) reference_relu_backward(d, d, in, n);
    if (kind == ACTIVATION_GELU) reference_gelu_backward(d, d, in, n);
}

/* Mean loss of N rows without dropout; losses [N]; outputs (N, outputs) when not NULL; gradients of
 * all parameters when grad is not NULL. */
static double reference_mlp(const fixture *f, const double *theta, size_t N, double *losses,
                            double *outputs, double *grad)
{
    const mlp_config *c = &f->config.mlp;
    size_t L = mlp_layers(c), O = c->outputs, each = c->bias ? 2 : 1;
    double *in[MLP_HIDDEN + 2], *sums[MLP_HIDDEN + 2];
    in[0] = widened(f->inputs, N * c->inputs);
    for (size_t l = 0; l < L; l++) {
        size_t I = mlp_width(c, l), W = mlp_width(c, l + 1);
        const double *weight = theta + f->p.tensors[l * each].index;
        const double *bias = c->bias ? theta + f->p.tensors[l * each + 1].index : NULL;
        sums[l] = calloc(N * W, sizeof(double));
        in[l + 1] = calloc(N * W, sizeof(double));
        reference_gemm(N, W, I, in[l], I, false, weight, W, false, sums[l], W, bias, false);
        reference_activation(in[l + 1], sums[l], c->activation, N * W);
    }
    if (outputs) memcpy(outputs, sums[L - 1], N * O * sizeof *outputs);
    double *d = calloc(N * O, sizeof *d), *y = widened(f->values, N * O), loss = 0.0;
    if (c->loss == LOSS_GAUSSIAN)
        reference_gaussian(losses, d, sums[L - 1], y, N, O, c->noise_variance, 1.0 / (double)N);
    else
        reference_cross_entropy(losses, d, sums[L - 1], f->targets, N, O, 1.0 / (double)N);
    for (size_t n = 0; n < N; n++) loss += losses[n] / (double)N;
    for (size_t l = L; grad && l-- > 0;) {
        size_t I = mlp_width(c, l), W = mlp_width(c, l + 1);
        double *dx = calloc(N * I, sizeof *dx);
        reference_gemm(I, W, N, in[l], I, true, d, W, false, grad + f->p.tensors[l * each].index, W,
                       NULL, false);
        for (size_t k = 0; c->bias && k < W; k++) {
            double *sum = grad + f->p.tensors[l * each + 1].index + k;
            *sum = 0.0;
            for (size_t n = 0; n < N; n++) *sum += d[n * W + k];
        }
        reference_gemm(N, I, W, d, W, false, theta + f->p.tensors[l * each].index, W, true, dx, I,
                       NULL, false);
        if (l > 0) reference_slope(dx, sums[l - 1], c->activation, N * I);
        free(d);
        d = dx;
    }
    for (size_t l = 0; l < L; l++) free(sums[l]);
    for (size_t l = 0; l <= L; l++) free(in[l]);
    free(d);
    free(y);
    return loss;
}

#endif
