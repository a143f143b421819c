/** Transposition of matrices of words of 32 bits and of 16. */
#ifndef VARIO_KERNELS_TRANSPOSE_H
#define VARIO_KERNELS_TRANSPOSE_H

#include <stddef.h>
#include <stdint.h>

/** out[j * ldo + i] = in[i * ldi + j] for i < rows and j < columns; no threads. */
void transpose_words(uint32_t *restrict out, size_t ldo, const uint32_t *restrict in, size_t ldi,
                     size_t rows, size_t columns);

/** The same of halves of words. */
void transpose_halves(uint16_t *restrict out, size_t ldo, const uint16_t *restrict in, size_t ldi,
                      size_t rows, size_t columns);

#endif
