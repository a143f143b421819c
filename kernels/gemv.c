/* One row times a matrix. Every weight is used once, so memory's bandwidth is the limit: threads
 * share the outputs, and each reads its weights in runs that the processor foresees. bf16 are read
 * in pairs, neighbours along a row of weights, which shifting and masking turn into floats. */
#include "kernels/gemv.h"

#include "kernels/kernels.h"
#include "kernels/math.h"

#include <omp.h>
#include <string.h>

enum {
    ROWS = 8,     /* rows of (k, n) weights that are read side by side */
    STRIP = 1024, /* outputs at once: their sums stay in the nearest cache */
    SHARE = 32,   /* outputs of a thread are a multiple of this */
};

typedef uint32_t pair __attribute__((aligned(2), may_alias));

static inline float low(uint32_t two)
{
    uint32_t bits = two << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static inline float high(uint32_t two)
{
    uint32_t bits = two & 0xffff0000U;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static inline const pair *pairs(const bf16 *values)
{
    return (const pair *)(const void *)values;
}

/* Adds x[i] b[i][..] of `rows` rows, a constant where this is inlined. */
static inline __attribute__((always_inline)) void add_pairs(float *restrict even,
                                                            float *restrict odd, const bf16 *x,
                                                            const bf16 *b, size_t ldb, size_t n,
                                                            size_t rows)
{
    float y[ROWS];
    for (size_t i = 0; i < rows; i++) y[i] = math_widen(x[i]);
#pragma omp simd
    for (size_t j = 0; j < n / 2; j++) {
        float e = even[j], o = odd[j];
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; i++) {
            uint32_t two = pairs(b + i * ldb)[j];
            e += y[i] * low(two);
            o += y[i] * high(two);
        }
        even[j] = e;
        odd[j] = o;
    }
}

static inline __attribute__((always_inline)) void
add_floats(float *restrict sum, const float *x, const float *b, size_t ldb, size_t n, size_t rows)
{
    float y[ROWS];
    for (size_t i = 0; i < rows; i++) y[i] = x[i];
#pragma omp simd
    for (size_t j = 0; j < n; j++) {
        float s = sum[j];
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; i++) s += y[i] * b[i * ldb + j];
        sum[j] = s;
    }
}

/* n is even. */
static void strip_bf16(float *restrict out, const bf16 *x, const bf16 *b, size_t ldb, size_t n,
                       size_t k)
{
    float even[STRIP / 2], odd[STRIP / 2];
    size_t i = 0;
    memset(even, 0, n / 2 * sizeof *even);
    memset(odd, 0, n / 2 * sizeof *odd);
    for (; i + ROWS <= k; i += ROWS) add_pairs(even, odd, x + i, b + i * ldb, ldb, n, ROWS);
    for (; i < k; i++) add_pairs(even, odd, x + i, b + i * ldb, ldb, n, 1);
    for (size_t j = 0; j < n / 2; j++) {
        out[2 * j] = even[j];
        out[2 * j + 1] = odd[j];
    }
}

static void strip_float(float *restrict out, const float *x, const float *b, size_t ldb, size_t n,
                        size_t k)
{
    size_t i = 0;
    memset(out, 0, n * sizeof *out);
    for (; i + ROWS <= k; i += ROWS) add_floats(out, x + i, b + i * ldb, ldb, n, ROWS);
    for (; i < k; i++) add_floats(out, x + i, b + i * ldb, ldb, n, 1);
}

static float column_bf16(const bf16 *x, const bf16 *b, size_t ldb, size_t k)
{
    float sum = 0.0F;
    for (size_t i = 0; i < k; i++) sum += math_widen(x[i]) * math_widen(b[i * ldb]);
    return sum;
}

void gemv_columns(float *out, const void *x, const void *b, size_t ldb, size_t n, size_t k,
                  dtype type)
{
    for (size_t at = 0; at < n; at += STRIP) {
        size_t columns = n - at < STRIP ? n - at : STRIP;
        if (type == DTYPE_BF16) {
            const bf16 *strip = (const bf16 *)b + at;
            strip_bf16(out + at, x, strip, ldb, columns - columns % 2, k);
            if (columns % 2) out[n - 1] = column_bf16(x, (const bf16 *)b + n - 1, ldb, k);
        } else {
            strip_float(out + at, x, (const float *)b + at, ldb, columns, k);
        }
    }
}

static float dot_bf16(const bf16 *x, const bf16 *b, size_t k)
{
    float even = 0.0F, odd = 0.0F;
#pragma omp simd reduction(+ : even, odd)
    for (size_t i = 0; i < k / 2; i++) {
        uint32_t y = pairs(x)[i], two = pairs(b)[i];
        even += low(y) * low(two);
        odd += high(y) * high(two);
    }
    if (k % 2) even += math_widen(x[k - 1]) * math_widen(b[k - 1]);
    return even + odd;
}

static float dot_float(const float *x, const float *b, size_t k)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < k; i++) sum += x[i] * b[i];
    return sum;
}

void gemv_rows(float *out, const void *x, const void *b, size_t ldb, size_t n, size_t k, dtype type)
{
    for (size_t j = 0; j < n; j++)
        out[j] = type == DTYPE_BF16 ? dot_bf16(x, (const bf16 *)b + j * ldb, k)
                                    : dot_float(x, (const float *)b + j * ldb, k);
}

static void store(void *out, dtype type, size_t at, const float *sums, const float *bias, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        float sum = sums[j] + (bias ? bias[at + j] : 0.0F);
        if (type == DTYPE_BF16)
            ((bf16 *)out)[at + j] = math_narrow(sum);
        else
            ((float *)out)[at + j] = sum;
    }
}

void gemv(size_t n, size_t k, const void *x, const void *b, size_t ldb, bool transpose_b, void *out,
          dtype type, dtype out_type, const float *bias)
{
    size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    size_t shares = (n + SHARE - 1) / SHARE, step = element * (transpose_b ? ldb : 1);
#pragma omp parallel
    {
        size_t threads = (size_t)omp_get_num_threads(), t = (size_t)omp_get_thread_num();
        size_t end = shares * (t + 1) / threads * SHARE, count;
        if (end > n) end = n;
        for (size_t at = shares * t / threads * SHARE; at < end; at += count) {
            const char *from = (const char *)b + at * step;
            float sums[STRIP];
            count = end - at < STRIP ? end - at : STRIP;
            if (transpose_b)
                gemv_rows(sums, x, from, ldb, count, k, type);
            else
                gemv_columns(sums, x, from, ldb, count, k, type);
            store(out, out_type, at, sums, bias, count);
        }
    }
}
