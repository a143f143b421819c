/* Kernels against their double-precision twins, and the twins against finite differences. fp32
 * results differ by rounding in sums of up to a few hundred terms: 1e-5 of the norm. bf16 keeps 8
 * bits, 2^-9 = 0.2% an operand: 1e-2 of the norm. */
#include "kernels/kernels.h"
#include "kernels/reference.h"
#include "kernels/tile.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static void open_all(void)
{
    omp_set_num_threads(2);
    kernels_open();
}

TestSuite(kernels, .init = open_all, .fini = kernels_close);

/* A buffer in a type, the same values as doubles (rounded as the buffer is). */
typedef struct {
    void *act;
    float *f32;
    double *exact;
    size_t count;
} values;

static values make(dtype type, size_t count, uint32_t sample)
{
    values v = {aligned_alloc(64, (count * 4 + 63) / 64 * 64), calloc(count, 4),
                calloc(count, sizeof(double)), count};
    for (size_t at = 0; at < count; at += NOISE_BLOCK) {
        size_t n = count - at < NOISE_BLOCK ? count - at : NOISE_BLOCK;
        noise_normals(v.f32 + at, NULL, (noise_key){.seed = 4, .sample = sample}, at, n);
    }
    convert(v.act, type, v.f32, DTYPE_F32, count);
    convert(v.f32, DTYPE_F32, v.act, type, count);
    for (size_t i = 0; i < count; i++) v.exact[i] = (double)v.f32[i];
    return v;
}

static void drop(values *v)
{
    free(v->act);
    free(v->f32);
    free(v->exact);
}

