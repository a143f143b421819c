/** Products of small tiles of bf16 by AMX, where there is any (kernels_bf16_in_tiles). */
#ifndef VARIO_KERNELS_TILE_AMX_H
#define VARIO_KERNELS_TILE_AMX_H

#include "kernels/tile.h"

/** As tile_product of bf16, where m, n and k are multiples of 16.
 * @return false: they are not, or a turned left operand is too large, and nothing was done */
bool tile_amx_product(float *out, size_t ldc, tile_left a, const word *b, size_t ldb, size_t m,
                      size_t n, size_t k, bool accumulate);

#endif
