/* Blocks of 4 x 4 words, or 8 x 8 halves of words, in vectors of 16 bytes: a block of 2^r rows is
 * transposed by r rounds of interleaving row i of the upper half with row i of the lower one. 64
 * bytes of columns at a time, so that the lines that are written stay cached. */
#include "kernels/transpose.h"

#include <string.h>

enum { SIDE = 4, STRIP = 16 };

typedef uint32_t words __attribute__((vector_size(16), may_alias, aligned(4)));

static void transpose_block(uint32_t *restrict out, size_t ldo, const uint32_t *restrict in,
                            size_t ldi)
{
    words x[SIDE], y[SIDE];
    for (size_t i = 0; i < SIDE; i++) x[i] = *(const words *)(in + i * ldi);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < SIDE / 2; i++) {
            y[2 * i] = __builtin_shufflevector(x[i], x[i + SIDE / 2], 0, 4, 1, 5);
            y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + SIDE / 2], 2, 6, 3, 7);
        }
        memcpy(x, y, sizeof x);
    }
    for (size_t i = 0; i < SIDE; i++) *(words *)(out + i * ldo) = x[i];
}

void transpose_words(uint32_t *restrict out, size_t ldo, const uint32_t *restrict in, size_t ldi,
                     size_t rows, size_t columns)
{
    size_t whole = rows / SIDE * SIDE;
    for (size_t at = 0; at < columns; at += STRIP) {
        size_t end = at + STRIP < columns ? at + STRIP : columns;
        size_t fit = at + (end - at) / SIDE * SIDE;
        for (size_t i = 0; i < whole; i += SIDE)
            for (size_t j = at; j < fit; j += SIDE)
                transpose_block(out + j * ldo + i, ldo, in + i * ldi + j, ldi);
        for (size_t j = at; j < end; j++)
            for (size_t i = j < fit ? whole : 0; i < rows; i++) out[j * ldo + i] = in[i * ldi + j];
    }
}

enum { HALVES = 8, HALVES_STRIP = 32 };

typedef uint16_t halves __attribute__((vector_size(16), may_alias, aligned(2)));

static void transpose_block_of_halves(uint16_t *restrict out, size_t ldo,
                                      const uint16_t *restrict in, size_t ldi)
{
    halves x[HALVES], y[HALVES];
    for (size_t i = 0; i < HALVES; i++) x[i] = *(const halves *)(in + i * ldi);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < HALVES / 2; i++) {
            halves upper = x[i], lower = x[i + HALVES / 2];
            y[2 * i] = __builtin_shufflevector(upper, lower, 0, 8, 1, 9, 2, 10, 3, 11);
            y[2 * i + 1] = __builtin_shufflevector(upper, lower, 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(x, y, sizeof x);
    }
    for (size_t i = 0; i < HALVES; i++) *(halves *)(out + i * ldo) = x[i];
}

void transpose_halves(uint16_t *restrict out, size_t ldo, const uint16_t *restrict in, size_t ldi,
                      size_t rows, size_t columns)
{
    size_t whole = rows / HALVES * HALVES;
    for (size_t at = 0; at < columns; at += HALVES_STRIP) {
        size_t end = at + HALVES_STRIP < columns ? at + HALVES_STRIP : columns;
        size_t fit = at + (end - at) / HALVES * HALVES;
        for (size_t i = 0; i < whole; i += HALVES)
            for (size_t j = at; j < fit; j += HALVES)
                transpose_block_of_halves(out + j * ldo + i, ldo, in + i * ldi + j, ldi);
        for (size_t j = at; j < end; j++)
            for (size_t i = j < fit ? whole : 0; i < rows; i++) out[j * ldo + i] = in[i * ldi + j];
    }
}
