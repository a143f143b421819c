/* Look-ups. */
#include "kernels/kernels.h"
#include "kernels/math.h"

static inline float load(const void *values, dtype type, size_t i)
{
    return type == DTYPE_BF16 ? math_widen(((const bf16 *)values)[i]) : ((const float *)values)[i];
}

void embedding_forward(float *residual, const void *wte, const void *wpe, dtype type,
                       const uint16_t *tokens, size_t B, size_t T, size_t C)
{
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < B * T; n++)
        for (size_t c = 0; c < C; c++)
            residual[n * C + c] =
                load(wte, type, tokens[n] * C + c) + load(wpe, type, n % T * C + c);
}

/* Threads share channels, not rows: every sum has one order. */
void embedding_backward(float *dwte, float *dwpe, const float *dresidual, const uint16_t *tokens,
                        size_t B, size_t T, size_t C, size_t V, size_t block_size)
{
    (void)V;
    memset(dwpe, 0, block_size * C * sizeof *dwpe);
    enum { CHANNELS = 16 };
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < C; at += CHANNELS) {
        size_t end = C - at < CHANNELS ? C : at + CHANNELS;
        for (size_t n = 0; n < B * T; n++)
            for (size_t c = at; c < end; c++) {
                dwte[tokens[n] * C + c] += dresidual[n * C + c];
                dwpe[n % T * C + c] += dresidual[n * C + c];
            }
    }
}