static void expect_close(const char *what, const void *found, dtype type, const double *expected,
                         size_t count)
{
    float *wide = calloc(count, sizeof *wide);
    double error = 0.0, norm = 0.0, tolerance = type == DTYPE_BF16 ? 1e-2 : 1e-5;
    convert(wide, DTYPE_F32, found, type, count);
    for (size_t i = 0; i < count; i++) {
        error += ((double)wide[i] - expected[i]) * ((double)wide[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    cr_expect(error <= tolerance * tolerance * norm, "%s: relative error %.3g", what,
              sqrt(error / norm));
    free(wide);
}

static void check_gemm(size_t K, dtype type, dtype out_type, bool ta, bool tb, bool bias,
                       bool accumulate)
{
    enum { M = 37, N = 29 };
    values a = make(type, M * K, 1), b = make(type, K * N, 2), out = make(out_type, M * N, 3);
    values offsets = make(DTYPE_F32, N, 4);
    gemm(M, N, K, a.act, ta ? M : K, ta, b.act, tb ? K : N, tb, out.act, N, type, out_type,
         bias ? offsets.f32 : NULL, accumulate);
    reference_gemm(M, N, K, a.exact, ta ? M : K, ta, b.exact, tb ? K : N, tb, out.exact, N,
                   bias ? offsets.exact : NULL, accumulate);
    expect_close("gemm", out.act, out_type, out.exact, M * N);
    drop(&a);
    drop(&b);
    drop(&out);
    drop(&offsets);
}

Test(kernels, gemm)
{
    for (int turn = 0; turn < 4; turn++) {
        check_gemm(53, DTYPE_F32, DTYPE_F32, turn & 1, turn & 2, false, false);
        check_gemm(53, DTYPE_F32, DTYPE_F32, turn & 1, turn & 2, false, true);
        check_gemm(53, DTYPE_BF16, DTYPE_F32, turn & 1, turn & 2, false, true);
        check_gemm(53, DTYPE_BF16, DTYPE_BF16, turn & 1, turn & 2, true, false);
    }
}

/* Whole tiles; tiles, pairs of rows and stretches that are not filled; more columns than are packed
 * at once; sizes that the tile kernel does not take. Where it works the bits do not depend on the
 * threads. */
Test(kernels, weight_gradient)
{
    static const struct {
        size_t N, I, O;
    } sizes[] = {{256, 128, 128}, {301, 76, 80}, {1, 4, 16}, {130, 8, 1616}, {37, 29, 50}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int way = 0; way < 4; way++) {
            dtype type = way & 1 ? DTYPE_BF16 : DTYPE_F32;
            size_t N = sizes[s].N, I = sizes[s].I, O = sizes[s].O;
            values x = make(type, N * I, 1), d = make(type, N * O, 2),
                   dw = make(DTYPE_F32, I * O, 3);
            float *first = calloc(I * O, sizeof *first);
            for (int threads = 1; threads <= 4; threads++) {
                omp_set_num_threads(threads);
                float *work = aligned_alloc(64, weight_gradient_work_floats(O) * sizeof *work);
                memcpy(dw.act, dw.f32, I * O * sizeof *first);
                weight_gradient(dw.act, x.act, d.act, type, work, N, I, O, way & 2);
                if (threads == 1) memcpy(first, dw.act, I * O * sizeof *first);
                if (tile_is_fast(type) && s < 4)
                    cr_expect_arr_eq(dw.act, first, I * O * sizeof *first, "%d threads", threads);
                free(work);
            }
            reference_gemm(I, O, N, x.exact, I, true, d.exact, O, false, dw.exact, O, NULL,
                           way & 2);
            expect_close("weight gradient", first, DTYPE_F32, dw.exact, I * O);
            free(first);
            drop(&x);
            drop(&d);
            drop(&dw);
        }
}

static void check_gemv(size_t N, size_t K, dtype type, dtype out_type, bool tb, bool bias)
{
    enum { MORE = 3 }; /* rows of the matrix are longer than what is multiplied */
    size_t ldb = (tb ? K : N) + MORE;
    values x = make(type, K, 1), b = make(type, (tb ? N : K) * ldb, 2), out = make(out_type, N, 3);
    values offsets = make(DTYPE_F32, N, 4);
    gemv(N, K, x.act, b.act, ldb, tb, out.act, type, out_type, bias ? offsets.f32 : NULL);
    reference_gemv(N, K, x.exact, b.exact, ldb, tb, out.exact, bias ? offsets.exact : NULL);
    expect_close("gemv", out.act, out_type, out.exact, N);
    drop(&x);
    drop(&b);
    drop(&out);
    drop(&offsets);
}

/* One output, fewer than threads share, more than a strip holds; odd sizes. */
Test(kernels, gemv)
{
    static const size_t sizes[][2] = {{1, 1}, {5, 1}, {1, 9}, {31, 53}, {96, 64}, {2307, 77}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int way = 0; way < 4; way++) {
            bool tb = way & 1, bias = way & 2;
            check_gemv(sizes[i][0], sizes[i][1], DTYPE_F32, DTYPE_F32, tb, bias);
            check_gemv(sizes[i][0], sizes[i][1], DTYPE_BF16, DTYPE_F32, tb, bias);
            check_gemv(sizes[i][0], sizes[i][1], DTYPE_BF16, DTYPE_BF16, tb, bias);
        }
}

Test(kernels, gemv_bits_do_not_depend_on_threads)
{
    enum { N = 1100, K = 61 };
    for (int way = 0; way < 4; way++) {
        dtype type = way & 1 ? DTYPE_BF16 : DTYPE_F32;
        values x = make(type, K, 1), b = make(type, K * N, 2);
        float out[2][N];
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            gemv(N, K, x.act, b.act, way & 2 ? K : N, way & 2, out[threads > 1], type, DTYPE_F32,
                 NULL);
            cr_expect_arr_eq(out[0], out[threads > 1], sizeof out[0], "%d threads", threads);
        }
        drop(&x);
        drop(&b);
    }
}

static void check_attention(dtype type, size_t B, size_t T, size_t C, size_t NH)
{
    values qkv = make(type, B * T * 3 * C, 1), dout = make(type, B * T * C, 2);
    values out = make(type, B * T * C, 3), dqkv = make(type, B * T * 3 * C, 4);
    float *lse = calloc(B * NH * T, sizeof *lse);
    double *exact_lse = calloc(B * NH * T, sizeof *exact_lse);
    float *work = aligned_alloc(64, attention_work_floats(T, C, NH) * 4 / 64 * 64 + 64);
    noise_key key = {0};
    attention_forward(out.act, lse, qkv.act, type, B, T, C, NH, 0.0, key, 0, work);
    reference_attention_forward(out.exact, exact_lse, qkv.exact, B, T, C, NH);
    expect_close("attention", out.act, type, out.exact, B * T * C);
    expect_close("log-sum-exp", lse, DTYPE_F32, exact_lse, B * NH * T);
    attention_backward(dqkv.act, dout.act, qkv.act, out.act, lse, type, B, T, C, NH, 0.0, key, 0,
                       work);
    reference_attention_backward(dqkv.exact, dout.exact, qkv.exact, out.exact, exact_lse, B, T, C,
                                 NH);
    expect_close("attention backward", dqkv.act, type, dqkv.exact, B * T * 3 * C);
    free(lse);
    free(exact_lse);
    free(work);
    drop(&qkv);
    drop(&dout);
    drop(&out);
    drop(&dqkv);
}

/* Lengths below, at, and above the tile's 64; head sizes that fill no vector. */
Test(kernels, attention)
{
    check_attention(DTYPE_F32, 1, 1, 8, 2);
    check_attention(DTYPE_F32, 2, 7, 20, 2);
    check_attention(DTYPE_F32, 1, 64, 64, 1);
    check_attention(DTYPE_F32, 1, 130, 48, 3);
    check_attention(DTYPE_BF16, 2, 130, 64, 2);
}

/* A text that grows by 1, 2, 3, ... positions, and all of it in one pass. */
static void check_attention_cached(dtype type, size_t T, size_t C, size_t NH)
{
    enum { ROOM = 5 };
    values qkv = make(type, T * 3 * C, 1), out = make(type, T * C, 2);
    values keys = make(type, (T + ROOM) * C, 3), cached = make(type, (T + ROOM) * C, 4);
    size_t row = C * (type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float));
    double *lse = calloc(NH * T, sizeof *lse);
    float *work = aligned_alloc(64, attention_work_floats(T + ROOM, C, NH) * 4 / 64 * 64 + 64);
    reference_attention_forward(out.exact, lse, qkv.exact, 1, T, C, NH);
    for (size_t at = 0, rows = 1; at < T; at += rows++) {
        if (rows > T - at) rows = T - at;
        const char *new = (const char *)qkv.act + at * 3 * row;
        attention_store(keys.act, cached.act, new, type, at, rows, T + ROOM, C, NH);
        attention_cached((char *)out.act + at * row, keys.act, cached.act, new, type, at, rows,
                         T + ROOM, C, NH, work);
    }
    expect_close("cached attention", out.act, type, out.exact, T * C);
    free(lse);
    free(work);
    drop(&qkv);
    drop(&out);
    drop(&keys);
    drop(&cached);
}

Test(kernels, attention_cached)
{
    check_attention_cached(DTYPE_F32, 1, 8, 2);
    check_attention_cached(DTYPE_F32, 33, 9, 3);
    check_attention_cached(DTYPE_F32, 130, 64, 1);
    check_attention_cached(DTYPE_BF16, 33, 9, 3);
    check_attention_cached(DTYPE_BF16, 130, 64, 2);
}

static void check_layernorm(dtype type, bool bias)
{
    enum { N = 13, C = 77 };
    values in = make(DTYPE_F32, N * C, 1), gain = make(DTYPE_F32, C, 2);
    values offset = make(DTYPE_F32, C, 3), out = make(type, N * C, 4),
           din = make(DTYPE_F32, N * C, 5);
    values dout = make(type, N * C, 6);
    float mean[N], rstd[N], dgain[C], dbias[C];
    double exact_mean[N], exact_rstd[N], exact_dgain[C], exact_dbias[C];
    float *work = calloc(layernorm_work_floats(C), sizeof *work);
    layernorm_forward(out.act, type, mean, rstd, in.f32, gain.f32, bias ? offset.f32 : NULL, N, C);
    reference_layernorm_forward(out.exact, exact_mean, exact_rstd, in.exact, gain.exact,
                                bias ? offset.exact : NULL, N, C);
    expect_close("layer norm", out.act, type, out.exact, N * C);
    layernorm_backward(din.f32, dgain, bias ? dbias : NULL, dout.act, type, in.f32, gain.f32, mean,
                       rstd, work, N, C);
    reference_layernorm_backward(din.exact, exact_dgain, exact_dbias, dout.exact, in.exact,
                                 gain.exact, exact_mean, exact_rstd, N, C);
    expect_close("layer norm's input gradient", din.f32, DTYPE_F32, din.exact, N * C);
    expect_close("gain's gradient", dgain, DTYPE_F32, exact_dgain, C);
    if (bias) expect_close("bias's gradient", dbias, DTYPE_F32, exact_dbias, C);
    bias_backward(dbias, dout.act, type, work, N, C);
    expect_close("column sums", dbias, DTYPE_F32, exact_dbias, C);
    free(work);
    drop(&in);
    drop(&gain);
    drop(&offset);
    drop(&out);
    drop(&din);
    drop(&dout);
}

Test(kernels, layernorm)
{
    check_layernorm(DTYPE_F32, true);
    check_layernorm(DTYPE_F32, false);
    check_layernorm(DTYPE_BF16, true);
}

Test(kernels, gelu)
{
    enum { COUNT = 3000 };
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        values in = make((dtype)type, COUNT, 1), dout = make((dtype)type, COUNT, 2);
        values out = make((dtype)type, COUNT, 3);
        gelu_forward(out.act, in.act, (dtype)type, COUNT);
        reference_gelu_forward(out.exact, in.exact, COUNT);
        expect_close("GELU", out.act, (dtype)type, out.exact, COUNT);
        gelu_backward(dout.act, dout.act, in.act, (dtype)type, COUNT);
        reference_gelu_backward(dout.exact, dout.exact, in.exact, COUNT);
        expect_close("GELU's gradient", dout.act, (dtype)type, dout.exact, COUNT);
        drop(&in);
        drop(&dout);
        drop(&out);
    }
}

