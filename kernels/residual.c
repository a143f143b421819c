/* The residual stream and dropout: element i is dropped when its word is below p 2^32. */
#include "kernels/kernels.h"
#include "kernels/math.h"

enum { RUN = NOISE_BLOCK };

/* What each element of a run is multiplied by: 0 or 1/(1 - p); all 1 without dropout. */
static void factors(float *out, double dropout, noise_key key, uint64_t index, size_t n)
{
    uint32_t words[RUN], limit = (uint32_t)(dropout * 4294967296.0);
    float kept = (float)(1.0 / (1.0 - dropout));
    if (dropout > 0.0) noise_uniform_words(words, key, index, n);
    for (size_t i = 0; i < n; i++) out[i] = dropout > 0.0 && words[i] < limit ? 0.0F : kept;
}

static void add_bf16(float *out, const float *residual, const bf16 *in, const float *factor,
                     size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = residual[i] + factor[i] * math_widen(in[i]);
}

static void add_float(float *out, const float *residual, const float *in, const float *factor,
                      size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = residual[i] + factor[i] * in[i];
}

void residual_add(float *out, const float *residual, const void *in, dtype type, size_t count,
                  double dropout, noise_key key, uint64_t index)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        float factor[RUN];
        factors(factor, dropout, key, index + at, n);
        if (type == DTYPE_BF16)
            add_bf16(out + at, residual + at, (const bf16 *)in + at, factor, n);
        else
            add_float(out + at, residual + at, (const float *)in + at, factor, n);
    }
}

static void grad_bf16(bf16 *out, const float *in, const float *factor, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = math_narrow(factor[i] * in[i]);
}

static void grad_float(float *out, const float *in, const float *factor, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = factor[i] * in[i];
}

void residual_grad(void *out, dtype type, const float *in, size_t count, double dropout,
                   noise_key key, uint64_t index)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        float factor[RUN];
        factors(factor, dropout, key, index + at, n);
        if (type == DTYPE_BF16)
            grad_bf16((bf16 *)out + at, in + at, factor, n);
        else
            grad_float((float *)out + at, in + at, factor, n);
    }
}

void dropout_apply(float *values, size_t count, double dropout, noise_key key, uint64_t index)
{
    if (dropout > 0.0) residual_grad(values, DTYPE_F32, values, count, dropout, key, index);
}
