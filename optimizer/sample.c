/* Weights drawn from means, deviations and noise, in blocks of NOISE_BLOCK elements. */
#include "optimizer/deviation.h"
#include "optimizer/optimizer.h"
#include "optimizer/rounding.h"

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

static void round_nearest(bf16 *out, const float *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &m[i], sizeof bits);
        uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
        out[i] = (bf16)(m[i] != m[i] ? (bits >> 16) | 0x40U : rounded);
    }
}

/* sigma itself, or what it is formed from. */
typedef struct {
    const float *sigma, *h;
    float lambda, delta;
} spread;

static inline float deviation_at(const spread *s, bool formed, size_t i)
{
    return formed ? deviation(s->h[i], s->lambda, s->delta) : s->sigma[i];
}

/* One loop a case: `formed` is known where this is expanded. */
__attribute__((always_inline)) static inline void
add_noise(void *restrict theta, dtype type, const float *restrict m, const spread *s, bool formed,
          const float *restrict z, const uint32_t *restrict r, size_t n)
{
    if (type == DTYPE_BF16)
        for (size_t i = 0; i < n; i++)
            ((bf16 *)theta)[i] =
                round_stochastic(math_fma(deviation_at(s, formed, i), z[i], m[i]), r[i]);
    else
        for (size_t i = 0; i < n; i++)
            ((float *)theta)[i] = math_fma(deviation_at(s, formed, i), z[i], m[i]);
}

static void sample_block(void *theta, dtype type, const float *m, const spread *s, noise_key key,
                         uint64_t index, size_t n)
{
    _Alignas(64) float z[NOISE_BLOCK];
    _Alignas(64) uint32_t r[NOISE_BLOCK];
    noise_normals(z, type == DTYPE_BF16 ? r : NULL, key, index, n);
    if (s->sigma)
        add_noise(theta, type, m, s, false, z, r, n);
    else if (n == NOISE_BLOCK)
        add_noise(theta, type, m, s, true, z, r, NOISE_BLOCK);
    else
        add_noise(theta, type, m, s, true, z, r, n);
}

/* Where there is neither sigma nor h the mean is copied, or rounded to nearest. */
static void sample_blocks(void *theta, dtype type, const float *m, const spread *s, noise_key key,
                          uint64_t index, size_t count)
{
    size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        spread here = {s->sigma ? s->sigma + at : NULL, s->h ? s->h + at : NULL, s->lambda,
                       s->delta};
        if (s->sigma || s->h)
            sample_block((char *)theta + at * element, type, m + at, &here, key, index + at, n);
        else if (type == DTYPE_BF16)
            round_nearest((bf16 *)theta + at, m + at, n);
        else
            memcpy((float *)theta + at, m + at, n * sizeof *m);
    }
}

void sample_weights(void *theta, dtype type, const float *m, const float *sigma, noise_key key,
                    uint64_t index, size_t count)
{
    sample_blocks(theta, type, m, &(spread){.sigma = sigma}, key, index, count);
}

void sample_weights_from_hessian(void *theta, dtype type, const float *m, const float *h,
                                 double lambda, double delta, noise_key key, uint64_t index,
                                 size_t count)
{
    spread s = {.h = h, .lambda = (float)lambda, .delta = (float)delta};
    sample_blocks(theta, type, m, &s, key, index, count);
}

void sample_weights_from_log(void *theta, dtype type, const float *m, const float *rho,
                             noise_key key, uint64_t index, size_t count)
{
    size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        _Alignas(64) float sigma[NOISE_BLOCK];
        for (size_t i = 0; i < n; i++) sigma[i] = math_exp(rho[at + i]);
        sample_block((char *)theta + at * element, type, m + at, &(spread){.sigma = sigma}, key,
                     index + at, n);
    }
}

/* A block's center, with the columns' part, and the deviations around it. */
static void swag_block(float *restrict center, float *restrict sigma, const swag_moments *q,
                       const float *factors, size_t at, size_t n)
{
    float scale = q->diagonal ? 1.0F : (float)sqrt(0.5);
    memcpy(center, q->mean + at, n * sizeof *center);
    for (size_t k = 0; k < q->columns; k++)
        for (size_t i = 0; i < n; i++)
            center[i] = math_fma(factors[k], q->deviations[k][at + i], center[i]);
    for (size_t i = 0; i < n; i++) {
        float variance = q->variance[at + i];
        sigma[i] = scale * sqrtf(variance > 0.0F ? variance : 0.0F);
    }
}

void sample_weights_swag(void *theta, dtype type, const swag_moments *q, noise_key key,
                         uint64_t index, size_t count)
{
    size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    float factors[SWAG_RANK] = {0};
    if (q->columns > 1) {
        float scale = (float)sqrt(0.5 / (double)(q->columns - 1));
        noise_normals(factors, NULL, key, SWAG_FACTORS, q->columns);
        for (size_t k = 0; k < q->columns; k++) factors[k] *= scale;
    }
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < block_count(count); b++) {
        size_t at = b * NOISE_BLOCK, n = block_length(b, count);
        _Alignas(64) float center[NOISE_BLOCK], sigma[NOISE_BLOCK];
        swag_block(center, sigma, q, factors, at, n);
        sample_block((char *)theta + at * element, type, center, &(spread){.sigma = sigma}, key,
                     index + at, n);
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