/* tanh is as good relative to itself near 0 as elsewhere. */
Test(kernels, tanh)
{
    enum { COUNT = 3000 };
    values in = make(DTYPE_F32, COUNT, 1), dout = make(DTYPE_F32, COUNT, 2);
    values out = make(DTYPE_F32, COUNT, 3);
    for (size_t i = 0; i < COUNT; i++) {
        in.f32[i] *= i % 3 ? 3.0F : 1e-3F;
        in.exact[i] = (double)in.f32[i];
    }
    tanh_forward(out.f32, in.f32, COUNT);
    reference_tanh_forward(out.exact, in.exact, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        cr_expect_lt(fabs((double)out.f32[i] - out.exact[i]), 4e-7 * fabs(out.exact[i]),
                     "tanh %.9g is %.9g", in.exact[i], (double)out.f32[i]);
    tanh_backward(dout.f32, dout.f32, in.f32, COUNT);
    reference_tanh_backward(dout.exact, dout.exact, in.exact, COUNT);
    expect_close("tanh's gradient", dout.f32, DTYPE_F32, dout.exact, COUNT);
    drop(&in);
    drop(&dout);
    drop(&out);
}

Test(kernels, relu)
{
    enum { COUNT = 3000 };
    values in = make(DTYPE_F32, COUNT, 1), dout = make(DTYPE_F32, COUNT, 2);
    values out = make(DTYPE_F32, COUNT, 3);
    in.f32[7] = 0.0F;
    in.exact[7] = 0.0;
    relu_forward(out.f32, in.f32, COUNT);
    reference_relu_forward(out.exact, in.exact, COUNT);
    expect_close("ReLU", out.f32, DTYPE_F32, out.exact, COUNT);
    relu_backward(dout.f32, dout.f32, in.f32, COUNT);
    reference_relu_backward(dout.exact, dout.exact, in.exact, COUNT);
    expect_close("ReLU's gradient", dout.f32, DTYPE_F32, dout.exact, COUNT);
    cr_expect_eq(dout.f32[7], 0.0F);
    drop(&in);
    drop(&dout);
    drop(&out);
}

Test(kernels, gelu_of_extremes_is_finite)
{
    enum { COUNT = 7 };
    const float in[COUNT] = {-1e10F, -100.0F, -10.0F, 0.0F, 10.0F, 100.0F, 1e10F};
    float out[COUNT], slope[COUNT], ones[COUNT] = {1, 1, 1, 1, 1, 1, 1};
    gelu_forward(out, in, DTYPE_F32, COUNT);
    gelu_backward(slope, ones, in, DTYPE_F32, COUNT);
    for (int i = 0; i < COUNT; i++) {
        cr_expect_float_eq(out[i], in[i] > 0.0F ? in[i] : 0.0F, 1e-6, "%g", (double)in[i]);
        cr_expect_float_eq(slope[i], in[i] > 0.0F ? 1.0F : 0.0F, in[i] == 0.0F ? 0.5 : 1e-6, "%g",
                           (double)in[i]);
    }
}

Test(kernels, not_a_number_stays_one)
{
    float in[1] = {NAN}, out[1], slope[1], ones[1] = {1.0F};
    gelu_forward(out, in, DTYPE_F32, 1);
    gelu_backward(slope, ones, in, DTYPE_F32, 1);
    cr_expect(isnan(out[0]) && isnan(slope[0]));
    tanh_forward(out, in, 1);
    tanh_backward(slope, ones, in, 1);
    cr_expect(isnan(out[0]) && isnan(slope[0]));
    relu_forward(out, in, 1);
    cr_expect(isnan(out[0]));
}

Test(kernels, tanh_of_extremes_is_one)
{
    const float in[4] = {-INFINITY, -30.0F, 30.0F, INFINITY};
    float out[4];
    tanh_forward(out, in, 4);
    for (int i = 0; i < 4; i++) cr_expect_eq(out[i], i < 2 ? -1.0F : 1.0F);
}

Test(kernels, cross_entropy)
{
    enum { N = 9, V = 131 };
    uint16_t targets[N];
    float losses[N];
    double exact[N];
    for (size_t n = 0; n < N; n++) targets[n] = (uint16_t)(n * 40 % V);
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        values logits = make(DTYPE_F32, N * V, 1), d = make((dtype)type, N * V, 2);
        logits.f32[5] = 90.0F; /* far above the rest: exponentials must not overflow */
        logits.exact[5] = 90.0;
        cross_entropy(losses, d.act, V, (dtype)type, logits.f32, V, targets, N, V, 0.25);
        reference_cross_entropy(exact, d.exact, logits.exact, targets, N, V, 0.25);
        expect_close("losses", losses, DTYPE_F32, exact, N);
        expect_close("logits' gradient", d.act, (dtype)type, d.exact, N * V);
        drop(&logits);
        drop(&d);
    }
}

