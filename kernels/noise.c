/* Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller, over blocks of 64 counters that the
 * compiler vectorizes. Whole blocks are always computed and the wanted part copied, so an
 * element's bits do not depend on who asks for it. */
#include "kernels/noise.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Counters of a block that begins with a counter, and of one that begins inside one: 65, rounded up
 * to whole vectors. */
enum { WHOLE = NOISE_BLOCK / 4, LANES = WHOLE + 16 };

#define MULTIPLIER_0 0xD2511F53U
#define MULTIPLIER_1 0xCD9E8D57U
#define WEYL_0 0x9E3779B9U
#define WEYL_1 0xBB67AE85U

typedef struct {
    uint32_t r[4][LANES];
} word_block;

static inline void philox_round(uint32_t x[4], uint32_t k0, uint32_t k1)
{
    uint64_t p0 = (uint64_t)MULTIPLIER_0 * x[0], p1 = (uint64_t)MULTIPLIER_1 * x[2];
    uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ k0, y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
    x[0] = y0;
    x[1] = (uint32_t)p1;
    x[2] = y2;
    x[3] = (uint32_t)p0;
}

void noise_words(uint32_t out[4], uint64_t seed, const uint32_t counter[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int round = 0; round < 10; round++) {
        philox_round(x, k0, k1);
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    memcpy(out, x, sizeof x);
}

/* Words of counters first .. first + lanes - 1; lanes is WHOLE or LANES. */
static void block_words(word_block *w, noise_key key, uint64_t first, int lanes)
{
    uint32_t seed0 = (uint32_t)key.seed, seed1 = (uint32_t)(key.seed >> 32);
    for (int i = 0; i < lanes; i++) {
        uint64_t counter = first + (uint64_t)i;
        w->r[0][i] = (uint32_t)counter;
        w->r[1][i] = (uint32_t)(counter >> 32) | key.stream << 24;
        w->r[2][i] = key.sample;
        w->r[3][i] = key.step;
    }
    for (int round = 0; round < 10; round++) {
        uint32_t k0 = seed0 + (uint32_t)round * WEYL_0, k1 = seed1 + (uint32_t)round * WEYL_1;
#pragma omp simd
        for (int i = 0; i < lanes; i++) {
            uint64_t p0 = (uint64_t)MULTIPLIER_0 * w->r[0][i];
            uint64_t p1 = (uint64_t)MULTIPLIER_1 * w->r[2][i];
            w->r[0][i] = (uint32_t)(p1 >> 32) ^ w->r[1][i] ^ k0;
            w->r[2][i] = (uint32_t)(p0 >> 32) ^ w->r[3][i] ^ k1;
            w->r[1][i] = (uint32_t)p1;
            w->r[3][i] = (uint32_t)p0;
        }
    }
}

/* ln of a normal float in (0, 1): u = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh(s),
 * s = (m - 1)/(m + 1); the series' next term is below 1e-9 of the sum. */
static inline float log_unit(float u)
{
    uint32_t bits;
    memcpy(&bits, &u, sizeof bits);
    uint32_t shifted = bits - 0x3f3504f3U; /* sqrt(1/2) */
    int e = (int)shifted >> 23;
    bits = (shifted & 0x007fffffU) + 0x3f3504f3U;
    float m;
    memcpy(&m, &bits, sizeof m);
    float s = (m - 1.0F) / (m + 1.0F), t = s * s;
    float series = 1.0F + t * (0.333333333F + t * (0.2F + t * (0.142857143F + t * 0.111111111F)));
    float fe = (float)e;
    return fe * 0.693145752F + (fe * 1.42860677e-6F + 2.0F * s * series);
}

/* One pair of Box-Muller from two words. v is a multiple of 2^-23, so its quadrant is exact:
 * 2 pi v = (q + f) pi/2 with |f| <= 1/2. */
static inline void normal_pair(float *z0, float *z1, uint32_t a, uint32_t b)
{
    float u = ((float)(int)(a >> 9) + 0.5F) * 0x1p-23F;
    float radius = sqrtf(-2.0F * log_unit(u));
    int k = (int)(b >> 9), q = (k + (1 << 20)) >> 21;
    float x = (float)(k - q * (1 << 21)) * (1.57079632679F * 0x1p-21F), t = x * x;
    float sine =
        x + x * t * (-0.166666667F + t * (8.33333333e-3F + t * (-1.98412698e-4F + t * 2.7557e-6F)));
    float cosine =
        1.0F + t * (-0.5F + t * (4.16666667e-2F + t * (-1.38888889e-3F + t * 2.48015873e-5F)));
    float c = q & 1 ? sine : cosine, s = q & 1 ? cosine : sine;
    c = (q + 1) & 2 ? -c : c;
    s = q & 2 ? -s : s;
    *z0 = radius * c;
    *z1 = radius * s;
}

static void block_normals(float *z, const word_block *w, int lanes)
{
    float z0[LANES], z1[LANES], z2[LANES], z3[LANES];
#pragma omp simd
    for (int i = 0; i < lanes; i++) normal_pair(&z0[i], &z1[i], w->r[0][i], w->r[1][i]);
#pragma omp simd
    for (int i = 0; i < lanes; i++) normal_pair(&z2[i], &z3[i], w->r[2][i], w->r[3][i]);
    for (int i = 0; i < lanes; i++) {
        z[4 * i] = z0[i];
        z[4 * i + 1] = z1[i];
        z[4 * i + 2] = z2[i];
        z[4 * i + 3] = z3[i];
    }
}

/* Words in the order of elements. */
static void block_in_order(uint32_t *words, const word_block *w, int lanes)
{
    for (int i = 0; i < lanes; i++)
        for (int j = 0; j < 4; j++) words[4 * i + j] = w->r[j][i];
}

static void copy_words(uint32_t *words, const word_block *w, int lanes, size_t skip, size_t count)
{
    uint32_t all[4 * LANES];
    bool straight = skip == 0 && count == NOISE_BLOCK;
    block_in_order(straight ? words : all, w, lanes);
    if (!straight) memcpy(words, all + skip, count * sizeof *words);
}

static int lanes_of(uint64_t first)
{
    return first % 4 ? LANES : WHOLE;
}

void noise_normals(float *normals, uint32_t *words, noise_key key, uint64_t first, size_t count)
{
    word_block w;
    float z[4 * LANES];
    size_t skip = (size_t)(first % 4);
    bool straight = skip == 0 && count == NOISE_BLOCK;
    block_words(&w, key, first / 4, lanes_of(first));
    block_normals(straight ? normals : z, &w, lanes_of(first));
    if (!straight) memcpy(normals, z + skip, count * sizeof *normals);
    if (words) copy_words(words, &w, lanes_of(first), skip, count);
}

void noise_uniform_words(uint32_t *words, noise_key key, uint64_t first, size_t count)
{
    word_block w;
    block_words(&w, key, first / 4, lanes_of(first));
    copy_words(words, &w, lanes_of(first), (size_t)(first % 4), count);
}

void noise_normals_reference(double *normals, noise_key key, uint64_t first, size_t count)
{
    const double two_pi = 6.283185307179586476925;
    for (size_t n = 0; n < count; n++) {
        uint64_t i = first + n, c = i / 4;
        uint32_t counter[4] = {(uint32_t)c, (uint32_t)(c >> 32) | key.stream << 24, key.sample,
                               key.step};
        uint32_t r[4];
        noise_words(r, key.seed, counter);
        size_t pair = i % 4 / 2 * 2;
        double u = ((double)(r[pair] >> 9) + 0.5) * 0x1p-23,
               v = (double)(r[pair + 1] >> 9) * 0x1p-23;
        double radius = sqrt(-2.0 * log(u));
        normals[n] = radius * (i % 2 ? sin(two_pi * v) : cos(two_pi * v));
    }
}
