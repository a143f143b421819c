/** Sums over slices that describe posteriors. */
#ifndef VARIO_OPTIMIZER_STATISTICS_H
#define VARIO_OPTIMIZER_STATISTICS_H

#include "optimizer/table.h"

/** Add a slice's sums; h before the update, f_scale as ivon_update's. Parts of a slice are added up
 * by themselves, threaded, and then in their order. */
void ivon_statistics(posterior_sums *sums, const float *h, const float *f_sum, double f_scale,
                     double lambda, double delta, double beta2, hessian_kind hessian, size_t count);

/** The same of a matrix whose h is EVON's: HESSIAN_PRICE, with estimates cut off at +-clip |h|,
 * clip being infinity where they are not. */
void evon_statistics(posterior_sums *sums, const float *h, const float *f_sum, double f_scale,
                     double lambda, double delta, double beta2, double clip, size_t count);

/** Sum of a slice's sigma = e^rho, in element order, one thread. */
double bbb_sigma_sum(const float *rho, size_t count);

#endif
