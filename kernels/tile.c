/* Four rows by four vectors of accumulators. This file is compiled with contraction on: here a
 * fused multiply-add is what is wanted, and one kernel serves all callers. */
#include "kernels/tile.h"

#include "kernels/clones.h"

#include <string.h>

typedef float lanes __attribute__((vector_size(TILE_LANES * sizeof(float))));
typedef float unaligned_lanes
    __attribute__((vector_size(TILE_LANES * sizeof(float)), aligned(4), may_alias));

/* Macros, since a function that returns vectors has another calling convention in each clone. */
#define LOAD(p) ((lanes) * (const unaligned_lanes *)(const void *)(p))
#define STORE(p, x) (*(unaligned_lanes *)(void *)(p) = (unaligned_lanes)(x))

CLONES static void four_by_four(float *out, size_t ldc, const float *a, size_t row, size_t column,
                                const float *b, size_t ldb, size_t k, bool accumulate)
{
    lanes c00 = {0}, c01 = {0}, c02 = {0}, c03 = {0}, c10 = {0}, c11 = {0}, c12 = {0}, c13 = {0};
    lanes c20 = {0}, c21 = {0}, c22 = {0}, c23 = {0}, c30 = {0}, c31 = {0}, c32 = {0}, c33 = {0};
    for (size_t l = 0; l < k; l++) {
        const float *bl = b + l * ldb, *al = a + l * column;
        lanes b0 = LOAD(bl), b1 = LOAD(bl + 16), b2 = LOAD(bl + 32), b3 = LOAD(bl + 48);
        float a0 = al[0], a1 = al[row], a2 = al[2 * row], a3 = al[3 * row];
        c00 += a0 * b0, c01 += a0 * b1, c02 += a0 * b2, c03 += a0 * b3;
        c10 += a1 * b0, c11 += a1 * b1, c12 += a1 * b2, c13 += a1 * b3;
        c20 += a2 * b0, c21 += a2 * b1, c22 += a2 * b2, c23 += a2 * b3;
        c30 += a3 * b0, c31 += a3 * b1, c32 += a3 * b2, c33 += a3 * b3;
    }
    const lanes c[4][4] = {
        {c00, c01, c02, c03}, {c10, c11, c12, c13}, {c20, c21, c22, c23}, {c30, c31, c32, c33}};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++) {
            float *o = out + i * ldc + j * TILE_LANES;
            lanes before = accumulate ? LOAD(o) : (lanes){0};
            STORE(o, before + c[i][j]);
        }
}

CLONES static void four_by_one(float *out, size_t ldc, const float *a, size_t row, size_t column,
                               const float *b, size_t ldb, size_t k, bool accumulate)
{
    lanes c0 = {0}, c1 = {0}, c2 = {0}, c3 = {0};
    for (size_t l = 0; l < k; l++) {
        lanes b0 = LOAD(b + l * ldb);
        const float *al = a + l * column;
        c0 += al[0] * b0;
        c1 += al[row] * b0;
        c2 += al[2 * row] * b0;
        c3 += al[3 * row] * b0;
    }
    const lanes c[4] = {c0, c1, c2, c3};
    for (size_t i = 0; i < 4; i++) {
        float *o = out + i * ldc;
        lanes before = accumulate ? LOAD(o) : (lanes){0};
        STORE(o, before + c[i]);
    }
}

void tile_product(float *out, size_t ldc, const float *a, size_t row, size_t column, const float *b,
                  size_t ldb, size_t m, size_t n, size_t k, bool accumulate)
{
    for (size_t i = 0; i < m; i += 4) {
        size_t j = 0;
        for (; j + 4 * TILE_LANES <= n; j += 4 * TILE_LANES)
            four_by_four(out + i * ldc + j, ldc, a + i * row, row, column, b + j, ldb, k,
                         accumulate);
        for (; j < n; j += TILE_LANES)
            four_by_one(out + i * ldc + j, ldc, a + i * row, row, column, b + j, ldb, k,
                        accumulate);
    }
}
