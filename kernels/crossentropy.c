/* Cross-entropy of a chunk of rows. */
#include "kernels/kernels.h"
#include "kernels/math.h"

#include <math.h>

static float row_max(const float *logits, size_t V)
{
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (size_t v = 0; v < V; v++) largest = logits[v] > largest ? logits[v] : largest;
    return largest;
}

static float row_sum(const float *logits, float largest, size_t V)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (size_t v = 0; v < V; v++) sum += math_exp(logits[v] - largest);
    return sum;
}

/* The same sum; the exponentials replace the logits. */
static float row_exponentials(float *logits, float largest, size_t V)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (size_t v = 0; v < V; v++) {
        logits[v] = math_exp_weight(logits[v] - largest);
        sum += logits[v];
    }
    return sum;
}

static void row_bf16(bf16 *out, const float *exponentials, float scale, size_t V)
{
    for (size_t v = 0; v < V; v++) out[v] = math_narrow(exponentials[v] * scale);
}

static void row_float(float *out, const float *exponentials, float scale, size_t V)
{
    for (size_t v = 0; v < V; v++) out[v] = exponentials[v] * scale;
}

void cross_entropy(float *losses, void *dlogits, size_t ldd, dtype type, float *logits, size_t ldv,
                   const uint16_t *targets, size_t N, size_t V, double scale)
{
    float factor = (float)scale;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < N; n++) {
        float *row = logits + n * ldv, target = row[targets[n]], largest = row_max(row, V);
        float sum = dlogits ? row_exponentials(row, largest, V) : row_sum(row, largest, V);
        float lse = largest + logf(sum);
        losses[n] = lse - target;
        if (!dlogits) continue;
        float at_target = (math_exp(target - lse) - 1.0F) * factor;
        if (type == DTYPE_BF16) {
            bf16 *out = (bf16 *)dlogits + n * ldd;
            row_bf16(out, row, factor / sum, V);
            out[targets[n]] = math_narrow(at_target);
        } else {
            float *out = (float *)dlogits + n * ldd;
            row_float(out, row, factor / sum, V);
            out[targets[n]] = at_target;
        }
    }
}
