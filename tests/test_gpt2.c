/* The model against finite differences, its double-precision twin, and PyTorch's numbers. */
#include "gpt2_reference.h"
#include "gpt2_small.h"
#include "model/gpt2_internal.h"

#include <stdio.h>

static double relative(const float *found, const double *expected, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - expected[i];
        error += d * d;
        norm += expected[i] * expected[i];
    }
    return sqrt(error / norm);
}

typedef struct {
    const fixture *f;
    const uint16_t *tokens, *targets;
} twin;

static double twin_at(const void *context, const double *theta)
{
    const twin *t = context;
    return reference_gpt2(&t->f->w.p, &t->f->config, theta, t->tokens, t->targets, B, T, NULL,
                          NULL);
}

static void check_differences(gpt2_config config)
{
    fixture f;
    uint16_t tokens[N], targets[N];
    open_fixture(&f, config, DTYPE_F32, RECOMPUTE_NONE);
    make_tokens(tokens, targets, config.vocab_size);
    double *theta = widened(f.w.theta, f.w.p.count), *grad = calloc(f.w.p.count, sizeof *grad);
    reference_gpt2(&f.w.p, &config, theta, tokens, targets, B, T, NULL, grad);
    check_twin(&f.w.p, theta, grad, twin_at, &(twin){&f, tokens, targets}, 1e-5, 1e-6, 1e-2);
    free(theta);
    free(grad);
    close_fixture(&f);
}

Test(gpt2, reference_gradients_are_finite_differences)
{
    gpt2_config plain = small;
    plain.bias = false;
    check_differences(small);
    check_differences(plain);
}

/* Prompts of every length, continued to the window's end by runs of `rows` tokens; a cache that is
 * cleared is as good as new. */
static void check_decoding(fixture *f, const uint16_t *tokens, const double *expected,
                           double tolerance)
{
    size_t V = f->config.vocab_size;
    float logits[V];
    gpt2_cache *cache;
    cr_assert_eq(gpt2_cache_open(&cache, f->model), STATUS_OK);
    for (size_t prompt = 1; prompt <= T; prompt++)
        for (size_t rows = 1; rows <= 3; rows++) {
            gpt2_cache_clear(cache);
            for (size_t length = prompt; length <= T; length += rows) {
                gpt2_decode(f->model, &f->w.hooks, cache, tokens, length, logits);
                double error = relative(logits, expected + (length - 1) * V, V);
                cr_expect_lt(error, tolerance,
                             "logits after %zu, prompt of %zu, by %zu: relative error %.3g", length,
                             prompt, rows, error);
            }
        }
    gpt2_cache_close(&cache);
    cr_expect_null(cache);
}

/* fp32 differs from double by rounding: 1e-4. bf16 keeps 8 bits (2^-9 = 0.2% an operand), and a
 * gradient passes through some ten roundings: 2e-2 of each tensor's norm. */
static void check_model(gpt2_config config, dtype precision, recompute_kind recompute, size_t chunk,
                        double tolerance)
{
    fixture f;
    uint16_t tokens[N], targets[N];
    float losses[N];
    double token_losses[N];
    open_fixture(&f, config, precision, recompute);
    cr_assert_leq(chunk, f.model->chunk);
    f.model->chunk = chunk; /* so small a vocabulary would always be one chunk */
    make_tokens(tokens, targets, config.vocab_size);
    if (precision == DTYPE_BF16) /* the reference sees the rounded weights */
        for (size_t i = 0; i < f.w.p.tensor_count; i++)
            for (size_t e = 0; f.w.p.tensors[i].dimensions == 2 && e < f.w.p.tensors[i].count;
                 e++) {
                float *x = &f.w.theta[f.w.p.tensors[i].index + e];
                *x = bf16_to_float(bf16_from_float(*x));
            }
    double *theta = widened(f.w.theta, f.w.p.count), *grad = calloc(f.w.p.count, sizeof *grad);
    double *expected = calloc(N * config.vocab_size, sizeof *expected);
    double loss = reference_gpt2(&f.w.p, &config, theta, tokens, targets, B, T, expected, grad);
    double found = backward(f.model, &f.w.hooks, tokens, targets, (noise_key){0});
    cr_expect_lt(fabs(found - loss), tolerance * loss, "loss %.9g, %.9g expected", found, loss);
    for (size_t i = 0; i < f.w.p.tensor_count; i++) {
        const tensor *t = &f.w.p.tensors[i];
        double error = relative(gradient_of(&f.w, i), grad + t->index, t->count);
        cr_expect_lt(error, tolerance, "%s: relative error %.3g", t->name, error);
    }
    losses_of(f.model, &f.w.hooks, tokens, targets, losses);
    reference_cross_entropy(token_losses, NULL, expected, targets, N, config.vocab_size, 1.0);
    double error = relative(losses, token_losses, N);
    cr_expect_lt(error, tolerance, "losses: relative error %.3g", error);
    check_decoding(&f, tokens, expected, tolerance);
    free(theta);
    free(grad);
    free(expected);
    close_fixture(&f);
}

