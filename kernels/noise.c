/* Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller, over blocks of 64 counters. Whole blocks
 * are always computed and the wanted part copied, so an element's bits do not depend on who asks
 * for it. */
#include "kernels/noise.h"

#include "kernels/math.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Counters or words in lanes of 64 bits, of whose upper halves nothing is expected: so a product of
 * 32 by 32 bits is one instruction, and its lower word is there where the next round wants it. */
#if defined(__AVX512F__)
typedef uint64_t wide __attribute__((vector_size(64)));
#define MULTIPLY(x, m) ((wide)_mm512_mul_epu32((__m512i)(x), (__m512i)(m)))
#elif defined(__AVX2__)
typedef uint64_t wide __attribute__((vector_size(32)));
#define MULTIPLY(x, m) ((wide)_mm256_mul_epu32((__m256i)(x), (__m256i)(m)))
#elif defined(__x86_64__)
typedef uint64_t wide __attribute__((vector_size(16)));
#define MULTIPLY(x, m) ((wide)_mm_mul_epu32((__m128i)(x), (__m128i)(m)))
#else
typedef uint64_t wide __attribute__((vector_size(16)));
#define MULTIPLY(x, m) (((x)&0xffffffffU) * (m))
#endif
/* Vectors go through the rounds together, since one has to wait for its products: as many as there
 * are registers for. Counters of a block that begins with a counter, and of one that begins inside
 * one: 65, rounded up. */
enum {
    LANES = sizeof(wide) / sizeof(uint64_t),
    TOGETHER = sizeof(wide) == 64 ? 8 : 4,
    WHOLE = NOISE_BLOCK / 4,
    COUNTERS = WHOLE + TOGETHER * LANES
};

#define MULTIPLIER_0 0xD2511F53U
#define MULTIPLIER_1 0xCD9E8D57U
#define WEYL_0 0x9E3779B9U
#define WEYL_1 0xBB67AE85U

/* Each counter makes two pairs: a of words r0 and r2, b of r1 and r3. */
typedef struct {
    _Alignas(64) uint32_t a[2 * COUNTERS], b[2 * COUNTERS];
} pair_words;

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

static inline wide all_lanes(uint64_t x)
{
    return x - (wide){0};
}

static inline void store_words(uint32_t *out, wide even, wide odd)
{
    wide both = (even & 0xffffffffU) | odd << 32; /* little-endian, as the files */
    memcpy(out, &both, sizeof both);
}

/* Words of counters first .. first + counters - 1; counters is WHOLE or COUNTERS. */
static inline void block_words(pair_words *w, noise_key key, uint64_t first, int counters)
{
    wide counter, m0 = all_lanes(MULTIPLIER_0), m1 = all_lanes(MULTIPLIER_1);
    for (int i = 0; i < LANES; i++) counter[i] = first + (uint64_t)i;
    for (int c = 0; c < counters; c += TOGETHER * LANES) {
        wide x0[TOGETHER], x1[TOGETHER], x2[TOGETHER], x3[TOGETHER];
        uint32_t k0 = (uint32_t)key.seed, k1 = (uint32_t)(key.seed >> 32);
#pragma GCC unroll 8
        for (int v = 0; v < TOGETHER; v++, counter += LANES) {
            x0[v] = counter;
            x1[v] = counter >> 32 | (uint64_t)key.stream << 24;
            x2[v] = all_lanes(key.sample);
            x3[v] = all_lanes(key.step);
        }
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++, k0 += WEYL_0, k1 += WEYL_1) {
#pragma GCC unroll 8
            for (int v = 0; v < TOGETHER; v++) {
                wide p0 = MULTIPLY(x0[v], m0), p1 = MULTIPLY(x2[v], m1);
                x0[v] = p1 >> 32 ^ x1[v] ^ all_lanes(k0);
                x1[v] = p1;
                x2[v] = p0 >> 32 ^ x3[v] ^ all_lanes(k1);
                x3[v] = p0;
            }
        }
#pragma GCC unroll 8
        for (int v = 0; v < TOGETHER; v++) {
            store_words(w->a + 2 * (c + v * LANES), x0[v], x2[v]);
            store_words(w->b + 2 * (c + v * LANES), x1[v], x3[v]);
        }
    }
}

/* -2 ln(n 2^-24) for a whole number n in [1, 2^24): n = 2^e (1 + f) with 1 + f in [sqrt(1/2),
 * sqrt(2)), and a minimax polynomial of -2 ln(1 + f)/f; relative error at most 4e-7. */
