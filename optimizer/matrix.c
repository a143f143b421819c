/* Matrices in tensors, in runs of at most NOISE_BLOCK elements of a row; a matrix that is all of
 * its tensor is one long row. */
#include "optimizer/matrix.h"

#include "optimizer/deviation.h"
#include "optimizer/rounding.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RUN = 1024 /* elements of one thread's turn where they are all contiguous */ };

/* Runs of a matrix, numbered. */
typedef struct {
    size_t length, stride; /* of a row */
    size_t in_row, count;
} runs;

/* A run: where it begins in a contiguous array and in the tensor, and how long it is. */
typedef struct {
    size_t here, there, n;
} run;

static runs runs_of(const matrix_place *at)
{
    bool whole = at->stride == at->columns;
    runs r = {.length = whole ? at->rows * at->columns : at->columns, .stride = at->stride};
    r.in_row = (r.length + NOISE_BLOCK - 1) / NOISE_BLOCK;
    r.count = (whole ? 1 : at->rows) * r.in_row;
    return r;
}

static inline run run_at(const runs *r, size_t i)
{
    size_t row = i / r->in_row, column = i % r->in_row * NOISE_BLOCK, left = r->length - column;
    return (run){.here = row * r->length + column,
                 .there = row * r->stride + column,
                 .n = left < NOISE_BLOCK ? left : NOISE_BLOCK};
}

static void load_run(float *restrict out, const float *restrict in, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = scale * in[i];
}

static void widen_run(float *restrict out, const bf16 *restrict in, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = scale * math_widen(in[i]);
}

void matrix_load(float *out, const void *in, dtype type, float scale, const matrix_place *at)
{
    const runs all = runs_of(at);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all.count; i++) {
        run r = run_at(&all, i);
        if (type == DTYPE_BF16)
            widen_run(out + r.here, (const bf16 *)in + r.there, scale, r.n);
        else
            load_run(out + r.here, (const float *)in + r.there, scale, r.n);
    }
}

static void deviations_run(float *restrict out, const float *restrict h, const float *restrict z,
                           float lambda, float delta, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = deviation(h[i], lambda, delta) * z[i];
}

void matrix_deviations(float *out, const float *h, double lambda, double delta,
                       const matrix_place *at, noise_key key)
{
    const runs all = runs_of(at);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all.count; i++) {
        run r = run_at(&all, i);
        _Alignas(64) float z[NOISE_BLOCK];
        noise_normals(z, NULL, key, at->index + r.there, r.n);
        deviations_run(out + r.here, h + r.here, z, (float)lambda, (float)delta, r.n);
    }
}

static void sum_run(float *restrict theta, const float *restrict m, const float *restrict d,
                    size_t n)
{
    for (size_t i = 0; i < n; i++) theta[i] = m[i] + d[i];
}

static void round_run(bf16 *restrict theta, const float *restrict m, const float *restrict d,
                      const uint32_t *restrict words, size_t n)
{
    for (size_t i = 0; i < n; i++) theta[i] = round_stochastic(m[i] + d[i], words[i]);
}

void matrix_sample(void *theta, dtype type, const float *m, const float *d, const matrix_place *at,
                   noise_key key)
{
    const runs all = runs_of(at);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all.count; i++) {
        run r = run_at(&all, i);
        if (type == DTYPE_BF16) {
            _Alignas(64) uint32_t words[NOISE_BLOCK];
            noise_uniform_words(words, key, at->index + r.there, r.n);
            round_run((bf16 *)theta + r.there, m + r.there, d + r.here, words, r.n);
        } else {
            sum_run((float *)theta + r.there, m + r.there, d + r.here, r.n);
        }
    }
}

static void add_run(float *restrict g_sum, const float *restrict g, size_t n)
{
    for (size_t i = 0; i < n; i++) g_sum[i] += g[i];
}

static void add_estimate_run(float *restrict f_sum, const float *restrict g,
                             const float *restrict z, size_t n)
{
    for (size_t i = 0; i < n; i++) f_sum[i] += z[i] * g[i];
}

