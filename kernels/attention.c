/* Causal attention in tiles of 64 x 64 with an online softmax (Milakov and Gimelshein, 2018; Dao
 * et al., 2022): only tiles on and below the diagonal are computed. One thread does all of a head
 * of a sequence, so every sum has one order. Heads are widened to fp32 and padded with zeros to
 * whole tiles first. */
#include "kernels/clones.h"
#include "kernels/kernels.h"
#include "kernels/math.h"
#include "kernels/tile.h"

#include <math.h>
#include <omp.h>

/* A head's arrays, padded: T to whole tiles, D (head size) to whole vectors. */
typedef struct {
    size_t T, D, rows, columns;
    float *q, *k, *v, *o_grad;  /* [rows][columns] */
    float *k_turned, *v_turned; /* [columns][rows] */
    float *out, *dk, *dv;       /* [rows][columns] */
    float *most, *sum;          /* [rows] */
    float *scores, *grads;      /* [TILE][TILE] */
} head;

typedef struct {
    double dropout;
    noise_key key;
    uint64_t index; /* of the head's probability (0, 0) */
    uint32_t limit;
    float kept;
} dropping;

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t head_floats(size_t T, size_t D)
{
    size_t rows = round_up(T, TILE), columns = round_up(D, TILE_LANES);
    return 9 * rows * columns + 2 * rows + 2 * TILE * TILE;
}

size_t attention_work_floats(size_t T, size_t C, size_t NH)
{
    return (size_t)omp_get_max_threads() * head_floats(T, C / NH);
}

static head head_place(float *work, size_t T, size_t D)
{
    head h = {.T = T, .D = D, .rows = round_up(T, TILE), .columns = round_up(D, TILE_LANES)};
    size_t n = h.rows * h.columns;
    float **arrays[] = {&h.q,        &h.k,   &h.v,  &h.o_grad, &h.k_turned,
                        &h.v_turned, &h.out, &h.dk, &h.dv};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) *arrays[i] = work + i * n;
    h.most = work + 9 * n;
    h.sum = h.most + h.rows;
    h.scores = h.sum + h.rows;
    h.grads = h.scores + TILE * TILE;
    return h;
}

/* Columns at .. at + D of rows of `stride` elements, widened and padded. */
CLONES static void load_head(float *out, const head *h, const void *in, dtype type, size_t at,
                             size_t stride)
{
    if (h->rows != h->T || h->columns != h->D) memset(out, 0, h->rows * h->columns * sizeof *out);
    for (size_t t = 0; t < h->T; t++) {
        float *row = out + t * h->columns;
        if (type == DTYPE_BF16) {
            const bf16 *from = (const bf16 *)in + at + t * stride;
            for (size_t d = 0; d < h->D; d++) row[d] = math_widen(from[d]);
        } else {
            memcpy(row, (const float *)in + at + t * stride, h->D * sizeof *row);
        }
    }
}

CLONES static void store_head(void *out, dtype type, size_t at, size_t stride, const head *h,
                              const float *in)
{
    for (size_t t = 0; t < h->T; t++) {
        const float *row = in + t * h->columns;
        if (type == DTYPE_BF16) {
            bf16 *to = (bf16 *)out + at + t * stride;
            for (size_t d = 0; d < h->D; d++) to[d] = math_narrow(row[d]);
        } else {
            memcpy((float *)out + at + t * stride, row, h->D * sizeof *row);
        }
    }
}

/* Transpose, 16 rows at a time: they stay in the first cache, and whole lines are written. */
static void turn(float *restrict out, const float *restrict in, const head *h)
{
    for (size_t at = 0; at < h->rows; at += TILE_LANES)
        for (size_t d = 0; d < h->columns; d++)
            for (size_t t = at; t < at + TILE_LANES; t++)
                out[d * h->rows + t] = in[t * h->columns + d];
}

static void load_qkv(head *h, const void *qkv, dtype type, size_t b, size_t n, size_t C,
                     float scale)
{
    size_t at = b * h->T * 3 * C + n * h->D;
    load_head(h->q, h, qkv, type, at, 3 * C);
    load_head(h->k, h, qkv, type, at + C, 3 * C);
    load_head(h->v, h, qkv, type, at + 2 * C, 3 * C);
    turn(h->k_turned, h->k, h);
    for (size_t i = 0; i < h->rows * h->columns; i++) h->q[i] *= scale;
}

