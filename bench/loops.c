/* Each loop is run on buffers that no cache holds, as in a step. */
#include "bench/loops.h"

#include "base/memory.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"
#include "optimizer/optimizer.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

enum { REPEATS = 7, COUNT = 1 << 25 /* elements of an optimizer's arrays */ };
/* Bytes between arrays: at distances of a power of two, which a run's arrays do not have, streams
 * get in each other's way in caches and memory banks. */
enum { STAGGER = 33 * MEMORY_ALIGNMENT };
enum { B = 4, T = 1024, C = 768, NH = 12, N = B * T, V = 50304, CHUNK = 256 };

/* Median seconds of `code`, after one run that warms up. */
#define SECONDS(out, code)                                                                         \
    do {                                                                                           \
        double times_[REPEATS];                                                                    \
        for (int i_ = -1; i_ < REPEATS; i_++) {                                                    \
            double start_ = omp_get_wtime();                                                       \
            code;                                                                                  \
            if (i_ >= 0) times_[i_] = omp_get_wtime() - start_;                                    \
        }                                                                                          \
        (out) = report_median(times_, REPEATS);                                                    \
    } while (0)

static void draw_all(void)
{
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < COUNT / NOISE_BLOCK; b++) {
        float z[NOISE_BLOCK];
        uint32_t words[NOISE_BLOCK];
        noise_normals(z, words, (noise_key){.seed = 1}, b * NOISE_BLOCK, NOISE_BLOCK);
    }
}

static double noise_seconds(void)
{
    double seconds;
    SECONDS(seconds, draw_all());
    return seconds;
}

typedef struct {
    float *m, *h, *momentum, *g, *f;
    bf16 *theta;
} arrays;

static double lower(double a, double b)
{
    return a < b ? a : b;
}

/* The traffic of an update without its arithmetic: three arrays are read and written, g is read,
 * and for IVON f. */
static void stream_update(float *restrict m, float *restrict h, float *restrict momentum,
                          const float *restrict g, const float *restrict f)
{
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < COUNT; i++) {
        m[i] = 0.5F * m[i] + g[i];
        h[i] = 0.5F * h[i] + f[i];
        momentum[i] = 0.5F * momentum[i] + g[i];
    }
}

static void optimizer_rows(report *r, const machine_memory *memory, const arrays *a)
{
    double seconds, billions = 1e-9 * COUNT, noise = billions / noise_seconds();
    noise_key key = {.seed = 1, .step = 7};
    report_add(r, "noise: normals, 1e9/s a thread", noise / omp_get_max_threads(), "1e9/s", 0.9);
    SECONDS(seconds, sample_weights_from_hessian(a->theta, DTYPE_BF16, a->m, a->h, 1e10, 1e-6, key,
                                                 0, COUNT));
    report_add(r, "sampling: m, h to bf16 weights (10 bytes each)", billions / seconds, "1e9/s",
               lower(noise, memory->triad / 10.0));
    gradient_piece piece = {.values = a->momentum, .scale = 1.0F, .key = key};
    SECONDS(seconds, accumulate_piece(a->g, a->f, false, &piece, HESSIAN_PRICE, 0, COUNT));
    report_add(r, "sums of g and epsilon g (20 bytes)", billions / seconds, "1e9/s",
               lower(noise, memory->update / 20.0));
    ivon_step ivon = {.lambda = 1e10,
                      .delta = 1e-6,
                      .h0 = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.99999,
                      .xi = 1e-3,
                      .alpha = 0.3,
                      .updates = 1,
                      .debias = true,
                      .hessian = HESSIAN_PRICE};
    uint64_t clipped = 0, rescued = 0;
    gradient_sums sums = {.g = a->g, .f = a->f};
    SECONDS(seconds, ivon_update(a->m, a->h, a->momentum, &sums, 1.0, 1.0, &ivon, COUNT, &clipped,
                                 &rescued));
    double streamed;
    SECONDS(streamed, stream_update(a->m, a->h, a->momentum, a->g, a->f));
    report_add(r, "IVON's update (32 bytes), its arrays streamed", 32 * billions / seconds, "GB/s",
               32 * billions / streamed);
    adamw_step adamw = {
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .decay = 0.1, .lr = 6e-4, .updates = 1};
    SECONDS(seconds, adamw_update(a->m, a->momentum, a->h, a->g, 1.0, &adamw, COUNT));
    SECONDS(streamed, stream_update(a->m, a->h, a->momentum, a->g, a->g));
    report_add(r, "AdamW's update (28 bytes), its arrays streamed", 28 * billions / seconds, "GB/s",
               28 * billions / streamed);
}

status bench_optimizer(report *r, const machine_memory *memory)
{
    arena space;
    status result =
        arena_open(&space, "arrays", COUNT * (5 * sizeof(float) + sizeof(bf16)) + 5 * STAGGER);
    if (result) return result;
    arrays a;
    float **floats[] = {&a.m, &a.h, &a.momentum, &a.g, &a.f};
    for (int i = 0; i < 5; i++) *floats[i] = arena_take(&space, COUNT * sizeof(float) + STAGGER);
    a.theta = arena_take(&space, COUNT * sizeof(bf16));
    for (size_t i = 0; i < COUNT; i++) a.h[i] = 1e-3F;
    optimizer_rows(r, memory, &a);
    arena_close(&space);
    return STATUS_OK;
}

