/** What leaving an example out of training would do to its prediction: the memory-perturbation
 * equation (Nickl et al., The Memory Perturbation Equation: Understanding Model's Sensitivity to
 * Data, NeurIPS 2023), prediction error times prediction variance.
 *
 * Pure functions on arrays; not collective. docs/posterior.md derives the formulas.
 */
#ifndef VARIO_POSTERIOR_SENSITIVITY_H
#define VARIO_POSTERIOR_SENSITIVITY_H

#include <stddef.h>

/** One example, nats. */
typedef struct {
    size_t predicted;   /**< class of the largest output, the first among equals; 0 of values */
    size_t shown;       /**< output that speaks for all: the class, or the value that moves most */
    double p;           /**< probability of the class; NaN of values */
    double sensitivity; /**< how far the prediction would move */
    double loss;        /**< at the outputs */
    double loo_loss;    /**< at the leave-one-out outputs */
} sensitivity_score;

/** A classifier's example: errors e_c = p_c - [c is the class], leave-one-out logits f_c + v_c e_c,
 * sensitivity sum over c of |e_c p_c (1 - p_c) v_c|, the change of the probabilities.
 *
 * @param errors     [classes] out
 * @param logits     [classes] f
 * @param variances  [classes] v, of the logits
 * @param target     its class
 */
sensitivity_score sensitivity_of_class(double *errors, const float *logits, const float *variances,
                                       size_t classes, size_t target);

/** An example with values: errors e = f - y, leave-one-out values f + v e / s^2, sensitivity
 * sum of |e v| / s^2.
 *
 * @param errors          [count] out
 * @param outputs         [count] f
 * @param variances       [count] v
 * @param values          [count] y
 * @param noise_variance  s^2
 */
sensitivity_score sensitivity_of_values(double *errors, const float *outputs,
                                        const float *variances, const float *values, size_t count,
                                        double noise_variance);

/** Sum of variance * gradient^2, in double, by blocks of PARAMETER_BLOCK elements: the same bits
 * with any number of threads.
 * @param blocks  [ceil(count / PARAMETER_BLOCK)] scratch */
double sensitivity_form(double *blocks, const float *gradient, const float *variances,
                        size_t count);

#endif