/* Scores of query tile i and key tile j, minus infinity above the diagonal. */
static void score_tile(const head *h, size_t i, size_t j)
{
    tile_product(h->scores, TILE, h->q + i * h->columns, h->columns, 1, h->k_turned + j, h->rows,
                 TILE, TILE, h->columns, false);
    if (i != j) return;
    for (size_t r = 0; r < TILE; r++)
        for (size_t c = r + 1; c < TILE; c++) h->scores[r * TILE + c] = -INFINITY;
}

static void drop_row(float *row, const dropping *drop, const head *h, size_t query, size_t key)
{
    uint32_t words[TILE];
    noise_uniform_words(words, drop->key, drop->index + query * h->T + key, TILE);
    for (size_t c = 0; c < TILE; c++) row[c] = words[c] < drop->limit ? 0.0F : row[c] * drop->kept;
}

CLONES static float exponentials(float *row, float most)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < TILE; c++) {
        row[c] = math_exp(row[c] - most);
        sum += row[c];
    }
    return sum;
}

CLONES static float largest(const float *row, float most)
{
#pragma omp simd reduction(max : most)
    for (size_t c = 0; c < TILE; c++) most = row[c] > most ? row[c] : most;
    return most;
}

/* Probabilities of a tile against the running maximum; what was summed before is scaled down. */
static void soften_tile(const head *h, size_t i, size_t j, const dropping *drop)
{
    for (size_t r = 0; r < TILE; r++) {
        float *row = h->scores + r * TILE, *out = h->out + (i + r) * h->columns;
        float most = largest(row, h->most[i + r]);
        float shrink = math_exp(h->most[i + r] - most);
        h->sum[i + r] = h->sum[i + r] * shrink + exponentials(row, most);
        h->most[i + r] = most;
        if (shrink != 1.0F)
            for (size_t d = 0; d < h->columns; d++) out[d] *= shrink;
        if (drop->dropout > 0.0) drop_row(row, drop, h, i + r, j);
    }
}

static void forward_head(head *h, float *lse, const dropping *drop)
{
    memset(h->out, 0, h->rows * h->columns * sizeof *h->out);
    for (size_t r = 0; r < h->rows; r++) {
        h->most[r] = -1e30F;
        h->sum[r] = 0.0F;
    }
    for (size_t i = 0; i < h->rows; i += TILE) {
        for (size_t j = 0; j <= i; j += TILE) {
            score_tile(h, i, j);
            soften_tile(h, i, j, drop);
            tile_product(h->out + i * h->columns, h->columns, h->scores, TILE, 1,
                         h->v + j * h->columns, h->columns, TILE, h->columns, TILE, true);
        }
        for (size_t r = i; r < i + TILE; r++) {
            float inverse = 1.0F / h->sum[r];
            for (size_t d = 0; d < h->columns; d++) h->out[r * h->columns + d] *= inverse;
            if (r < h->T) lse[r] = h->most[r] + logf(h->sum[r]);
        }
    }
}

static dropping drop_of(double dropout, noise_key key, uint64_t index, size_t head_number, size_t T)
{
    return (dropping){.dropout = dropout,
                      .key = key,
                      .index = index + (uint64_t)head_number * T * T,
                      .limit = (uint32_t)(dropout * 4294967296.0),
                      .kept = (float)(1.0 / (1.0 - dropout))};
}

void attention_forward(void *out, float *lse, const void *qkv, dtype type, size_t B, size_t T,
                       size_t C, size_t NH, double dropout, noise_key key, uint64_t index,
                       float *work)
{
    size_t D = C / NH;
    float scale = (float)(1.0 / sqrt((double)D));
#pragma omp parallel for schedule(static)
    for (size_t bn = 0; bn < B * NH; bn++) {
        size_t b = bn / NH, n = bn % NH;
        head h = head_place(work + (size_t)omp_get_thread_num() * head_floats(T, D), T, D);
        dropping drop = drop_of(dropout, key, index, bn, T);
        load_qkv(&h, qkv, type, b, n, C, scale);
        forward_head(&h, lse + bn * T, &drop);
        store_head(out, type, b * T * C + n * D, C, &h, h.out);
    }
}

