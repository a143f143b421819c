/* Blocks of 4 x 4 words in vectors of 16 bytes: a block is transposed by two rounds of interleaving
 * row i with row i + 2. 64 bytes of columns at a time, so that the lines that are written stay
 * cached. */
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
