/* Blocks of 8 x 8 halves or 4 x 4 words in vectors of 16 bytes: a block is transposed by rounds of
 * interleaving row i with row i + half the rows. 64 bytes of columns at a time, so that the lines
 * that are written stay cached. */
#include "kernels/turn.h"

#include <string.h>

typedef uint16_t halves __attribute__((vector_size(16), may_alias, aligned(2)));
typedef uint32_t words __attribute__((vector_size(16), may_alias, aligned(4)));

#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_WORDS(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_WORDS(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)

#define DEFINE_TURN(name, element, vector, side, rounds, low, high)                                \
    static void name##_block(element *restrict out, size_t ldo, const element *restrict in,        \
                             size_t ldi)                                                           \
    {                                                                                              \
        vector x[side], y[side];                                                                   \
        for (size_t i = 0; i < (side); i++) x[i] = *(const vector *)(in + i * ldi);                \
        for (int round = 0; round < (rounds); round++) {                                           \
            for (size_t i = 0; i < (side) / 2; i++) {                                              \
                y[2 * i] = low(x[i], x[i + (side) / 2]);                                           \
                y[2 * i + 1] = high(x[i], x[i + (side) / 2]);                                      \
            }                                                                                      \
            memcpy(x, y, sizeof x);                                                                \
        }                                                                                          \
        for (size_t i = 0; i < (side); i++) *(vector *)(out + i * ldo) = x[i];                     \
    }                                                                                              \
                                                                                                   \
    void name(element *restrict out, size_t ldo, const element *restrict in, size_t ldi,           \
              size_t rows, size_t columns)                                                         \
    {                                                                                              \
        size_t strip = 64 / sizeof *in, whole = rows / (side) * (side);                            \
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

DEFINE_TURN(turn_halves, uint16_t, halves, 8, 3, LOW_HALVES, HIGH_HALVES)
DEFINE_TURN(turn_words, uint32_t, words, 4, 2, LOW_WORDS, HIGH_WORDS)