/* Gradients of the scores of a tile, from the probabilities in `scores` and their gradients:
 * dS = P (dP - rowsum(dO O)). With dropout, P is left as it was multiplied with V. */
CLONES static void tile_grads(const head *h, size_t i, size_t j, const float *lse,
                              const dropping *drop)
{
    for (size_t r = 0; r < TILE; r++) {
        float *p = h->scores + r * TILE, *g = h->grads + r * TILE, dot = h->sum[i + r];
        float row_lse = i + r < h->T ? lse[i + r] : INFINITY;
#pragma omp simd
        for (size_t c = 0; c < TILE; c++) p[c] = math_exp(p[c] - row_lse);
        if (drop->dropout > 0.0) drop_row(g, drop, h, i + r, j);
#pragma omp simd
        for (size_t c = 0; c < TILE; c++) g[c] = p[c] * (g[c] - dot);
        if (drop->dropout > 0.0) drop_row(p, drop, h, i + r, j);
    }
}

static void backward_head(head *h, const float *lse, const dropping *drop)
{
    size_t W = h->columns;
    float *dq = h->out; /* its last use, in `sum`, is over */
    memset(dq, 0, h->rows * W * sizeof *dq);
    memset(h->dk, 0, h->rows * W * sizeof *h->dk);
    memset(h->dv, 0, h->rows * W * sizeof *h->dv);
    for (size_t i = 0; i < h->rows; i += TILE)
        for (size_t j = 0; j <= i; j += TILE) {
            score_tile(h, i, j);
            tile_product(h->grads, TILE, h->o_grad + i * W, W, 1, h->v_turned + j, h->rows, TILE,
                         TILE, W, false);
            tile_grads(h, i, j, lse, drop);
            tile_product(dq + i * W, W, h->grads, TILE, 1, h->k + j * W, W, TILE, W, TILE, true);
            tile_product(h->dk + j * W, W, h->grads, 1, TILE, h->q + i * W, W, TILE, W, TILE, true);
            tile_product(h->dv + j * W, W, h->scores, 1, TILE, h->o_grad + i * W, W, TILE, W, TILE,
                         true);
        }
}

static void row_dots(head *h)
{
    for (size_t r = 0; r < h->rows; r++) {
        float sum = 0.0F;
        for (size_t d = 0; d < h->columns; d++)
            sum += h->out[r * h->columns + d] * h->o_grad[r * h->columns + d];
        h->sum[r] = sum;
    }
}

void attention_backward(void *dqkv, const void *dout, const void *qkv, const void *out,
                        const float *lse, dtype type, size_t B, size_t T, size_t C, size_t NH,
                        double dropout, noise_key key, uint64_t index, float *work)
{
    size_t D = C / NH;
    float scale = (float)(1.0 / sqrt((double)D));
#pragma omp parallel for schedule(static)
    for (size_t bn = 0; bn < B * NH; bn++) {
        size_t b = bn / NH, n = bn % NH, at = b * T * 3 * C + n * D;
        head h = head_place(work + (size_t)omp_get_thread_num() * head_floats(T, D), T, D);
        dropping drop = drop_of(dropout, key, index, bn, T);
        load_qkv(&h, qkv, type, b, n, C, scale);
        turn(h.v_turned, h.v, &h);
        load_head(h.o_grad, &h, dout, type, b * T * C + n * D, C);
        load_head(h.out, &h, out, type, b * T * C + n * D, C);
        row_dots(&h);
        backward_head(&h, lse + bn * T, &drop);
        /* q carries the scale, so dk has it; dq gets it here. */
        for (size_t i = 0; i < h.rows * h.columns; i++) h.out[i] *= scale;
        store_head(dqkv, type, at, 3 * C, &h, h.out);
        store_head(dqkv, type, at + C, 3 * C, &h, h.dk);
        store_head(dqkv, type, at + 2 * C, 3 * C, &h, h.dv);
    }
}
