/** Weights rounded to bf16 by chance: one formula for all who draw them. */
#ifndef VARIO_OPTIMIZER_ROUNDING_H
#define VARIO_OPTIMIZER_ROUNDING_H

#include "base/parameters.h"

#include <stdint.h>
#include <string.h>

/** Up or down by the low 9 bits of the element's word r: (bits(theta) + ((r & 0x1ff) << 7) + 64) >>
 * 16 (docs/numerics.md). */
static inline bf16 round_stochastic(float theta, uint32_t r)
{
    uint32_t bits;
    memcpy(&bits, &theta, sizeof bits);
    return (bf16)((bits + ((r << 7 & 0xff80U) | 64U)) >> 16);
}

#endif