void matrix_accumulate(float *g_sum, float *f_sum, bool first, const float *g,
                       const matrix_place *at, noise_key key)
{
    const runs all = runs_of(at);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all.count; i++) {
        run r = run_at(&all, i);
        _Alignas(64) float z[NOISE_BLOCK];
        if (first) memset(g_sum + r.here, 0, r.n * sizeof *g_sum);
        add_run(g_sum + r.here, g + r.here, r.n);
        if (!f_sum) continue;
        if (first) memset(f_sum + r.here, 0, r.n * sizeof *f_sum);
        noise_normals(z, NULL, key, at->index + r.there, r.n);
        add_estimate_run(f_sum + r.here, g + r.here, z, r.n);
    }
}

static void move_run(float *restrict m, const float *restrict u, float lr, float shrink, size_t n)
{
    for (size_t i = 0; i < n; i++) m[i] = m[i] - (shrink * m[i] + lr * u[i]);
}

void matrix_move(float *m, const float *u, double lr, double shrink, const matrix_place *at)
{
    const runs all = runs_of(at);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < all.count; i++) {
        run r = run_at(&all, i);
        move_run(m + r.there, u + r.here, (float)lr, (float)shrink, r.n);
    }
}

static void scale_run(float *out, const float *in, float scale, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = scale * in[i];
}

static void narrow_run(bf16 *restrict out, const float *restrict in, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = math_narrow(scale * in[i]);
}

void matrix_scale(void *out, dtype type, const float *in, float scale, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        if (type == DTYPE_BF16)
            narrow_run((bf16 *)out + at, in + at, scale, n);
        else
            scale_run((float *)out + at, in + at, scale, n);
    }
}

/* Row i; out may be x, so neither is restrict. */
static void polynomial_row(float *out, const float *x, const float *restrict y, const float c[3],
                           size_t n, size_t i)
{
    const float c1 = c[1], c2 = c[2];
#pragma omp simd
    for (size_t j = 0; j < n; j++) out[j] = c1 * x[j] + c2 * y[j];
    out[i] += c[0];
}

static void polynomial_row_narrow(bf16 *out, const bf16 *x, const bf16 *restrict y,
                                  const float c[3], size_t n, size_t i)
{
    const float c1 = c[1], c2 = c[2];
    float diagonal = c[0] + c1 * math_widen(x[i]) + c2 * math_widen(y[i]);
#pragma omp simd
    for (size_t j = 0; j < n; j++)
        out[j] = math_narrow(c1 * math_widen(x[j]) + c2 * math_widen(y[j]));
    out[i] = math_narrow(diagonal);
}

void matrix_polynomial(void *out, const void *x, const void *y, dtype type, const float c[3],
                       size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        if (type == DTYPE_BF16)
            polynomial_row_narrow((bf16 *)out + i * n, (const bf16 *)x + i * n,
                                  (const bf16 *)y + i * n, c, n, i);
        else
            polynomial_row((float *)out + i * n, (const float *)x + i * n, (const float *)y + i * n,
                           c, n, i);
}

/* Constants of a step, rounded once from double. */
typedef struct {
    float g_scale, f_scale, lambda, delta, one_less_beta1, one_less_beta2, half_square, debias,
        clip, ahead;
} evon_constants;

/* As IVON's loop (optimizer/ivon.c), whose remarks on digits and on wild estimates hold here. u may
 * be mean, so these two are not restrict. */
static void evon_run(float *u, float *restrict h, float *restrict momentum, const float *mean,
                     const float *restrict g_sum, const float *restrict f_sum,
                     const evon_constants *constants, size_t n, uint32_t counts[2])
{
    const evon_constants c = *constants;
    int32_t cut = 0, rescued = 0;
#pragma omp simd reduction(+ : cut, rescued)
    for (size_t i = 0; i < n; i++) {
        float old = h[i], precision = old + c.delta;
        float estimate = c.f_scale * f_sum[i] * sqrtf(c.lambda * precision);
        float limit = c.clip < INFINITY ? c.clip * fabsf(old) : INFINITY;
        float upper = estimate > limit ? limit : estimate;
        float f = upper < -limit ? -limit : upper;
        float difference = f - old;
        float moved = old + (c.one_less_beta2 * difference +
                             c.half_square * (difference * difference) / precision);
        int32_t holds = (moved + c.delta > 0.0F ? 1 : 0) & (moved <= FLT_MAX ? 1 : 0);
        float next = holds ? moved : old;
        float now = c.g_scale * g_sum[i], g = momentum[i] + c.one_less_beta1 * (now - momentum[i]);
        float m = g * c.debias;
        cut += (estimate > limit ? 1 : 0) | (estimate < -limit ? 1 : 0);
        rescued += 1 - holds;
        h[i] = next;
        momentum[i] = g;
        u[i] = (m + c.ahead * (now - m) + c.delta * mean[i]) / (next + c.delta);
    }
    counts[0] = (uint32_t)cut;
    counts[1] = (uint32_t)rescued;
}

