/* Blocks of 4 x 4 words, or 8 x 8 halves of words, in vectors of 16 bytes: a block of 2^r rows is
 * transposed by r rounds of interleaving row i of the upper half with row i of the lower one. 64
 * bytes of columns at a time, so that the lines that are written stay cached. */
#include "kernels/transpose.h"

#include <string.h>

enum { STRIP_BYTES = 64 };

#define INTERLEAVE_WORDS(upper, lower, low, high)                                                  \
    ((low) = __builtin_shufflevector(upper, lower, 0, 4, 1, 5),                                    \
     (high) = __builtin_shufflevector(upper, lower, 2, 6, 3, 7))
#define INTERLEAVE_HALVES(upper, lower, low, high)                                                 \
    ((low) = __builtin_shufflevector(upper, lower, 0, 8, 1, 9, 2, 10, 3, 11),                      \
     (high) = __builtin_shufflevector(upper, lower, 4, 12, 5, 13, 6, 14, 7, 15))

typedef uint32_t words __attribute__((vector_size(16), may_alias, aligned(4)));
typedef uint16_t halves __attribute__((vector_size(16), may_alias, aligned(2)));

/* @param side  2^rounds elements of a vector */
#define DEFINE_TRANSPOSE(name, element, vector, side, rounds, interleave)                          \
    static void name##_block(element *restrict out, size_t ldo, const element *restrict in,        \
                             size_t ldi)                                                           \
    {                                                                                              \
        vector x[side], y[side];                                                                   \
        for (size_t i = 0; i < (side); i++) x[i] = *(const vector *)(in + i * ldi);                \
        for (int round = 0; round < (rounds); round++) {                                           \
            for (size_t i = 0; i < (side) / 2; i++)                                                \
                interleave(x[i], x[i + (side) / 2], y[2 * i], y[2 * i + 1]);                       \
            memcpy(x, y, sizeof x);                                                                \
        }                                                                                          \
        for (size_t i = 0; i < (side); i++) *(vector *)(out + i * ldo) = x[i];                     \
    }                                                                                              \
                                                                                                   \
    void name(element *restrict out, size_t ldo, const element *restrict in, size_t ldi,           \
              size_t rows, size_t columns)                                                         \
    {                                                                                              \
        const size_t whole = rows / (side) * (side), strip = STRIP_BYTES / sizeof(element);        \
        for (size_t at = 0; at < columns; at += strip) {                                           \
            size_t end = at + strip < columns ? at + strip : columns;                              \
            size_t fit = at + (end - at) / (side) * (side);                                        \
            for (size_t i = 0; i < whole; i += (side))                                             \
                for (size_t j = at; j < fit; j += (side))                                          \
                    name##_block(out + j * ldo + i, ldo, in + i * ldi + j, ldi);                   \
            for (size_t j = at; j < end; j++)                                                      \
                for (size_t i = j < fit ? whole : 0; i < rows; i++)                                \
                    out[j * ldo + i] = in[i * ldi + j];                                            \
        }                                                                                          \
    }

DEFINE_TRANSPOSE(transpose_words, uint32_t, words, 4, 2, INTERLEAVE_WORDS)
DEFINE_TRANSPOSE(transpose_halves, uint16_t, halves, 8, 3, INTERLEAVE_HALVES)
