/** Sums over slices that describe posteriors. */
#ifndef VARIO_OPTIMIZER_STATISTICS_H
#define VARIO_OPTIMIZER_STATISTICS_H

#include "optimizer/optimizer.h"

typedef struct {
    double sigma;       /**< sum of sigma */
    double hessian;     /**< sum of h */
    double hessian_min; /**< start with infinity */
    double bias;        /**< sum of (1 - beta2) (h - f)^2 / (2 (h + delta)), the push on h */
} ivon_sums;

/** Add a slice's sums; h before the update, f_scale as ivon_update's. Parts of a slice are added up
 * by themselves, threaded, and then in their order. */
void ivon_statistics(ivon_sums *sums, const float *h, const float *f_sum, double f_scale,
                     double lambda, double delta, double beta2, hessian_kind hessian, size_t count);

/** Sum of a slice's sigma = e^rho, in element order, one thread. */
double bbb_sigma_sum(const float *rho, size_t count);

#endif
