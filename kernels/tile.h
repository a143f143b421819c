/** Products of small tiles in vector registers. Operands are words of 32 bits: a float, or two bf16
 * that are neighbours along the summed dimension, the first in the low half. Sums are fp32. */
#ifndef VARIO_KERNELS_TILE_H
#define VARIO_KERNELS_TILE_H

#include "base/parameters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TILE = 64, TILE_LANES = 16, TILE_ROWS = 4 };

typedef uint32_t word;

/** Element (i, l) of a left operand is at words[i * row + l * column]. */
typedef struct {
    const word *words;
    size_t row, column;
} tile_left;

/** out(m, n) = A(m, k) B(k, n), or += when accumulate.
 *
 * @param type  what a word holds
 * @param m     a multiple of 4
 * @param n     a multiple of 16
 * @param k     words along the summed dimension: two elements each when they are bf16
 * @param b     rows of ldb words
 * @param out   rows of ldc floats
 */
void tile_product(dtype type, float *out, size_t ldc, tile_left a, const word *b, size_t ldb,
                  size_t m, size_t n, size_t k, bool accumulate);

/** Whether the processor has the instructions that make tile_product as fast as gemm. */
bool tile_is_fast(dtype type);

/** out[n]: words of two rows that are neighbours along the summed dimension; second NULL: zeros. */
static inline void tile_stack(word *restrict out, const bf16 *restrict first,
                              const bf16 *restrict second, size_t n)
{
    if (second)
        for (size_t i = 0; i < n; i++) out[i] = first[i] | (word)second[i] << 16;
    else
        for (size_t i = 0; i < n; i++) out[i] = first[i];
}

#endif
