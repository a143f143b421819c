/** Products of small fp32 tiles in vector registers. */
#ifndef VARIO_KERNELS_TILE_H
#define VARIO_KERNELS_TILE_H

#include <stdbool.h>
#include <stddef.h>

enum { TILE = 64, TILE_LANES = 16 };

/** out(m, n) = A(m, k) B(k, n), or += when accumulate.
 *
 * @param m    a multiple of 4
 * @param n    a multiple of 16
 * @param a    element (i, l) at a[i * row + l * column]
 * @param b    rows of ldb floats
 * @param out  rows of ldc floats
 */
void tile_product(float *out, size_t ldc, const float *a, size_t row, size_t column, const float *b,
                  size_t ldb, size_t m, size_t n, size_t k, bool accumulate);

#endif
