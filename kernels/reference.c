/* Plain loops in double. */
#include "kernels/reference.h"

#include <math.h>
#include <string.h>

void reference_gemm(size_t m, size_t n, size_t k, const double *a, size_t lda, bool transpose_a,
                    const double *b, size_t ldb, bool transpose_b, double *out, size_t ldc,
                    const double *bias, bool accumulate)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = bias ? bias[j] : 0.0;
            for (size_t l = 0; l < k; l++)
                sum += (transpose_a ? a[l * lda + i] : a[i * lda + l]) *
                       (transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
            out[i * ldc + j] = sum + (accumulate ? out[i * ldc + j] : 0.0);
        }
}

void reference_gemv(size_t n, size_t k, const double *x, const double *b, size_t ldb,
                    bool transpose_b, double *out, const double *bias)
{
    for (size_t j = 0; j < n; j++) {
        double sum = bias ? bias[j] : 0.0;
        for (size_t i = 0; i < k; i++)
            sum += x[i] * (transpose_b ? b[j * ldb + i] : b[i * ldb + j]);
        out[j] = sum;
    }
}

void reference_embedding_forward(double *residual, const double *wte, const double *wpe,
                                 const uint16_t *tokens, size_t B, size_t T, size_t C)
{
    for (size_t n = 0; n < B * T; n++)
        for (size_t c = 0; c < C; c++)
            residual[n * C + c] = wte[tokens[n] * C + c] + wpe[n % T * C + c];
}

void reference_embedding_backward(double *dwte, double *dwpe, const double *dresidual,
                                  const uint16_t *tokens, size_t B, size_t T, size_t C, size_t V,
                                  size_t block_size)
{
    (void)V;
    memset(dwpe, 0, block_size * C * sizeof *dwpe);
    for (size_t n = 0; n < B * T; n++)
        for (size_t c = 0; c < C; c++) {
            dwte[tokens[n] * C + c] += dresidual[n * C + c];
            dwpe[n % T * C + c] += dresidual[n * C + c];
        }
}

void reference_layernorm_forward(double *out, double *mean, double *rstd, const double *in,
                                 const double *gain, const double *bias, size_t N, size_t C)
{
    for (size_t n = 0; n < N; n++) {
        double m = 0.0, v = 0.0;
        for (size_t c = 0; c < C; c++) m += in[n * C + c] / (double)C;
        for (size_t c = 0; c < C; c++) v += (in[n * C + c] - m) * (in[n * C + c] - m) / (double)C;
        mean[n] = m;
        rstd[n] = 1.0 / sqrt(v + 1e-5);
        for (size_t c = 0; c < C; c++)
            out[n * C + c] = (in[n * C + c] - m) * rstd[n] * gain[c] + (bias ? bias[c] : 0.0);
    }
}

void reference_layernorm_backward(double *din, double *dgain, double *dbias, const double *dout,
                                  const double *in, const double *gain, const double *mean,
                                  const double *rstd, size_t N, size_t C)
{
    memset(dgain, 0, C * sizeof *dgain);
    if (dbias) memset(dbias, 0, C * sizeof *dbias);
    for (size_t n = 0; n < N; n++) {
        double sum = 0.0, product = 0.0;
        for (size_t c = 0; c < C; c++) {
            double x = (in[n * C + c] - mean[n]) * rstd[n], d = dout[n * C + c] * gain[c];
            sum += d / (double)C;
            product += d * x / (double)C;
            dgain[c] += dout[n * C + c] * x;
            if (dbias) dbias[c] += dout[n * C + c];
        }
        for (size_t c = 0; c < C; c++) {
            double x = (in[n * C + c] - mean[n]) * rstd[n];
            din[n * C + c] += rstd[n] * (dout[n * C + c] * gain[c] - sum - x * product);
        }
    }
}

static const double root = 0.79788456080286535588, cubic = 0.044715;

void reference_gelu_forward(double *out, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = 0.5 * in[i] * (1.0 + tanh(root * (in[i] + cubic * in[i] * in[i] * in[i])));
}

void reference_gelu_backward(double *din, const double *dout, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double x = in[i], t = tanh(root * (x + cubic * x * x * x));
        din[i] = dout[i] *
                 (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * cubic * x * x));
    }
}

/* q of position i and k, v of position j lie in rows i and j of qkv. */
void reference_tanh_forward(double *out, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = tanh(in[i]);
}

void reference_tanh_backward(double *din, const double *dout, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++) din[i] = dout[i] / (cosh(in[i]) * cosh(in[i]));
}

void reference_relu_forward(double *out, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = fmax(in[i], 0.0);
}

