/* GELU in its tanh form (Hendrycks and Gimpel, 2016): x/2 (1 + tanh u) = x sigmoid(2u),
 * u = sqrt(2/pi) (x + 0.044715 x^3). */
#include "kernels/kernels.h"
#include "kernels/math.h"

enum { RUN = 1024 };

static const float twice_root = 1.5957691216F, cubic = 0.044715F;

static inline float gate(float x)
{
    return math_sigmoid(twice_root * x * (1.0F + cubic * x * x));
}

static inline float gelu(float x)
{
    return x * gate(x);
}

static inline float slope(float x)
{
    float s = gate(x);
    return s + x * s * (1.0F - s) * twice_root * (1.0F + 3.0F * cubic * x * x);
}

static void forward_bf16(bf16 *out, const bf16 *in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = math_narrow(gelu(math_widen(in[i])));
}

static void forward_float(float *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = gelu(in[i]);
}

static void backward_bf16(bf16 *din, const bf16 *dout, const bf16 *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        din[i] = math_narrow(math_widen(dout[i]) * slope(math_widen(in[i])));
}

static void backward_float(float *din, const float *dout, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++) din[i] = dout[i] * slope(in[i]);
}

void gelu_forward(void *out, const void *in, dtype type, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        if (type == DTYPE_BF16)
            forward_bf16((bf16 *)out + at, (const bf16 *)in + at, n);
        else
            forward_float((float *)out + at, (const float *)in + at, n);
    }
}

void gelu_backward(void *din, const void *dout, const void *in, dtype type, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += RUN) {
        size_t n = count - at < RUN ? count - at : RUN;
        if (type == DTYPE_BF16)
            backward_bf16((bf16 *)din + at, (const bf16 *)dout + at, (const bf16 *)in + at, n);
        else
            backward_float((float *)din + at, (const float *)dout + at, (const float *)in + at, n);
    }
}
