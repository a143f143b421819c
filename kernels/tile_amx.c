/* Two by two tile registers of sums, 32 rows by 32 columns, and two of either operand: each is 16
 * rows of 64 bytes, which is 16 floats or 16 words. oneDNN has asked the system for the registers.
 */
#include "kernels/tile_amx.h"

#if defined(__x86_64__)

#include "kernels/transpose.h"

#include <immintrin.h>

enum { SIDE = 16, TURNED = TILE * TILE / 2 };

#define AMX __attribute__((target("amx-tile,amx-bf16")))

/* As the instruction wants it: all eight registers whole. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} whole = {.palette = 1,
           .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
           .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};

/* Rows and columns from here on, 16 or 32 of each. */
AMX static void multiply(float *out, size_t ldc, const word *a, size_t lda, const word *b,
                         size_t ldb, bool two_rows, bool two_columns, size_t k, bool accumulate)
{
    size_t c_stride = ldc * sizeof *out, a_stride = lda * sizeof *a, b_stride = ldb * sizeof *b;
    float *lower = out + SIDE * ldc;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (accumulate) {
        _tile_loadd(0, out, c_stride);
        if (two_columns) _tile_loadd(1, out + SIDE, c_stride);
        if (two_rows) _tile_loadd(2, lower, c_stride);
        if (two_rows && two_columns) _tile_loadd(3, lower + SIDE, c_stride);
    }
    for (size_t l = 0; l < k; l += SIDE) {
        _tile_loadd(4, a + l, a_stride);
        _tile_loadd(6, b + l * ldb, b_stride);
        _tile_dpbf16ps(0, 4, 6);
        if (two_columns) {
            _tile_loadd(7, b + l * ldb + SIDE, b_stride);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (!two_rows) continue;
        _tile_loadd(5, a + SIDE * lda + l, a_stride);
        _tile_dpbf16ps(2, 5, 6);
        if (two_columns) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, c_stride);
    if (two_columns) _tile_stored(1, out + SIDE, c_stride);
    if (two_rows) _tile_stored(2, lower, c_stride);
    if (two_rows && two_columns) _tile_stored(3, lower + SIDE, c_stride);
}

AMX bool tile_amx_product(float *out, size_t ldc, tile_left a, const word *b, size_t ldb, size_t m,
                          size_t n, size_t k, bool accumulate)
{
    _Alignas(64) word turned[TURNED];
    if (m % SIDE || n % SIDE || k % SIDE || k == 0) return false;
    if (a.column != 1) {
        if (a.row != 1 || m * k > TURNED) return false;
        transpose_words(turned, k, a.words, a.column, k, m);
        a = (tile_left){turned, k, 1};
    }
    _tile_loadconfig(&whole);
    for (size_t i = 0; i < m; i += 2 * SIDE)
        for (size_t j = 0; j < n; j += 2 * SIDE)
            multiply(out + i * ldc + j, ldc, a.words + i * a.row, a.row, b + j, ldb, i + SIDE < m,
                     j + SIDE < n, k, accumulate);
    _tile_release();
    return true;
}

#else

bool tile_amx_product(float *out, size_t ldc, tile_left a, const word *b, size_t ldb, size_t m,
                      size_t n, size_t k, bool accumulate)
{
    (void)out, (void)ldc, (void)a, (void)b, (void)ldb, (void)m, (void)n, (void)k, (void)accumulate;
    return false;
}

#endif