Test(gpt2, fp32_matches_reference)
{
    gpt2_config plain = small;
    plain.bias = false;
    check_model(small, DTYPE_F32, RECOMPUTE_NONE, N, 1e-4);
    check_model(plain, DTYPE_F32, RECOMPUTE_NONE, 7, 1e-4);
    check_model(small, DTYPE_F32, RECOMPUTE_BLOCK, 7, 1e-4);
}

Test(gpt2, bf16_matches_reference)
{
    gpt2_config plain = small;
    plain.bias = false;
    check_model(small, DTYPE_BF16, RECOMPUTE_NONE, N, 2e-2);
    check_model(plain, DTYPE_BF16, RECOMPUTE_NONE, 7, 2e-2);
}

enum { STEPS = 10 };

typedef struct {
    float *theta, *logits, *gradients;
    uint16_t tokens[STEPS][N], targets[STEPS][N];
    double losses[STEPS];
} torch_numbers;

static void read_all(void *out, size_t size, size_t count, FILE *file)
{
    cr_assert_eq(fread(out, size, count, file), count, "gpt2.bin is too short");
}

static void read_fixture(torch_numbers *n, const parameters *p)
{
    int32_t header[7];
    const int32_t expected[7] = {B, T, 2, 2, 16, 97, 16};
    FILE *file = fopen(TEST_DATA "/gpt2.bin", "rb");
    cr_assert(file, "tests/fixtures/gpt2.bin is missing");
    read_all(header, sizeof *header, 7, file);
    cr_assert_arr_eq(header, expected, sizeof header);
    n->theta = calloc(p->count, sizeof(float));
    n->gradients = calloc(p->count, sizeof(float));
    n->logits = calloc((size_t)N * 97, sizeof(float));
    read_all(n->theta, sizeof(float), p->count, file);
    read_all(n->tokens, sizeof n->tokens[0], STEPS, file);
    read_all(n->targets, sizeof n->targets[0], STEPS, file);
    read_all(n->logits, sizeof(float), (size_t)N * 97, file);
    read_all(n->gradients, sizeof(float), p->count, file);
    read_all(n->losses, sizeof(double), STEPS, file);
    fclose(file);
}

static double relative_floats(const float *found, const float *expected, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - (double)expected[i];
        error += d * d;
        norm += (double)expected[i] * (double)expected[i];
    }
    return sqrt(error / norm);
}

static void adamw_all(fixture *f, float *first, float *second, uint64_t updates)
{
    for (size_t i = 0; i < f->w.p.tensor_count; i++) {
        const tensor *t = &f->w.p.tensors[i];
        adamw_step step = {.beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .decay = t->dimensions == 2 ? 0.1 : 0.0,
                           .lr = 1e-3,
                           .updates = updates};
        adamw_update(f->w.theta + t->index, first + t->index, second + t->index,
                     gradient_of(&f->w, i), 1.0, &step, t->count);
    }
    load_weights(&f->w);
}

/* PyTorch's logits, loss, gradients, and ten AdamW losses. Tolerances as above. */
static void check_torch(dtype precision, double tolerance)
{
    fixture f;
    torch_numbers n;
    float logits[97];
    open_fixture(&f, small, precision, RECOMPUTE_NONE);
    read_fixture(&n, &f.w.p);
    memcpy(f.w.theta, n.theta, f.w.p.count * sizeof *n.theta);
    load_weights(&f.w);
    gpt2_cache *cache;
    cr_assert_eq(gpt2_cache_open(&cache, f.model), STATUS_OK);
    for (size_t at = 0; at < T; at++) {
        gpt2_decode(f.model, &f.w.hooks, cache, n.tokens[0], at + 1, logits);
        double error = relative_floats(logits, n.logits + at * 97, 97);
        cr_expect_lt(error, tolerance, "logits at %zu: relative error %.3g", at, error);
    }
    gpt2_cache_close(&cache);
    float *first = calloc(f.w.p.count, sizeof *first),
          *second = calloc(f.w.p.count, sizeof *second);
    for (size_t t = 0; t < STEPS; t++) {
        double loss = backward(f.model, &f.w.hooks, n.tokens[t], n.targets[t], (noise_key){0});
        cr_expect_lt(fabs(loss - n.losses[t]), tolerance * n.losses[t],
                     "step %zu: loss %.9g, %.9g expected", t, loss, n.losses[t]);
        for (size_t i = 0; t == 0 && i < f.w.p.tensor_count; i++) {
            const tensor *part = &f.w.p.tensors[i];
            double error =
                relative_floats(gradient_of(&f.w, i), n.gradients + part->index, part->count);
            cr_expect_lt(error, tolerance, "%s: relative error %.3g", part->name, error);
        }
        adamw_all(&f, first, second, t + 1);
    }
    free(first);
    free(second);
    free(n.theta);
    free(n.logits);
    free(n.gradients);
    close_fixture(&f);
}

Test(gpt2, fp32_matches_pytorch)
{
    check_torch(DTYPE_F32, 1e-4);
}

Test(gpt2, bf16_matches_pytorch)
{
    check_torch(DTYPE_BF16, 2e-2);
}
