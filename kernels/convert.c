/* bf16 and float. */
#include "kernels/kernels.h"
#include "kernels/math.h"

enum { RUN = 4096 };

float bf16_to_float(bf16 x)
{
    return math_widen(x);
}

bf16 bf16_from_float(float x)
{
    return math_narrow(x);
}

static void widen(float *restrict out, const bf16 *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = math_widen(in[i]);
}

static void narrow(bf16 *restrict out, const float *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = math_narrow(in[i]);
}

void convert(void *out, dtype out_type, const void *in, dtype in_type, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        if (out_type == DTYPE_F32 && in_type == DTYPE_F32)
            memcpy((float *)out + at, (const float *)in + at, n * sizeof(float));
        else if (out_type == DTYPE_BF16 && in_type == DTYPE_BF16)
            memcpy((bf16 *)out + at, (const bf16 *)in + at, n * sizeof(bf16));
        else if (out_type == DTYPE_F32)
            widen((float *)out + at, (const bf16 *)in + at, n);
        else
            narrow((bf16 *)out + at, (const float *)in + at, n);
    }
}
