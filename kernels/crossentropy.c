/* Cross-entropy of a chunk of rows. */
#include "kernels/kernels.h"
#include "kernels/math.h"

#include <math.h>

static float row_max(const float *logits, size_t V)
{
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (size_t v = 0; v < V; v++) most = logits[v] > most ? logits[v] : most;
    return most;
}

static float row_sum(const float *logits, float most, size_t V)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (size_t v = 0; v < V; v++) sum += math_exp(logits[v] - most);
    return sum;
}

static void row_bf16(bf16 *out, const float *logits, float lse, float scale, size_t V)
{
    for (size_t v = 0; v < V; v++) out[v] = math_narrow(math_exp(logits[v] - lse) * scale);
}

static void row_float(float *out, const float *logits, float lse, float scale, size_t V)
{
    for (size_t v = 0; v < V; v++) out[v] = math_exp(logits[v] - lse) * scale;
}

void cross_entropy(float *losses, void *dlogits, size_t ldd, dtype type, const float *logits,
                   size_t ldv, const uint16_t *targets, size_t N, size_t V, double scale)
{
    float factor = (float)scale;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < N; n++) {
        const float *row = logits + n * ldv;
        float most = row_max(row, V), lse = most + logf(row_sum(row, most, V));
        float target = row[targets[n]];
        losses[n] = lse - target;
        if (!dlogits) continue;
        float at_target = (math_exp(target - lse) - 1.0F) * factor;
        if (type == DTYPE_BF16) {
            bf16 *out = (bf16 *)dlogits + n * ldd;
            row_bf16(out, row, lse, factor, V);
            out[targets[n]] = math_narrow(at_target);
        } else {
            float *out = (float *)dlogits + n * ldd;
            row_float(out, row, lse, factor, V);
            out[targets[n]] = at_target;
        }
    }
}
