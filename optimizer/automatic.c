/* Formulas of plain numbers. Values are rounded on their way, so that a job in which they stand
 * gives the same ones again. */
#include "optimizer/automatic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *const automatic_names[AUTOMATIC_KEYS] = {
    [AUTOMATIC_BETA2] = "optimizer.beta2",
    [AUTOMATIC_ESS] = "optimizer.ess",
    [AUTOMATIC_HESSIAN] = "optimizer.hessian_init",
    [AUTOMATIC_DECAY] = "optimizer.weight_decay",
    [AUTOMATIC_CLIP] = "clip.update",
    [AUTOMATIC_REST] = "optimizer.rest_lr",
    [AUTOMATIC_FINAL] = "optimizer.ess_final",
};

const double automatic_rate_min = 1e-5, automatic_rate_max = 0.05;

/* Found by runs on text, and by runs of perceptrons on pictures; an optimizer without an entry has
 * no rule. */
static const automatic_rule rules_text[OPTIMIZER_KINDS] = {
    [OPTIMIZER_IVON] = {.rate = 1.0,
                        .drift = 10.0,
                        .temperature = 1.0,
                        .narrowing = 1.0,
                        .sigma = 2e-3,
                        .decay = 1e-3,
                        .share = 0.03},
    [OPTIMIZER_EVON] = {.rate = 2.0,
                        .drift = 800.0, /* in few directions gradients are far larger */
                        .temperature = 1.0,
                        .narrowing = 8.0,
                        .sigma = 1e-3,
                        .decay = 1e-6},
};
static const automatic_rule rules_examples[OPTIMIZER_KINDS] = {
    [OPTIMIZER_IVON] = {.rate = 3.0,
                        .drift = 175.0,
                        .temperature = 0.3,
                        .narrowing = 1.0,
                        .sigma = 3e-2,
                        .decay = 1e-3,
                        .share = 0.5},
    [OPTIMIZER_EVON] = {.rate = 2.0,
                        .drift = 5000.0,
                        .temperature = 1.0,
                        .narrowing = 1.0,
                        .sigma = 1e-2,
                        .decay = 1e-6},
};

const automatic_rule *automatic_rule_of(optimizer_kind kind, bool text)
{
    return text ? &rules_text[kind] : &rules_examples[kind];
}

static unsigned bit(automatic_key key)
{
    return 1U << key;
}

bool automatic_needs_gradients(unsigned keys)
{
    return keys & (bit(AUTOMATIC_ESS) | bit(AUTOMATIC_HESSIAN) | bit(AUTOMATIC_CLIP));
}

static double four_digits(double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.3e", value);
    return strtod(text, NULL);
}

/* Four digits of 1 - beta2, which is at least 1e-5. */
double automatic_beta2(const automatic_rule *rule, uint64_t steps)
{
    char text[40];
    double rate = fmin(fmax(rule->rate / (double)steps, automatic_rate_min), automatic_rate_max);
    snprintf(text, sizeof text, "%.9f", 1.0 - four_digits(rate));
    return strtod(text, NULL);
}

/* lambda. With h0 given it is what makes the noise's push on h small, the other way round. */
static double find_ess(const double values[AUTOMATIC_KEYS], unsigned keys, double drift,
                       const automatic_rule *rule, const automatic_facts *facts)
{
    double observations = rule->narrowing * facts->observations; /* of the first posterior */
    if (facts->temperature > 0.0) return observations / facts->temperature;
    if (!(keys & bit(AUTOMATIC_HESSIAN))) return values[AUTOMATIC_HESSIAN] / drift;
    return fmax(observations / rule->temperature, 1.0 / (rule->sigma * sqrt(drift)));
}

/* drift is h0 / lambda. */
static void find_posterior(double values[AUTOMATIC_KEYS], unsigned keys, const automatic_rule *rule,
                           const automatic_facts *facts)
{
    double drift = rule->drift * (1.0 - values[AUTOMATIC_BETA2]) * facts->mean_square;
    if (keys & bit(AUTOMATIC_ESS))
        values[AUTOMATIC_ESS] = four_digits(find_ess(values, keys, drift, rule, facts));
    if (keys & bit(AUTOMATIC_HESSIAN))
        values[AUTOMATIC_HESSIAN] = four_digits(drift * values[AUTOMATIC_ESS]);
    if (keys & bit(AUTOMATIC_FINAL) && rule->narrowing > 1.0)
        values[AUTOMATIC_FINAL] = four_digits(values[AUTOMATIC_ESS] / rule->narrowing);
}

status automatic_derive(double values[AUTOMATIC_KEYS], unsigned keys, const automatic_rule *rule,
                        const automatic_facts *facts)
{
    double square = facts->mean_square;
    if (automatic_needs_gradients(keys) && !(square > 0.0 && isfinite(square)))
        return fail(
            STATUS_NUMERIC,
            "the mean square of the gradients at the initial weights is %g, a finite number "
            "above 0 expected, from which optimizer.settings: auto derives the others",
            square);
    if (keys & bit(AUTOMATIC_BETA2)) values[AUTOMATIC_BETA2] = automatic_beta2(rule, facts->steps);
    find_posterior(values, keys, rule, facts);
    if (keys & bit(AUTOMATIC_DECAY))
        values[AUTOMATIC_DECAY] = four_digits(rule->decay * values[AUTOMATIC_HESSIAN]);
    if (keys & bit(AUTOMATIC_CLIP))
        values[AUTOMATIC_CLIP] =
            four_digits(rule->share * sqrt(square) / values[AUTOMATIC_HESSIAN]);
    if (keys & bit(AUTOMATIC_REST)) values[AUTOMATIC_REST] = facts->peak;
    return STATUS_OK;
}