Test(kernels, gaussian)
{
    enum { N = 9, O = 3 };
    float losses[N];
    double exact[N];
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        values f = make(DTYPE_F32, N * O, 1), y = make(DTYPE_F32, N * O, 2);
        values d = make((dtype)type, N * O, 3);
        gaussian(losses, d.act, (dtype)type, f.f32, y.f32, N, O, 0.04, 0.25);
        reference_gaussian(exact, d.exact, f.exact, y.exact, N, O, 0.04, 0.25);
        expect_close("Gaussian losses", losses, DTYPE_F32, exact, N);
        expect_close("their gradient", d.act, (dtype)type, d.exact, N * O);
        drop(&f);
        drop(&y);
        drop(&d);
    }
}

Test(kernels, embedding)
{
    enum { B = 2, T = 5, C = 36, V = 11, BLOCK = 8 };
    const uint16_t tokens[B * T] = {3, 3, 0, 10, 3, 1, 3, 2, 2, 10};
    values wte = make(DTYPE_BF16, V * C, 1), wpe = make(DTYPE_BF16, BLOCK * C, 2);
    values d = make(DTYPE_F32, B * T * C, 3), dwte = make(DTYPE_F32, V * C, 4);
    values dwpe = make(DTYPE_F32, BLOCK * C, 5), out = make(DTYPE_F32, B * T * C, 6);
    embedding_forward(out.f32, wte.act, wpe.act, DTYPE_BF16, tokens, B, T, C);
    reference_embedding_forward(out.exact, wte.exact, wpe.exact, tokens, B, T, C);
    expect_close("embeddings", out.f32, DTYPE_F32, out.exact, B * T * C);
    embedding_backward(dwte.f32, dwpe.f32, d.f32, tokens, B, T, C, V, BLOCK);
    reference_embedding_backward(dwte.exact, dwpe.exact, d.exact, tokens, B, T, C, V, BLOCK);
    expect_close("wte's gradient", dwte.f32, DTYPE_F32, dwte.exact, V * C);
    expect_close("wpe's gradient", dwpe.f32, DTYPE_F32, dwpe.exact, BLOCK * C);
    for (size_t i = T * C; i < BLOCK * C; i++) cr_expect_eq(dwpe.f32[i], 0.0F);
    drop(&wte);
    drop(&wpe);
    drop(&d);
    drop(&dwte);
    drop(&dwpe);
    drop(&out);
}

