/* Weights drawn from means, deviations and noise, and gradient pieces added up with the same noise:
 * both walk blocks of NOISE_BLOCK elements, each with its own noise. */
#include "optimizer/deviation.h"
#include "optimizer/optimizer.h"

#include <math.h>
#include <string.h>

static inline size_t block_length(size_t block, size_t count)
{
    size_t left = count - block * NOISE_BLOCK;
    return left < NOISE_BLOCK ? left : NOISE_BLOCK;
}

static size_t block_count(size_t count)
{
    return (count + NOISE_BLOCK - 1) / NOISE_BLOCK;
}

static void add_noise(float *theta, const float *m, const float *sigma, const float *z, size_t n)
{
    for (size_t i = 0; i < n; i++) theta[i] = m[i] + sigma[i] * z[i];
}

static void round_stochastic(bf16 *out, const float *theta, const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &theta[i], sizeof bits);
        out[i] = (bf16)((bits + ((words[i] & 0x1ffU) << 7) + 64U) >> 16);
    }
}

static void round_nearest(bf16 *out, const float *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &m[i], sizeof bits);
        uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
        out[i] = (bf16)(m[i] != m[i] ? (bits >> 16) | 0x40U : rounded);
    }
}

static void sample_block(void *theta, dtype type, const float *m, const float *sigma, noise_key key,
                         uint64_t index, size_t n)
{
    float z[NOISE_BLOCK], sampled[NOISE_BLOCK];
    uint32_t words[NOISE_BLOCK];
    bool rounds = type == DTYPE_BF16;
    noise_normals(z, rounds ? words : NULL, key, index, n);
    add_noise(rounds ? sampled : (float *)theta, m, sigma, z, n);
    if (rounds) round_stochastic(theta, sampled, words, n);
}

void sample_weights(void *theta, dtype type, const float *m, const float *sigma, noise_key key,
                    uint64_t index, size_t count)
{
    size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        if (sigma)
            sample_block((char *)theta + at * element, type, m + at, sigma + at, key, index + at,
                         n);
        else if (type == DTYPE_BF16)
            round_nearest((bf16 *)theta + at, m + at, n);
        else
            memcpy((float *)theta + at, m + at, n * sizeof *m);
    }
}

void sample_weights_from_hessian(void *theta, dtype type, const float *m, const float *h,
                                 double lambda, double delta, noise_key key, uint64_t index,
                                 size_t count)
{
    size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    float scale = (float)lambda, shift = (float)delta;
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        float sigma[NOISE_BLOCK];
        for (size_t i = 0; i < n; i++) sigma[i] = deviation(h[at + i], scale, shift);
        sample_block((char *)theta + at * element, type, m + at, sigma, key, index + at, n);
    }
}

void initial_weights(float *m, double mean, double deviation, uint64_t seed, uint64_t index,
                     size_t count)
{
    noise_key key = {.seed = seed, .stream = STREAM_INITIAL};
    float offset = (float)mean, scale = (float)deviation;
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        float z[NOISE_BLOCK] = {0};
        if (scale != 0.0F) noise_normals(z, NULL, key, index + at, n);
        for (size_t i = 0; i < n; i++) m[at + i] = offset + scale * z[i];
    }
}

static void widen(float *out, const bf16 *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)in[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static void add_scaled(float *sum, const float *piece, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) sum[i] += scale * piece[i];
}

static void add_price(float *g_sum, float *f_sum, const float *piece, const float *z, float scale,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = scale * piece[i];
        g_sum[i] += g;
        f_sum[i] += z[i] * g;
    }
}

static void add_squares(float *g_sum, float *f_sum, const float *piece, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = scale * piece[i];
        g_sum[i] += g;
        f_sum[i] += g * g;
    }
}

void accumulate_piece(float *g_sum, float *f_sum, const void *piece, dtype type, float scale,
                      hessian_kind hessian, noise_key key, uint64_t index, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        float wide[NOISE_BLOCK], z[NOISE_BLOCK];
        const float *g = type == DTYPE_BF16 ? wide : (const float *)piece + at;
        if (type == DTYPE_BF16) widen(wide, (const bf16 *)piece + at, n);
        if (!f_sum) {
            add_scaled(g_sum + at, g, scale, n);
        } else if (hessian == HESSIAN_GRADSQ) {
            add_squares(g_sum + at, f_sum + at, g, scale, n);
        } else {
            noise_normals(z, NULL, key, index + at, n);
            add_price(g_sum + at, f_sum + at, g, z, scale, n);
        }
    }
}
