/* Small linear models and perceptrons whose weights and gradients are plain buffers, and their twin
 * in double. */
#ifndef VARIO_TESTS_MLP_SMALL_H
#define VARIO_TESTS_MLP_SMALL_H

#include "model/mlp_internal.h"
#include "model/model.h"
#include "model_fixture.h"

enum { MOST = 70 /* rows of a micro-batch */ };

typedef struct {
    model_config config;
    buffers w;
    model *m;
    float *inputs, *values;
    uint16_t targets[MOST];
    batch b;
} fixture;

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
    cr_assert_eq(model_parameters(&f->w.p, &f->config), STATUS_OK);
    buffers_open(&f->w, precision);
    cr_assert_eq(model_open(&f->m, &f->config, &shape), STATUS_OK);
    for (size_t i = 0; i < f->w.p.tensor_count; i++) {
        const tensor *t = &f->w.p.tensors[i];
        draw(f->w.theta + t->index, t->count, t->dimensions == 2 ? t->init_deviation : 0.3, 7 + i,
             is_narrow(&f->w, t));
    }
    load_weights(&f->w);
    make_batch(f, rows, precision == DTYPE_BF16);
}

static void close_fixture(fixture *f)
{
    free(f->inputs);
    free(f->values);
    model_close(&f->m);
    buffers_close(&f->w);
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
        const double *weight = theta + f->w.p.tensors[l * each].index;
        const double *bias = c->bias ? theta + f->w.p.tensors[l * each + 1].index : NULL;
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
        reference_gemm(I, W, N, in[l], I, true, d, W, false, grad + f->w.p.tensors[l * each].index,
                       W, NULL, false);
        for (size_t k = 0; c->bias && k < W; k++) {
            double *sum = grad + f->w.p.tensors[l * each + 1].index + k;
            *sum = 0.0;
            for (size_t n = 0; n < N; n++) *sum += d[n * W + k];
        }
        reference_gemm(N, I, W, d, W, false, theta + f->w.p.tensors[l * each].index, W, true, dx, I,
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
