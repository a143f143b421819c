/* Layer norm over rows, and column sums. */
#include "kernels/kernels.h"
#include "kernels/math.h"

#include <math.h>
#include <omp.h>

static void forward_row(void *out, dtype type, size_t at, float *mean, float *rstd, const float *in,
                        const float *gain, const float *bias, size_t C)
{
    float sum = 0.0F, squares = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < C; c++) sum += in[c];
    float m = sum / (float)C;
#pragma omp simd reduction(+ : squares)
    for (size_t c = 0; c < C; c++) squares += (in[c] - m) * (in[c] - m);
    float r = 1.0F / sqrtf(squares / (float)C + 1e-5F);
    *mean = m;
    *rstd = r;
    if (type == DTYPE_BF16) {
        bf16 *o = (bf16 *)out + at;
        if (bias)
            for (size_t c = 0; c < C; c++) o[c] = math_narrow((in[c] - m) * r * gain[c] + bias[c]);
        else
            for (size_t c = 0; c < C; c++) o[c] = math_narrow((in[c] - m) * r * gain[c]);
    } else {
        float *o = (float *)out + at;
        if (bias)
            for (size_t c = 0; c < C; c++) o[c] = (in[c] - m) * r * gain[c] + bias[c];
        else
            for (size_t c = 0; c < C; c++) o[c] = (in[c] - m) * r * gain[c];
    }
}

void layernorm_forward(void *out, dtype type, float *mean, float *rstd, const float *in,
                       const float *gain, const float *bias, size_t N, size_t C)
{
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < N; n++)
        forward_row(out, type, n * C, &mean[n], &rstd[n], in + n * C, gain, bias, C);
}

size_t layernorm_work_floats(size_t C)
{
    return (size_t)omp_get_max_threads() * 3 * C;
}

/* With x the normalized input and d = dout * gain: din += rstd (d - mean(d) - x mean(d x)). */
static void backward_row(float *restrict din, float *restrict dgain, float *restrict dbias,
                         const float *restrict dout, const float *restrict in,
                         const float *restrict gain, float mean, float rstd, size_t C)
{
    float sum = 0.0F, product = 0.0F;
#pragma omp simd reduction(+ : sum, product)
    for (size_t c = 0; c < C; c++) {
        float x = (in[c] - mean) * rstd, d = dout[c] * gain[c];
        sum += d;
        product += d * x;
        dgain[c] += dout[c] * x;
        dbias[c] += dout[c];
    }
    sum /= (float)C;
    product /= (float)C;
    for (size_t c = 0; c < C; c++) {
        float x = (in[c] - mean) * rstd;
        din[c] += rstd * (dout[c] * gain[c] - sum - x * product);
    }
}

static const float *row_of(float *wide, const void *values, dtype type, size_t row, size_t C)
{
    if (type == DTYPE_F32) return (const float *)values + row * C;
    const bf16 *in = (const bf16 *)values + row * C;
    for (size_t c = 0; c < C; c++) wide[c] = math_widen(in[c]);
    return wide;
}

/* Thread t sums rows [N t / threads, N (t + 1) / threads) into its part of the work; the parts are
 * added in the order of threads. */
void layernorm_backward(float *din, float *dgain, float *dbias, const void *dout, dtype type,
                        const float *in, const float *gain, const float *mean, const float *rstd,
                        float *work, size_t N, size_t C)
{
    size_t threads = (size_t)omp_get_max_threads();
    memset(work, 0, threads * 3 * C * sizeof *work);
#pragma omp parallel for schedule(static, 1)
    for (size_t t = 0; t < threads; t++) {
        float *own = work + t * 3 * C;
        for (size_t n = N * t / threads; n < N * (t + 1) / threads; n++)
            backward_row(din + n * C, own, own + C, row_of(own + 2 * C, dout, type, n, C),
                         in + n * C, gain, mean[n], rstd[n], C);
    }
    for (size_t c = 0; c < C; c++) {
        float g = 0.0F, b = 0.0F;
        for (size_t t = 0; t < threads; t++) {
            g += work[t * 3 * C + c];
            b += work[t * 3 * C + C + c];
        }
        dgain[c] = g;
        if (dbias) dbias[c] = b;
    }
}

size_t bias_work_floats(size_t C)
{
    return (size_t)omp_get_max_threads() * 2 * C;
}

void bias_backward(float *dbias, const void *dout, dtype type, float *work, size_t N, size_t C)
{
    size_t threads = (size_t)omp_get_max_threads();
    memset(work, 0, threads * 2 * C * sizeof *work);
#pragma omp parallel for schedule(static, 1)
    for (size_t t = 0; t < threads; t++) {
        float *own = work + t * 2 * C;
        for (size_t n = N * t / threads; n < N * (t + 1) / threads; n++) {
            const float *row = row_of(own + C, dout, type, n, C);
            for (size_t c = 0; c < C; c++) own[c] += row[c];
        }
    }
    for (size_t c = 0; c < C; c++) {
        float sum = 0.0F;
        for (size_t t = 0; t < threads; t++) sum += work[t * 2 * C + c];
        dbias[c] = sum;
    }
}