void evon_update(float *u, float *h, float *momentum, const float *mean, const float *g_sum,
                 const float *f_sum, double g_scale, double f_scale, const evon_step *step,
                 size_t count, uint64_t *cut, uint64_t *rescued)
{
    double one_less_beta2 = 1.0 - step->beta2;
    double debias = step->debias ? 1.0 - pow(step->beta1, (double)step->updates) : 1.0;
    const evon_constants c = {.g_scale = (float)g_scale,
                              .f_scale = (float)f_scale,
                              .lambda = (float)step->lambda,
                              .delta = (float)step->delta,
                              .one_less_beta1 = (float)(1.0 - step->beta1),
                              .one_less_beta2 = (float)one_less_beta2,
                              .half_square = (float)(0.5 * one_less_beta2 * one_less_beta2),
                              .debias = (float)(1.0 / debias),
                              .clip = (float)step->clip,
                              .ahead = step->nesterov ? (float)(1.0 - step->beta1) : 0.0F};
    uint64_t all_cut = 0, all_rescued = 0;
#pragma omp parallel for schedule(static) reduction(+ : all_cut, all_rescued)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        uint32_t counts[2];
        evon_run(u + at, h + at, momentum + at, mean + at, g_sum + at, f_sum + at, &c, n, counts);
        all_cut += counts[0];
        all_rescued += counts[1];
    }
    *cut += all_cut;
    *rescued += all_rescued;
}

typedef struct {
    float g_scale, one_less_beta1, one_less_beta2, correct1, correct2, epsilon;
} soap_constants;

static void soap_run(float *restrict u, float *restrict v, float *restrict momentum,
                     const float *restrict g_sum, const soap_constants *constants, size_t n)
{
    const soap_constants c = *constants;
    for (size_t i = 0; i < n; i++) {
        float g = c.g_scale * g_sum[i];
        float a = momentum[i] + c.one_less_beta1 * (g - momentum[i]);
        float b = v[i] + c.one_less_beta2 * (g * g - v[i]);
        momentum[i] = a;
        v[i] = b;
        u[i] = (a * c.correct1) / (sqrtf(b * c.correct2) + c.epsilon);
    }
}

void soap_update(float *u, float *v, float *momentum, const float *g_sum, double g_scale,
                 const soap_step *step, size_t count)
{
    double n = (double)step->updates;
    const soap_constants c = {.g_scale = (float)g_scale,
                              .one_less_beta1 = (float)(1.0 - step->beta1),
                              .one_less_beta2 = (float)(1.0 - step->beta2),
                              .correct1 = (float)(1.0 / (1.0 - pow(step->beta1, n))),
                              .correct2 = (float)(1.0 / (1.0 - pow(step->beta2, n))),
                              .epsilon = (float)step->epsilon};
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN)
        soap_run(u + at, v + at, momentum + at, g_sum + at, &c,
                 count - at < RUN ? count - at : RUN);
}

static void muon_run(float *restrict u, float *restrict momentum, const float *restrict g_sum,
                     float g_scale, float rate, bool nesterov, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = g_scale * g_sum[i], a = momentum[i] + rate * (g - momentum[i]);
        momentum[i] = a;
        u[i] = nesterov ? a + rate * (g - a) : a;
    }
}

void muon_update(float *u, float *momentum, const float *g_sum, double g_scale, double beta,
                 bool nesterov, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN)
        muon_run(u + at, momentum + at, g_sum + at, (float)g_scale, (float)(1.0 - beta), nesterov,
                 count - at < RUN ? count - at : RUN);
}
