/* A token's rank is one 64-bit number: its logit's bits, put in the order of the numbers, above the
 * complement of its id. No two tokens share a rank, so "the k first" and "the fewest that hold a
 * share" are thresholds on it. Both count and mass grow as the threshold falls, also in floating
 * point (terms are never negative and always added in the order of ids), so the highest threshold
 * that reaches a goal is found bit by bit from the top. */
#include "posterior/sampling.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { RANK_BITS = 64 };

typedef struct {
    const float *logits;
    size_t vocab;
    double temperature;
    float largest;
} choice;

static uint64_t rank_of(const choice *c, size_t token)
{
    float logit = c->logits[token] + 0.0F; /* -0 ranks as +0 */
    uint32_t bits = 0;
    if (isnan(logit)) return 0;
    memcpy(&bits, &logit, sizeof bits);
    bits = (bits >> 31) != 0 ? ~bits : bits | UINT32_C(0x80000000);
    return ((uint64_t)bits << 32) | (UINT32_MAX - (uint32_t)token);
}

/* Relative to the likeliest token; 1 for it even when it is infinite. */
static double weight_of(const choice *c, size_t token)
{
    const float logit = c->logits[token];
    if (isnan(logit)) return 0.0;
    if (logit == c->largest) return 1.0;
    return exp(((double)logit - (double)c->largest) / c->temperature);
}

static double count_from(const choice *c, uint64_t threshold)
{
    size_t count = 0;
    for (size_t i = 0; i < c->vocab; i++) count += rank_of(c, i) >= threshold;
    return (double)count;
}

static double mass_from(const choice *c, uint64_t threshold)
{
    double mass = 0.0;
    for (size_t i = 0; i < c->vocab; i++) {
        if (rank_of(c, i) >= threshold) mass += weight_of(c, i);
    }
    return mass;
}

/* The highest threshold, not below `min`, at which measure reaches goal. */
static uint64_t highest_threshold(const choice *c, double (*measure)(const choice *, uint64_t),
                                  double goal, uint64_t min)
{
    uint64_t threshold = 0;
    for (int bit = RANK_BITS - 1; bit >= 0; bit--) {
        const uint64_t higher = threshold | (UINT64_C(1) << bit);
        if (higher <= min || measure(c, higher) >= goal) threshold = higher;
    }
    return threshold > min ? threshold : min;
}

static size_t first_ranked(const choice *c)
{
    size_t best = 0;
    for (size_t i = 1; i < c->vocab; i++) {
        if (rank_of(c, i) > rank_of(c, best)) best = i;
    }
    return best;
}

static size_t pick(const choice *c, uint64_t threshold, double u)
{
    const double goal = u * mass_from(c, threshold);
    double mass = 0.0;
    size_t last = 0;
    for (size_t i = 0; i < c->vocab; i++) {
        const double weight = rank_of(c, i) >= threshold ? weight_of(c, i) : 0.0;
        if (weight <= 0.0) continue;
        mass += weight;
        last = i;
        if (mass > goal) break;
    }
    return last;
}

size_t sample_token(const float *logits, size_t vocab, double temperature, size_t top_k,
                    double top_p, double u)
{
    choice c = {.logits = logits, .vocab = vocab, .temperature = temperature};
    assert(vocab > 0 && vocab < UINT32_MAX && u >= 0.0 && u < 1.0);

    const size_t best = first_ranked(&c);
    c.largest = logits[best];
    if (!(temperature > 0.0) || isnan(c.largest)) return best;

    uint64_t threshold = 1; /* all but NaN */
    if (top_k > 0 && top_k < vocab) {
        threshold = highest_threshold(&c, count_from, (double)top_k, threshold);
    }
    if (top_p < 1.0) {
        const double goal = top_p * mass_from(&c, threshold);
        threshold = highest_threshold(&c, mass_from, goal, threshold);
    }
    if (threshold > rank_of(&c, best)) threshold = rank_of(&c, best);
    return pick(&c, threshold, u);
}
