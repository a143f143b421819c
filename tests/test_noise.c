/* The noise: published vectors, an independent implementation, moments and distribution. */
#include "noise_twin.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const noise_key key = {
    .seed = 0x123456789abcdef0ULL, .stream = STREAM_WEIGHTS, .sample = 3, .step = 77};

/* Random123's known answers for philox4x32-10. */
Test(noise, published_vectors)
{
    static const struct {
        uint32_t counter[4];
        uint64_t seed;
        uint32_t expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         0xffffffffffffffffULL,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822ULL,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        noise_words(out, cases[i].seed, cases[i].counter);
        cr_expect_arr_eq(out, cases[i].expected, sizeof out, "case %zu", i);
    }
}

Test(noise, matches_an_independent_implementation)
{
    static const uint64_t starts[] = {0, 1, 2, 3, 255, 4294967295ULL * 4 - 100, 1ULL << 40};
    for (size_t s = 0; s < sizeof starts / sizeof starts[0]; s++) {
        float z[NOISE_BLOCK];
        uint32_t words[NOISE_BLOCK];
        noise_normals(z, words, key, starts[s], NOISE_BLOCK);
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            uint32_t word;
            double expected = redraw(key, starts[s] + i, &word);
            cr_expect_lt(fabs((double)z[i] - expected), 1e-6 * fmax(1.0, fabs(expected)));
            cr_expect_eq(words[i], word);
        }
    }
}

/* The slow twin, and the example of docs/numerics.md. */
Test(noise, reference_and_example)
{
    static const double example[4] = {-0.2452626, -0.5048345, 0.9459471, -1.0463285};
    static const uint32_t example_words[4] = {0xdab18e53, 0xad92e9b0, 0x5eaacfc8, 0xddf2e939};
    double z[NOISE_BLOCK];
    float fast[4];
    uint32_t words[4], word;
    noise_normals_reference(z, key, 1003, NOISE_BLOCK);
    for (size_t i = 0; i < NOISE_BLOCK; i++)
        cr_expect_lt(fabs(z[i] - redraw(key, 1003 + i, &word)), 1e-12);
    noise_normals(fast, words, (noise_key){.seed = 1337, .sample = 2, .step = 5}, 1000, 4);
    cr_expect_arr_eq(words, example_words, sizeof words);
    for (int i = 0; i < 4; i++) cr_expect_lt(fabs((double)fast[i] - example[i]), 1e-6);
}

/* The other sample of a pair: the same noise on the other side, rounded by the same words. */
Test(noise, mirrored)
{
    enum { FIRST = 1002, COUNT = 101 };
    float plain[COUNT], other[COUNT];
    double reference[COUNT];
    uint32_t words[COUNT], other_words[COUNT];
    noise_key even = noise_key_of_sample(9, 6, true), odd = noise_key_of_sample(9, 7, true);
    noise_normals(plain, words, noise_key_of_sample(9, 3, false), FIRST, COUNT);
    noise_normals(other, other_words, even, FIRST, COUNT);
    cr_expect_arr_eq(other, plain, sizeof plain);
    noise_normals(other, other_words, odd, FIRST, COUNT);
    noise_normals_reference(reference, odd, FIRST, COUNT);
    cr_expect_arr_eq(other_words, words, sizeof words);
    for (size_t i = 0; i < COUNT; i++) {
        cr_expect_eq(other[i], -plain[i]);
        cr_expect_float_eq(reference[i], (double)other[i], 1e-5);
    }
}

/* The same bits from every clone, compiler and processor: a checksum (FNV-1a by words) that was
 * equal from gcc 12 and clang 14, each with SSE2, AVX2 and AVX-512. */
Test(noise, bits_do_not_depend_on_the_processor)
{
    uint64_t hash = 1469598103934665603ULL;
    for (uint64_t b = 0; b < 2000; b++) {
        float z[NOISE_BLOCK];
        uint32_t words[NOISE_BLOCK], alone[NOISE_BLOCK], bits;
        noise_normals(z, words, key, b * NOISE_BLOCK + b % 7, NOISE_BLOCK);
        noise_uniform_words(alone, key, b * NOISE_BLOCK + b % 7, NOISE_BLOCK);
        cr_assert_arr_eq(alone, words, sizeof words);
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            memcpy(&bits, &z[i], sizeof bits);
            hash = (hash ^ bits) * 1099511628211ULL;
            hash = (hash ^ words[i]) * 1099511628211ULL;
        }
    }
    cr_expect_eq(hash, 0x0929ba6090ccd43dULL, "0x%016llx", (unsigned long long)hash);
}

