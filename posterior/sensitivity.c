/* Everything per example in double, from the first output to the last. */
#include "posterior/sensitivity.h"

#include "base/parameters.h"

#include <math.h>

/* Outputs at which a loss is taken: f, or with a step f + step v e. */
typedef struct {
    const float *outputs, *variances;
    const double *errors;
    double step;
} moved;

static double at(const moved *m, size_t c)
{
    double f = (double)m->outputs[c];
    return m->step > 0.0 ? f + m->step * (double)m->variances[c] * m->errors[c] : f;
}

static double log_sum(const moved *m, size_t classes)
{
    double max = at(m, 0), sum = 0.0;
    for (size_t c = 1; c < classes; c++) max = fmax(max, at(m, c));
    for (size_t c = 0; c < classes; c++) sum += exp(at(m, c) - max);
    return max + log(sum);
}

sensitivity_score sensitivity_of_class(double *errors, const float *logits, const float *variances,
                                       size_t classes, size_t target)
{
    moved m = {logits, variances, errors, 0.0};
    sensitivity_score s = {.shown = target};
    double total = log_sum(&m, classes);
    for (size_t c = 0; c < classes; c++) {
        double p = exp((double)logits[c] - total);
        errors[c] = c == target ? p - 1.0 : p;
        s.sensitivity += fabs(errors[c] * p * (1.0 - p) * (double)variances[c]);
        if (logits[c] > logits[s.predicted]) s.predicted = c;
        if (c == target) s.p = p;
    }
    s.loss = total - (double)logits[target];
    m.step = 1.0;
    s.loo_loss = log_sum(&m, classes) - at(&m, target);
    return s;
}

static double gaussian_loss(const moved *m, const float *values, size_t count,
                            double noise_variance)
{
    double sum = 0.0;
    for (size_t c = 0; c < count; c++) {
        double e = at(m, c) - (double)values[c];
        sum += e * e / (2.0 * noise_variance) + 0.5 * log(2.0 * M_PI * noise_variance);
    }
    return sum;
}

sensitivity_score sensitivity_of_values(double *errors, const float *outputs,
                                        const float *variances, const float *values, size_t count,
                                        double noise_variance)
{
    moved m = {outputs, variances, errors, 0.0};
    sensitivity_score s = {.p = NAN};
    double max = 0.0;
    for (size_t c = 0; c < count; c++) {
        errors[c] = (double)outputs[c] - (double)values[c];
        double move = fabs(errors[c] * (double)variances[c]) / noise_variance;
        if (move > max) s.shown = c;
        max = fmax(max, move);
        s.sensitivity += move;
    }
    s.loss = gaussian_loss(&m, values, count, noise_variance);
    m.step = 1.0 / noise_variance;
    s.loo_loss = gaussian_loss(&m, values, count, noise_variance);
    return s;
}

double sensitivity_form(double *blocks, const float *gradient, const float *variances, size_t count)
{
    size_t n = (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
    double total = 0.0;
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < n; b++) {
        size_t end = (b + 1) * PARAMETER_BLOCK < count ? (b + 1) * PARAMETER_BLOCK : count;
        blocks[b] = 0.0;
        for (size_t i = b * PARAMETER_BLOCK; i < end; i++)
            blocks[b] += (double)gradient[i] * (double)gradient[i] * (double)variances[i];
    }
    for (size_t b = 0; b < n; b++) total += blocks[b];
    return total;
}
