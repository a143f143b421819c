/* Attention over cached keys and values, one query of one head at a time: its scores are a product
 * with the head's keys, its output one with the values, and each is read once, in order. As in
 * kernels/attention.c the probabilities are exponentials in the compute type, and the output is
 * divided by their sum. */
#include "kernels/gemv.h"
#include "kernels/kernels.h"
#include "kernels/math.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static size_t element_bytes(dtype type)
{
    return type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
}

void attention_store(void *keys, void *values, const void *qkv, dtype type, size_t at, size_t rows,
                     size_t max, size_t C, size_t NH)
{
    size_t head = C / NH * element_bytes(type);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < NH; n++)
        for (size_t i = 0; i < rows; i++) {
            const char *k = (const char *)qkv + ((3 * i + 1) * NH + n) * head;
            size_t to = (n * max + at + i) * head;
            memcpy((char *)keys + to, k, head);
            memcpy((char *)values + to, k + NH * head, head);
        }
}

/* Scores become exponentials. @return their sum */
static float softmax_row(float *scores, float scale, size_t n)
{
    float largest = -INFINITY, sum = 0.0F;
#pragma omp simd reduction(max : largest)
    for (size_t j = 0; j < n; j++) largest = scores[j] > largest ? scores[j] : largest;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) {
        scores[j] = math_exp_weight((scores[j] - largest) * scale);
        sum += scores[j];
    }
    return sum;
}

static void narrow(bf16 *restrict out, const float *restrict in, size_t n)
{
    for (size_t j = 0; j < n; j++) out[j] = math_narrow(in[j]);
}

static void store_divided(void *out, dtype type, const float *in, float by, size_t n)
{
    for (size_t d = 0; d < n; d++) {
        if (type == DTYPE_BF16)
            ((bf16 *)out)[d] = math_narrow(in[d] / by);
        else
            ((float *)out)[d] = in[d] / by;
    }
}

/* A head's query over `length` keys and values of D columns. work: [2 length + D] */
static void attend(void *out, const void *q, const void *keys, const void *values, dtype type,
                   size_t length, size_t D, float *work)
{
    float *scores = work, *sums = work + 2 * length;
    const void *probabilities = scores;
    gemv_rows(scores, q, keys, D, length, D, type);
    float sum = softmax_row(scores, (float)(1.0 / sqrt((double)D)), length);
    if (type == DTYPE_BF16) {
        bf16 *narrowed = (bf16 *)(void *)(work + length);
        narrow(narrowed, scores, length);
        probabilities = narrowed;
    }
    gemv_columns(sums, probabilities, values, D, D, length, type);
    store_divided(out, type, sums, sum, D);
}

void attention_cached(void *out, const void *keys, const void *values, const void *qkv, dtype type,
                      size_t at, size_t rows, size_t max, size_t C, size_t NH, float *work)
{
    size_t D = C / NH, head = D * element_bytes(type);
    size_t each = attention_work_floats(max, C, NH) / (size_t)omp_get_max_threads();
#pragma omp parallel for schedule(static)
    for (size_t ni = 0; ni < NH * rows; ni++) {
        size_t n = ni / rows, i = ni % rows, cached = n * max * head;
        attend((char *)out + (i * NH + n) * head, (const char *)qkv + (3 * i * NH + n) * head,
               (const char *)keys + cached, (const char *)values + cached, type, at + i + 1, D,
               work + (size_t)omp_get_thread_num() * each);
    }
}