/* The 9 bits that round are uniform (chi-square, 511 degrees of freedom, 5 deviations) and do not
 * lean with the normals that share their words. */
Test(noise, rounding_bits_are_uniform)
{
    enum { BINS = 512, BLOCKS = 4096 };
    double counts[BINS] = {0}, square = 0.0, product = 0.0;
    const double draws = (double)BLOCKS * NOISE_BLOCK, expected = draws / BINS;
    for (uint64_t b = 0; b < BLOCKS; b++) {
        float z[NOISE_BLOCK];
        uint32_t words[NOISE_BLOCK];
        noise_normals(z, words, key, b * NOISE_BLOCK, NOISE_BLOCK);
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            counts[words[i] & 0x1ffU] += 1.0;
            product += (double)z[i] * ((double)(words[i] & 0x1ffU) - 255.5) / 147.8;
        }
    }
    for (int i = 0; i < BINS; i++) square += pow(counts[i] - expected, 2) / expected;
    cr_expect_lt(fabs(square - 511.0), 5.0 * sqrt(2.0 * 511.0), "chi-square %.1f", square);
    cr_expect_lt(fabs(product), 5.0 * sqrt(draws));
}

Test(noise, bits_do_not_depend_on_who_asks)
{
    float whole[1024], part[NOISE_BLOCK];
    for (size_t at = 0; at < 1024; at += NOISE_BLOCK)
        noise_normals(whole + at, NULL, key, 1000 + at, NOISE_BLOCK);
    for (size_t first = 0; first < 600; first += 7) {
        size_t count = 1 + first % NOISE_BLOCK;
        noise_normals(part, NULL, key, 1000 + first, count);
        cr_expect_arr_eq(part, whole + first, count * sizeof *part, "from %zu", first);
    }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* 2^20 normals: moments within 5 standard errors, and Kolmogorov-Smirnov at the 0.1% level. */
Test(noise, is_normal)
{
    enum { COUNT = 1 << 20 };
    float *z = malloc(COUNT * sizeof *z);
    double sums[4] = {0}, lag = 0.0, farthest = 0.0;
    for (size_t at = 0; at < COUNT; at += NOISE_BLOCK)
        noise_normals(z + at, NULL, key, at, NOISE_BLOCK);
    for (size_t i = 0; i < COUNT; i++) {
        double x = (double)z[i];
        for (int k = 0; k < 4; k++) sums[k] += pow(x, k + 1) / COUNT;
        if (i > 0) lag += x * (double)z[i - 1] / COUNT;
    }
    double error = 5.0 / sqrt(COUNT);
    cr_expect_lt(fabs(sums[0]), error);
    cr_expect_lt(fabs(sums[1] - 1.0), error * sqrt(2.0));
    cr_expect_lt(fabs(sums[2]), error * sqrt(15.0));
    cr_expect_lt(fabs(sums[3] - 3.0), error * sqrt(96.0));
    cr_expect_lt(fabs(lag), error);
    qsort(z, COUNT, sizeof *z, by_value);
    for (size_t i = 0; i < COUNT; i++) {
        double expected = 0.5 * erfc(-(double)z[i] / M_SQRT2);
        farthest = fmax(farthest, fabs(expected - ((double)i + 0.5) / COUNT));
    }
    cr_expect_lt(farthest * sqrt(COUNT), 1.95, "Kolmogorov-Smirnov %.3f", farthest * sqrt(COUNT));
    free(z);
}

/* Streams, samples, steps and seeds give unrelated noise. */
Test(noise, keys_are_independent)
{
    noise_key others[4] = {key, key, key, key};
    others[0].stream = STREAM_INITIAL;
    others[1].sample++;
    others[2].step++;
    others[3].seed++;
    for (int o = 0; o < 4; o++) {
        double product = 0.0;
        enum { BLOCKS = 256 };
        for (size_t b = 0; b < BLOCKS; b++) {
            float x[NOISE_BLOCK], y[NOISE_BLOCK];
            noise_normals(x, NULL, key, b * NOISE_BLOCK, NOISE_BLOCK);
            noise_normals(y, NULL, others[o], b * NOISE_BLOCK, NOISE_BLOCK);
            for (size_t i = 0; i < NOISE_BLOCK; i++) product += (double)x[i] * (double)y[i];
        }
        cr_expect_lt(fabs(product) / sqrt(256.0 * NOISE_BLOCK), 5.0, "key %d", o);
    }
}
