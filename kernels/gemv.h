/** One row times a matrix, by the calling thread alone: what gemv and attention_cached are made of.
 */
#ifndef VARIO_KERNELS_GEMV_H
#define VARIO_KERNELS_GEMV_H

#include "base/parameters.h"

#include <stddef.h>

/** out[n] = x[k] B, B stored (k, n) in rows of ldb elements; x and B in `type`, fp32 sums. */
void gemv_columns(float *out, const void *x, const void *b, size_t ldb, size_t n, size_t k,
                  dtype type);

/** The same with B stored (n, k): each output is the product of x with one row. */
void gemv_rows(float *out, const void *x, const void *b, size_t ldb, size_t n, size_t k,
               dtype type);

#endif