static inline float square_radius(uint32_t n)
{
    float whole = (float)(int)n, m;
    uint32_t bits;
    memcpy(&bits, &whole, sizeof bits);
    uint32_t shifted = bits - (0x3f3504f3U + (24U << 23)); /* sqrt(1/2) 2^24 */
    float e = (float)((int)shifted >> 23);
    bits = (shifted & 0x007fffffU) + 0x3f3504f3U;
    memcpy(&m, &bits, sizeof m);
    float f = m - 1.0F, p = math_fma(f, 0.202137786F, -0.32445168F);
    p = math_fma(f, p, 0.34501666F);
    p = math_fma(f, p, -0.398003305F);
    p = math_fma(f, p, 0.499398176F);
    p = math_fma(f, p, -0.666701179F);
    p = math_fma(f, p, 1.0000073F);
    p = math_fma(f, p, -1.99999989F);
    return math_fma(e, -1.38629436F, f * p);
}

/* One pair of Box-Muller from two words. v is a multiple of 2^-23, so its quadrant is exact:
 * 2 pi v = (q + f) pi/2 with |f| <= 1/2; minimax polynomials of its sine and cosine. */
static inline void normal_pair(float *z0, float *z1, uint32_t a, uint32_t b)
{
    float radius = sqrtf(square_radius(a >> 8 | 1U)); /* u = (2 (a >> 9) + 1) 2^-24 */
    int k = (int)(b >> 9), q = (k + (1 << 20)) >> 21;
    float x = (float)(k - q * (1 << 21)) * (1.57079632679F * 0x1p-21F), t = x * x;
    float p = math_fma(t, math_fma(t, -1.95172984e-4F, 8.33217814e-3F), -0.166666549F);
    float sine = math_fma(t * x, p, x);
    float r = math_fma(t, math_fma(t, -1.35978226e-3F, 4.16562945e-2F), -0.499998948F);
    float cosine = math_fma(t, r, 1.0F);
    float c = q & 1 ? sine : cosine, s = q & 1 ? cosine : sine;
    c = (q + 1) & 2 ? -c : c;
    s = q & 2 ? -s : s;
    *z0 = radius * c;
    *z1 = radius * s;
}

static inline void block_normals(float *z, const pair_words *w, int counters)
{
#pragma omp simd
    for (int i = 0; i < 2 * counters; i++) normal_pair(&z[2 * i], &z[2 * i + 1], w->a[i], w->b[i]);
}

/* The words of `counters` counters in the order of elements. */
static inline void element_words(uint32_t *restrict words, const pair_words *w, int counters)
{
    for (int i = 0; i < 2 * counters; i++) {
        words[2 * i] = w->a[i];
        words[2 * i + 1] = w->b[i];
    }
}

/* Part of two blocks: what is wanted of them is copied. */
static void copy_part(float *normals, uint32_t *words, noise_key key, uint64_t first, size_t count)
{
    pair_words w;
    float z[4 * COUNTERS];
    uint32_t all[4 * COUNTERS];
    size_t skip = (size_t)(first % 4);
    block_words(&w, key, first / 4, COUNTERS);
    if (normals) {
        block_normals(z, &w, COUNTERS);
        memcpy(normals, z + skip, count * sizeof *normals);
    }
    if (words) {
        element_words(all, &w, COUNTERS);
        memcpy(words, all + skip, count * sizeof *words);
    }
}

static void copy_block(float *normals, uint32_t *words, noise_key key, uint64_t first)
{
    pair_words w;
    block_words(&w, key, first / 4, WHOLE);
    block_normals(normals, &w, WHOLE);
    if (words) element_words(words, &w, WHOLE);
}

void noise_normals(float *normals, uint32_t *words, noise_key key, uint64_t first, size_t count)
{
    if (first % 4 || count != NOISE_BLOCK)
        copy_part(normals, words, key, first, count);
    else
        copy_block(normals, words, key, first);
    for (size_t i = 0; key.mirrored && i < count; i++) normals[i] = -normals[i];
}

void noise_uniform_words(uint32_t *words, noise_key key, uint64_t first, size_t count)
{
    copy_part(NULL, words, key, first, count);
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
        double radius = (key.mirrored ? -1.0 : 1.0) * sqrt(-2.0 * log(u));
        normals[n] = radius * (i % 2 ? sin(two_pi * v) : cos(two_pi * v));
    }
}