/* The twins' backward passes against central differences along a random direction. */
static double dot(const double *a, const double *b, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

Test(kernels, reference_attention_gradient)
{
    enum { B = 1, T = 6, C = 8, NH = 2, IN = B * T * 3 * C, OUT = B * T * C };
    values qkv = make(DTYPE_F32, IN, 1), way = make(DTYPE_F32, IN, 2),
           dout = make(DTYPE_F32, OUT, 3);
    double out[2][OUT], lse[NH * T], moved[IN], d[IN];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < IN; i++)
            moved[i] = qkv.exact[i] + (side ? -1e-6 : 1e-6) * way.exact[i];
        reference_attention_forward(out[side], lse, moved, B, T, C, NH);
    }
    double difference = (dot(out[0], dout.exact, OUT) - dot(out[1], dout.exact, OUT)) / 2e-6;
    reference_attention_forward(out[0], lse, qkv.exact, B, T, C, NH);
    reference_attention_backward(d, dout.exact, qkv.exact, out[0], lse, B, T, C, NH);
    double slope = dot(d, way.exact, IN);
    cr_expect_lt(fabs(difference - slope), 1e-7 * fabs(slope));
    drop(&qkv);
    drop(&way);
    drop(&dout);
}

/* Dropout: the right share is dropped, the mean is kept, and the backward pass drops the same. */
Test(kernels, dropout)
{
    enum { COUNT = 100000 };
    noise_key key = {.seed = 1, .stream = STREAM_DROPOUT, .sample = 2, .step = 3};
    float *ones = malloc(COUNT * 4), *sum = calloc(COUNT, 4), *back = malloc(COUNT * 4);
    size_t dropped = 0;
    for (size_t i = 0; i < COUNT; i++) ones[i] = 1.0F;
    residual_add(sum, sum, ones, DTYPE_F32, COUNT, 0.3, key, 12345);
    residual_grad(back, DTYPE_F32, ones, COUNT, 0.3, key, 12345);
    for (size_t i = 0; i < COUNT; i++) {
        dropped += sum[i] == 0.0F;
        cr_assert_eq(sum[i], back[i]);
        cr_assert(sum[i] == 0.0F || fabsf(sum[i] - 1.0F / 0.7F) < 1e-6F);
    }
    cr_expect_lt(fabs((double)dropped / COUNT - 0.3), 5.0 * sqrt(0.21 / COUNT));
    free(ones);
    free(sum);
    free(back);
}

Test(kernels, bf16_rounds_to_nearest_even)
{
    cr_expect_eq(bf16_from_float(1.0F), 0x3f80);
    cr_expect_eq(bf16_from_float(1.0F + 0x1p-8F), 0x3f80); /* half way: to even */
    cr_expect_eq(bf16_from_float(1.0F + 0x1.8p-7F), 0x3f82);
    cr_expect_eq(bf16_from_float(-INFINITY), 0xff80);
    cr_expect(isnan(bf16_to_float(bf16_from_float(NAN))));
    cr_expect_eq(bf16_to_float(0x4049), 3.140625F);
}
