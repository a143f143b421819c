/* sample_token against a reference that sorts. */
#include "kernels/noise.h"
#include "posterior/sampling.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { VOCAB = 97, DRAWS = 20000 };

typedef struct {
    float logit;
    size_t token;
} ranked;

static int by_rank(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->logit > b->logit) return -1;
    if (a->logit < b->logit) return 1;
    return a->token < b->token ? -1 : 1;
}

/* Exact probabilities by sorting. */
static void reference(double *probabilities, const float *logits, size_t vocab, double temperature,
                      size_t top_k, double top_p)
{
    ranked order[VOCAB];
    double total = 0.0, kept = 0.0;
    size_t count = top_k > 0 && top_k < vocab ? top_k : vocab, used = 0;
    for (size_t i = 0; i < vocab; i++) order[i] = (ranked){logits[i], i};
    qsort(order, vocab, sizeof *order, by_rank);
    for (size_t i = 0; i < vocab; i++) probabilities[i] = 0.0;
    for (size_t i = 0; i < count; i++) {
        probabilities[order[i].token] =
            exp(((double)order[i].logit - (double)order[0].logit) / temperature);
        total += probabilities[order[i].token];
    }
    while (used < count && (used == 0 || kept < top_p * total)) {
        kept += probabilities[order[used++].token];
    }
    for (size_t i = used; i < vocab; i++) probabilities[order[i].token] = 0.0;
    for (size_t i = 0; i < vocab; i++) probabilities[i] /= kept;
}

static void some_logits(float *logits, uint64_t seed)
{
    const noise_key key = {.seed = seed, .stream = STREAM_TEXT};
    noise_normals(logits, NULL, key, 0, VOCAB);
    for (size_t i = 0; i < VOCAB; i++) logits[i] *= 3.0F;
    logits[40] = logits[7]; /* ties, to see their order */
    logits[41] = logits[7];
}

/* Evenly spaced u turn each probability into a number of draws, off by at most one. */
static void expect_shares(const float *logits, double temperature, size_t top_k, double top_p)
{
    double probabilities[VOCAB];
    size_t drawn[VOCAB] = {0};
    reference(probabilities, logits, VOCAB, temperature, top_k, top_p);
    for (size_t i = 0; i < DRAWS; i++) {
        const double u = ((double)i + 0.5) / DRAWS;
        const size_t token = sample_token(logits, VOCAB, temperature, top_k, top_p, u);
        cr_assert_lt(token, VOCAB);
        drawn[token]++;
    }
    for (size_t i = 0; i < VOCAB; i++) {
        const double expected = probabilities[i] * DRAWS;
        cr_assert(fabs((double)drawn[i] - expected) <= 1.001,
                  "temperature %g, top_k %zu, top_p %g, token %zu: %.2f draws expected, %zu found",
                  temperature, top_k, top_p, i, expected, drawn[i]);
        cr_assert(probabilities[i] > 0.0 || drawn[i] == 0, "token %zu was cut, yet drawn", i);
    }
}

Test(sampling, shares_are_those_of_the_sorted_reference)
{
    const struct {
        double temperature;
        size_t top_k;
        double top_p;
    } settings[] = {{1.0, 0, 1.0}, {0.7, 0, 1.0},  {2.5, 0, 1.0},  {1.0, 1, 1.0},   {1.0, 10, 1.0},
                    {1.0, 0, 0.9}, {1.0, 0, 0.05}, {0.8, 20, 0.6}, {1.3, 500, 0.99}};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        float logits[VOCAB];
        some_logits(logits, seed);
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            expect_shares(logits, settings[i].temperature, settings[i].top_k, settings[i].top_p);
        }
    }
}

Test(sampling, temperature_zero_is_the_largest_whatever_u)
{
    float logits[VOCAB];
    some_logits(logits, 5);
    logits[60] = logits[61] = 50.0F;
    for (size_t i = 0; i < 50; i++) {
        cr_assert_eq(sample_token(logits, VOCAB, 0.0, 0, 1.0, (double)i / 50), 60);
    }
}

Test(sampling, equal_logits_are_cut_by_id)
{
    float logits[VOCAB];
    bool drawn[VOCAB] = {false};
    for (size_t i = 0; i < VOCAB; i++) logits[i] = i % 2 == 0 ? 0.0F : -0.0F;
    for (size_t i = 0; i < DRAWS; i++) {
        drawn[sample_token(logits, VOCAB, 1.0, 5, 1.0, (double)i / DRAWS)] = true;
    }
    for (size_t i = 0; i < VOCAB; i++) cr_assert_eq(drawn[i], i < 5, "token %zu", i);
}

Test(sampling, edges_of_u_stay_inside_what_is_kept)
{
    float logits[VOCAB];
    const double last = nextafter(1.0, 0.0);
    some_logits(logits, 9);
    for (size_t i = 0; i < VOCAB; i++) {
        if (i < 20 || i > 30) logits[i] = -INFINITY;
    }
    cr_assert_eq(sample_token(logits, VOCAB, 1.0, 0, 1.0, 0.0), 20);
    cr_assert_eq(sample_token(logits, VOCAB, 1.0, 0, 1.0, last), 30);
}

Test(sampling, top_p_zero_keeps_one)
{
    float logits[VOCAB];
    some_logits(logits, 11);
    logits[3] = 40.0F;
    cr_assert_eq(sample_token(logits, VOCAB, 1.0, 0, 0.0, 0.99), 3);
}

Test(sampling, numbers_win_over_nan_and_infinity_wins_over_numbers)
{
    float logits[VOCAB];
    for (size_t i = 0; i < VOCAB; i++) logits[i] = NAN;
    cr_assert_eq(sample_token(logits, VOCAB, 1.0, 0, 1.0, 0.5), 0);
    logits[50] = -3.0F;
    for (size_t i = 0; i < 20; i++) {
        cr_assert_eq(sample_token(logits, VOCAB, 1.0, 4, 0.9, (double)i / 20), 50);
    }
    logits[51] = INFINITY;
    cr_assert_eq(sample_token(logits, VOCAB, 1.0, 0, 1.0, 0.5), 51);
    cr_assert_eq(sample_token(logits, VOCAB, 0.0, 0, 1.0, 0.5), 51);
}

Test(sampling, one_token_is_drawn_always)
{
    const float logit = -2.0F;
    cr_assert_eq(sample_token(&logit, 1, 1.0, 0, 0.5, 0.7), 0);
}