typedef struct {
    const char *name;
    size_t in, out;
} linear;

static void product_rows(report *r, dtype type, double ceiling, const linear *shape, void *x,
                         void *w, void *y, float *dx, float *dw, float *work)
{
    char name[REPORT_TEXT];
    size_t I = shape->in, O = shape->out;
    double seconds, flops = 2e-9 * N * (double)I * (double)O;
    SECONDS(seconds, gemm(N, O, I, x, I, false, w, O, false, y, O, type, type, NULL, false));
    snprintf(name, sizeof name, "product %s %zu x %zu: forward", shape->name, I, O);
    report_add(r, name, flops / seconds, "GFLOP/s", ceiling);
    SECONDS(seconds, gemm(N, I, O, y, O, false, w, O, true, dx, I, type, DTYPE_F32, NULL, false));
    snprintf(name, sizeof name, "product %s %zu x %zu: d input", shape->name, I, O);
    report_add(r, name, flops / seconds, "GFLOP/s", ceiling);
    SECONDS(seconds, weight_gradient(dw, x, y, type, work, N, I, O, false));
    snprintf(name, sizeof name, "product %s %zu x %zu: d weight", shape->name, I, O);
    report_add(r, name, flops / seconds, "GFLOP/s", ceiling);
}

typedef struct {
    void *x, *y, *z; /* act (N, 4C) */
    float *wide, *lse, *work, *logits;
    uint16_t *targets;
} space;

static void attention_rows(report *r, dtype type, double ceiling, const space *s)
{
    double seconds, flops = 2e-9 * B * T * (double)T * C; /* two products of the causal half */
    noise_key key = {0};
    SECONDS(seconds,
            attention_forward(s->y, s->lse, s->x, type, B, T, C, NH, 0.0, key, 0, s->work));
    report_add(r, "attention, forward", flops / seconds, "GFLOP/s", ceiling);
    SECONDS(seconds, attention_backward(s->z, s->y, s->x, s->y, s->lse, type, B, T, C, NH, 0.0, key,
                                        0, s->work));
    report_add(r, "attention, backward", 2.5 * flops / seconds, "GFLOP/s", ceiling);
}

static void element_rows(report *r, dtype type, const machine_memory *memory, const space *s)
{
    double seconds, act = type == DTYPE_BF16 ? 2.0 : 4.0, million = 1e-9 * N * C;
    static float gain[C], mean[N], rstd[N], losses[CHUNK];
    SECONDS(seconds, gelu_forward(s->y, s->x, type, (size_t)N * 4 * C));
    report_add(r, "GELU, forward", 4 * million * 2 * act / seconds, "GB/s", memory->copy);
    SECONDS(seconds, gelu_backward(s->y, s->y, s->x, type, (size_t)N * 4 * C));
    report_add(r, "GELU, backward", 4 * million * 3 * act / seconds, "GB/s", memory->update);
    SECONDS(seconds, layernorm_forward(s->y, type, mean, rstd, s->wide, gain, NULL, N, C));
    report_add(r, "layer norm, forward", million * (4 + act) / seconds, "GB/s", memory->copy);
    SECONDS(seconds,
            residual_add(s->wide, s->wide, s->x, type, (size_t)N * C, 0.0, (noise_key){0}, 0));
    report_add(r, "residual", million * (8 + act) / seconds, "GB/s", memory->update);
    SECONDS(seconds, cross_entropy(losses, s->y, V, type, s->logits, V, s->targets, CHUNK, V, 1.0));
    report_add(r, "cross-entropy and its gradient", 1e-9 * CHUNK * V * (4 + act) / seconds, "GB/s",
               memory->copy);
}

status bench_kernels(report *r, const machine_memory *memory, dtype type)
{
    static const linear shapes[] = {
        {"attn", C, 3 * C}, {"proj", C, C}, {"fc", C, 4 * C}, {"fc_proj", 4 * C, C}};
    size_t act = type == DTYPE_BF16 ? 2 : 4, wide = (size_t)N * 4 * C;
    size_t work = attention_work_floats(T, C, NH), sums = weight_gradient_work_floats(4 * C);
    if (work < sums) work = sums;
    arena a;
    size_t bytes = 3 * memory_round(wide * act) + memory_round(wide * 4) +
                   memory_round((size_t)N * NH * 4) + memory_round(work * 4) +
                   memory_round((size_t)CHUNK * V * 4) + memory_round(CHUNK * sizeof(uint16_t));
    status result = arena_open(&a, "kernels", bytes);
    if (result) return result;
    space s = {.x = arena_take(&a, wide * act), .y = arena_take(&a, wide * act)};
    s.z = arena_take(&a, wide * act);
    s.wide = arena_take(&a, wide * 4);
    s.lse = arena_take(&a, (size_t)N * NH * 4);
    s.work = arena_take(&a, work * 4);
    s.logits = arena_take(&a, (size_t)CHUNK * V * 4);
    s.targets = arena_take(&a, CHUNK * sizeof(uint16_t));
    double ceiling = ceiling_product_rate(type);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        product_rows(r, type, ceiling, &shapes[i], s.x, s.z, s.y, s.wide, s.logits, s.work);
    attention_rows(r, type, ceiling, &s);
    element_rows(r, type, memory, &s);
    arena_close(&a);
    return STATUS_OK;
}