void reference_relu_backward(double *din, const double *dout, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++) din[i] = in[i] > 0.0 ? dout[i] : 0.0;
}

void reference_attention_forward(double *out, double *lse, const double *qkv, size_t B, size_t T,
                                 size_t C, size_t NH)
{
    size_t D = C / NH;
    double scale = 1.0 / sqrt((double)D);
    memset(out, 0, B * T * C * sizeof *out);
    for (size_t b = 0; b < B; b++)
        for (size_t n = 0; n < NH; n++)
            for (size_t i = 0; i < T; i++) {
                const double *q = qkv + (b * T + i) * 3 * C + n * D;
                double scores[T], sum = 0.0;
                for (size_t j = 0; j <= i; j++) {
                    const double *k = qkv + (b * T + j) * 3 * C + C + n * D;
                    scores[j] = 0.0;
                    for (size_t d = 0; d < D; d++) scores[j] += scale * q[d] * k[d];
                    sum += exp(scores[j]);
                }
                lse[(b * NH + n) * T + i] = log(sum);
                for (size_t j = 0; j <= i; j++) {
                    const double *v = qkv + (b * T + j) * 3 * C + 2 * C + n * D;
                    for (size_t d = 0; d < D; d++)
                        out[(b * T + i) * C + n * D + d] += exp(scores[j]) / sum * v[d];
                }
            }
}

/* One query's part: its probability p for each key gives dv, dk and dq. */
static void backward_query(double *dqkv, const double *dout, const double *qkv, double lse,
                           size_t row, size_t at, size_t i, size_t C, size_t D)
{
    double scale = 1.0 / sqrt((double)D), dot = 0.0;
    const double *q = qkv + (row + i) * 3 * C + at, *g = dout + (row + i) * C + at;
    double p[i + 1], dp[i + 1];
    for (size_t j = 0; j <= i; j++) {
        const double *k = qkv + (row + j) * 3 * C + C + at, *v = k + C;
        double score = 0.0;
        dp[j] = 0.0;
        for (size_t d = 0; d < D; d++) {
            score += scale * q[d] * k[d];
            dp[j] += g[d] * v[d];
        }
        p[j] = exp(score - lse);
        dot += p[j] * dp[j];
    }
    for (size_t j = 0; j <= i; j++) {
        double ds = p[j] * (dp[j] - dot) * scale;
        const double *k = qkv + (row + j) * 3 * C + C + at;
        double *dk = dqkv + (row + j) * 3 * C + C + at, *dq = dqkv + (row + i) * 3 * C + at;
        for (size_t d = 0; d < D; d++) {
            dq[d] += ds * k[d];
            dk[d] += ds * q[d];
            dk[C + d] += p[j] * g[d];
        }
    }
}

void reference_attention_backward(double *dqkv, const double *dout, const double *qkv,
                                  const double *out, const double *lse, size_t B, size_t T,
                                  size_t C, size_t NH)
{
    (void)out;
    size_t D = C / NH;
    memset(dqkv, 0, B * T * 3 * C * sizeof *dqkv);
    for (size_t b = 0; b < B; b++)
        for (size_t n = 0; n < NH; n++)
            for (size_t i = 0; i < T; i++)
                backward_query(dqkv, dout, qkv, lse[(b * NH + n) * T + i], b * T, n * D, i, C, D);
}

void reference_cross_entropy(double *losses, double *dlogits, const double *logits,
                             const uint16_t *targets, size_t N, size_t V, double scale)
{
    for (size_t n = 0; n < N; n++) {
        const double *row = logits + n * V;
        double max = row[0], sum = 0.0;
        for (size_t v = 0; v < V; v++) max = fmax(max, row[v]);
        for (size_t v = 0; v < V; v++) sum += exp(row[v] - max);
        double lse = max + log(sum);
        losses[n] = lse - row[targets[n]];
        for (size_t v = 0; dlogits && v < V; v++)
            dlogits[n * V + v] = scale * (exp(row[v] - lse) - (v == targets[n] ? 1.0 : 0.0));
    }
}

void reference_gaussian(double *losses, double *dvalues, const double *values,
                        const double *targets, size_t N, size_t O, double variance, double scale)
{
    for (size_t n = 0; n < N; n++) {
        losses[n] = 0.0;
        for (size_t i = n * O; i < (n + 1) * O; i++) {
            double z = (values[i] - targets[i]) / sqrt(variance);
            losses[n] += 0.5 * z * z + 0.5 * log(2.0 * 3.14159265358979323846 * variance);
            if (dvalues) dvalues[i] = scale * z / sqrt(variance);
        }
    }
}
