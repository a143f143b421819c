/* Causal attention in tiles of 64 x 64 with an online softmax (Milakov and Gimelshein, 2018; Dao
 * et al., 2022): only tiles on and below the diagonal are computed. One thread does all of a head
 * of a sequence, so every sum has one order.
 *
 * Operands of the tile products are words (kernels/tile.h): one float, or two bf16 that are
 * neighbours along the summed dimension. A head's arrays are copied first, padded with zeros to
 * whole tiles, in the forms that the products want: rows (summed over the head's columns, left),
 * turned (the same, right) and stacked (summed over positions, right).
 *
 * Tiles of scores are transposed, a row a key, a column a query: maxima and sums over keys are then
 * those of whole vectors. */
#include "kernels/kernels.h"
#include "kernels/math.h"
#include "kernels/tile.h"
#include "kernels/transpose.h"

#include <math.h>
#include <omp.h>

/* Forms of one of q, k, v and the output's gradient; those not needed are not filled. */
typedef struct {
    word *rows;    /* [rows][words] */
    word *turned;  /* [words][stride] */
    word *stacked; /* [rows / elements of a word][columns] */
} forms;

/* A head: T to whole tiles, D (head size) to whole vectors. */
typedef struct {
    dtype type;
    size_t T, D, rows, columns;
    size_t words;  /* of a row */
    size_t stride; /* of turned rows: rows, and a line, since caches dislike powers of two */
    float scale;
    forms q, k, v, o_grad;
    float *out, *dq, *dk, *dv; /* [rows][columns]; dq shares out's memory */
    float *max, *sum;          /* [rows]; backward: log-sum-exp, and dO O summed */
    float *scores, *grads;     /* [TILE][TILE] */
    float *drops;              /* [TILE][TILE] */
    word *packed;              /* [TILE][TILE] */
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

/* Hand out a head's arrays from `work`, or with NULL only count. @return floats taken */
static size_t head_place(head *h, float *work, dtype type, size_t T, size_t D)
{
    size_t columns = round_up(D, TILE_LANES), rows = round_up(T, TILE), n = rows * columns;
    size_t group = type == DTYPE_BF16 ? 2 : 1, used = 0;
    *h = (head){.type = type,
                .T = T,
                .D = D,
                .rows = rows,
                .columns = columns,
                .words = columns / group,
                .stride = rows + TILE_LANES,
                .scale = (float)(1.0 / sqrt((double)D))};
    forms *all[] = {&h->q, &h->k, &h->v, &h->o_grad};
    for (size_t i = 0; i < 4; i++) {
        word **arrays[] = {&all[i]->rows, &all[i]->turned, &all[i]->stacked};
        size_t counts[] = {n / group, h->words * h->stride, n / group};
        for (size_t f = 0; f < (group == 2 ? 3 : 2); used += counts[f++])
            *arrays[f] = work ? (word *)(void *)(work + used) : NULL;
        if (group == 1) all[i]->stacked = all[i]->rows;
    }
    struct {
        float **array;
        size_t count;
    } floats[] = {{&h->out, n},
                  {&h->dk, n},
                  {&h->dv, n},
                  {&h->max, rows},
                  {&h->sum, rows},
                  {&h->scores, TILE * TILE},
                  {&h->grads, TILE * TILE},
                  {&h->drops, TILE * TILE}};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; used += floats[i++].count)
        *floats[i].array = work ? work + used : NULL;
    h->packed = work ? (word *)(void *)(work + used) : NULL;
    h->dq = h->out;
    return used + TILE * TILE;
}

size_t attention_work_floats(size_t T, size_t C, size_t NH)
{
    head h;
    size_t f32 = head_place(&h, NULL, DTYPE_F32, T, C / NH);
    size_t pairs = head_place(&h, NULL, DTYPE_BF16, T, C / NH);
    return (size_t)omp_get_max_threads() * round_up(f32 > pairs ? f32 : pairs, TILE_LANES);
}

static head head_open(float *work, dtype type, size_t T, size_t C, size_t NH)
{
    head h;
    size_t each = attention_work_floats(T, C, NH) / (size_t)omp_get_max_threads();
    head_place(&h, work + (size_t)omp_get_thread_num() * each, type, T, C / NH);
    return h;
}

/* Columns at .. at + D of rows of `stride` elements, padded. */
static void load_rows(word *out, const head *h, const void *in, size_t at, size_t stride)
{
    size_t element = h->type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    if (h->rows != h->T || h->columns != h->D) memset(out, 0, h->rows * h->words * sizeof *out);
    for (size_t t = 0; t < h->T; t++)
        memcpy(out + t * h->words, (const char *)in + (at + t * stride) * element, h->D * element);
}

static void transpose_head(const forms *f, const head *h)
{
    transpose_words(f->turned, h->stride, f->rows, h->words, h->rows, h->words);
}

static void stack(const forms *f, const head *h)
{
    if (h->type != DTYPE_BF16) return; /* rows are it */
    for (size_t t = 0; t < h->rows; t += 2) {
        const bf16 *first = (const bf16 *)(const void *)(f->rows + t * h->words);
        tile_stack(f->stacked + t / 2 * h->columns, first, first + h->columns, h->columns);
    }
}

static void store_head(void *out, dtype type, size_t at, size_t stride, const head *h,
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

/* Words of the summed dimension of a tile. */
static size_t tile_words(const head *h)
{
    return h->type == DTYPE_BF16 ? TILE / 2 : TILE;
}

/* out(tile of a, tile of b) = A B^T, summed over the head's columns. */
static void product_of_rows(const head *h, float *out, const forms *a, size_t i, const forms *b,
                            size_t j)
{
    tile_product(h->type, out, TILE, (tile_left){a->rows + i * h->words, h->words, 1},
                 b->turned + j, h->stride, TILE, TILE, h->words, false);
}

/* out += P B, summed over the positions of tile j. */
static void product_of_stack(const head *h, float *out, tile_left p, const forms *b, size_t j)
{
    size_t at = j * tile_words(h) / TILE * h->columns;
    tile_product(h->type, out, h->columns, p, b->stacked + at, h->columns, TILE, h->columns,
                 tile_words(h), true);
}

static void narrow(bf16 *restrict out, const float *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = math_narrow(in[i]);
}

static void narrow_two(word *restrict out, const float *restrict first,
                       const float *restrict second)
{
    for (size_t c = 0; c < TILE; c++)
        out[c] = math_narrow(first[c]) | (word)math_narrow(second[c]) << 16;
}

/* A tile as left operand, summed over its columns. */
static tile_left left_of(const head *h, const float *tile)
{
    if (h->type != DTYPE_BF16) return (tile_left){(const word *)(const void *)tile, TILE, 1};
    narrow((bf16 *)(void *)h->packed, tile, TILE * TILE);
    return (tile_left){h->packed, TILE / 2, 1};
}

/* A tile's transpose as left operand, summed over the tile's rows. */
static tile_left left_of_turned(const head *h, const float *tile)
{
    if (h->type != DTYPE_BF16) return (tile_left){(const word *)(const void *)tile, 1, TILE};
    for (size_t r = 0; r < TILE; r += 2)
        narrow_two(h->packed + r / 2 * TILE, tile + r * TILE, tile + (r + 1) * TILE);
    return (tile_left){h->packed, 1, TILE};
}

static dropping drop_of(double dropout, noise_key key, uint64_t index, size_t head_number, size_t T)
{
    return (dropping){.dropout = dropout,
                      .key = key,
                      .index = index + (uint64_t)head_number * T * T,
                      .limit = (uint32_t)(dropout * 4294967296.0),
                      .kept = (float)(1.0 / (1.0 - dropout))};
}

/* What the probabilities of a tile are multiplied by. */
static void draw_drops(const head *h, size_t i, size_t j, const dropping *drop)
{
    uint32_t words[TILE];
    for (size_t r = 0; r < TILE; r++) {
        noise_uniform_words(words, drop->key, drop->index + (i + r) * h->T + j, TILE);
        for (size_t c = 0; c < TILE; c++)
            h->drops[c * TILE + r] = words[c] < drop->limit ? 0.0F : drop->kept;
    }
}

static void multiply(float *restrict row, const float *restrict by, size_t n)
{
    for (size_t c = 0; c < n; c++) row[c] *= by[c];
}

static void shrink(float *out, float factor, size_t n)
{
    for (size_t d = 0; d < n; d++) out[d] *= factor;
}

/* Keys after a query count nothing: rows of the tile are keys, columns queries. */
static void mask_tile(const head *h, size_t i, size_t j)
{
    if (i != j) return;
    for (size_t c = 1; c < TILE; c++)
        for (size_t r = 0; r < c; r++) h->scores[c * TILE + r] = -INFINITY;
}

/* Raise each query's maximum to that of the tile. @param factor  out: e^(old - new) */
static void raise_max(float *restrict max, float *restrict factor, const float *restrict scores,
                      float scale)
{
    float tile[TILE];
    for (size_t r = 0; r < TILE; r++) tile[r] = -INFINITY;
    for (size_t c = 0; c < TILE; c++)
        for (size_t r = 0; r < TILE; r++)
            tile[r] = scores[c * TILE + r] > tile[r] ? scores[c * TILE + r] : tile[r];
    for (size_t r = 0; r < TILE; r++) {
        float raised = tile[r] * scale;
        raised = raised > max[r] ? raised : max[r];
        factor[r] = math_exp(max[r] - raised);
        max[r] = raised;
    }
}

/* sum = factor sum + the tile's exponentials, which replace the scores. */
static void add_exponentials(float *restrict sum, float *restrict scores,
                             const float *restrict factor, const float *restrict max, float scale)
{
    for (size_t r = 0; r < TILE; r++) sum[r] *= factor[r];
    for (size_t c = 0; c < TILE; c++) {
        float *row = scores + c * TILE;
#pragma omp simd
        for (size_t r = 0; r < TILE; r++) {
            row[r] = math_exp_weight(row[r] * scale - max[r]);
            sum[r] += row[r];
        }
    }
}

/* Probabilities of a tile against the running maximum; what was summed before is scaled down. */
static void softmax_tile(const head *h, size_t i, size_t j, const dropping *drop)
{
    float factor[TILE];
    mask_tile(h, i, j);
    raise_max(h->max + i, factor, h->scores, h->scale);
    add_exponentials(h->sum + i, h->scores, factor, h->max + i, h->scale);
    for (size_t r = 0; r < TILE; r++)
        if (factor[r] != 1.0F) shrink(h->out + (i + r) * h->columns, factor[r], h->columns);
    if (drop->dropout > 0.0) {
        draw_drops(h, i, j, drop);
        multiply(h->scores, h->drops, TILE * TILE);
    }
}

static void forward_head(head *h, float *lse, const dropping *drop)
{
    memset(h->out, 0, h->rows * h->columns * sizeof *h->out);
    for (size_t r = 0; r < h->rows; r++) {
        h->max[r] = -1e30F;
        h->sum[r] = 0.0F;
    }
    for (size_t i = 0; i < h->rows; i += TILE) {
        for (size_t j = 0; j <= i; j += TILE) {
            product_of_rows(h, h->scores, &h->k, j, &h->q, i);
            softmax_tile(h, i, j, drop);
            product_of_stack(h, h->out + i * h->columns, left_of_turned(h, h->scores), &h->v, j);
        }
        for (size_t r = i; r < i + TILE; r++) {
            shrink(h->out + r * h->columns, 1.0F / h->sum[r], h->columns);
            if (r < h->T) lse[r] = h->max[r] + logf(h->sum[r]);
        }
    }
}

void attention_forward(void *out, float *lse, const void *qkv, dtype type, size_t B, size_t T,
                       size_t C, size_t NH, double dropout, noise_key key, uint64_t index,
                       float *work)
{
#pragma omp parallel for schedule(static)
    for (size_t bn = 0; bn < B * NH; bn++) {
        size_t b = bn / NH, n = bn % NH, D = C / NH, at = b * T * 3 * C + n * D;
        head h = head_open(work, type, T, C, NH);
        dropping drop = drop_of(dropout, key, index, bn, T);
        load_rows(h.q.rows, &h, qkv, at, 3 * C);
        load_rows(h.k.rows, &h, qkv, at + C, 3 * C);
        load_rows(h.v.rows, &h, qkv, at + 2 * C, 3 * C);
        transpose_head(&h.q, &h);
        stack(&h.v, &h);
        forward_head(&h, lse + bn * T, &drop);
        store_head(out, type, b * T * C + n * D, C, &h, h.out);
    }
}

/* As in the forward pass a row is a key, a column a query: P^T and dS^T are left operands as they
 * are. From the scores and the gradients of the probabilities:
 * scores become P (as it was multiplied with V, so dropped), grads dS = P (dP - rowsum(dO O))
 * scale. */
static void gradient_row(float *restrict p, float *restrict g, const float *restrict lse,
                         const float *restrict dot, float scale)
{
#pragma omp simd
    for (size_t r = 0; r < TILE; r++) {
        p[r] = math_exp_weight(p[r] * scale - lse[r]);
        g[r] = p[r] * (g[r] - dot[r]) * scale;
    }
}

static void gradient_tile(const head *h, size_t i, size_t j, const dropping *drop)
{
    bool drops = drop->dropout > 0.0;
    if (drops) draw_drops(h, i, j, drop);
    mask_tile(h, i, j);
    for (size_t c = 0; c < TILE; c++) {
        float *p = h->scores + c * TILE, *g = h->grads + c * TILE;
        if (drops) multiply(g, h->drops + c * TILE, TILE);
        gradient_row(p, g, h->max + i, h->sum + i, h->scale);
        if (drops) multiply(p, h->drops + c * TILE, TILE);
    }
}

static void backward_head(head *h, const dropping *drop)
{
    float *sums[] = {h->dq, h->dk, h->dv};
    for (int s = 0; s < 3; s++) memset(sums[s], 0, h->rows * h->columns * sizeof *sums[s]);
    for (size_t j = 0; j < h->rows; j += TILE)
        for (size_t i = j; i < h->rows; i += TILE) {
            product_of_rows(h, h->scores, &h->k, j, &h->q, i);
            product_of_rows(h, h->grads, &h->v, j, &h->o_grad, i);
            gradient_tile(h, i, j, drop);
            product_of_stack(h, h->dv + j * h->columns, left_of(h, h->scores), &h->o_grad, i);
            product_of_stack(h, h->dk + j * h->columns, left_of(h, h->grads), &h->q, i);
            product_of_stack(h, h->dq + i * h->columns, left_of_turned(h, h->grads), &h->k, j);
        }
}

static float row_dot(const void *a, const void *b, dtype type, size_t n)
{
    float sum = 0.0F;
    if (type == DTYPE_BF16) {
        const bf16 *x = a, *y = b;
#pragma omp simd reduction(+ : sum)
        for (size_t d = 0; d < n; d++) sum += math_widen(x[d]) * math_widen(y[d]);
    } else {
        const float *x = a, *y = b;
#pragma omp simd reduction(+ : sum)
        for (size_t d = 0; d < n; d++) sum += x[d] * y[d];
    }
    return sum;
}

/* Rows beyond T get probabilities of 0. */
static void load_row_sums(head *h, const float *lse, const void *out, size_t at, size_t stride)
{
    size_t element = h->type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    for (size_t t = 0; t < h->rows; t++) {
        const char *row = (const char *)out + (at + t * stride) * element;
        h->max[t] = t < h->T ? lse[t] : INFINITY;
        h->sum[t] = t < h->T ? row_dot(row, h->o_grad.rows + t * h->words, h->type, h->D) : 0.0F;
    }
}

void attention_backward(void *dqkv, const void *dout, const void *qkv, const void *out,
                        const float *lse, dtype type, size_t B, size_t T, size_t C, size_t NH,
                        double dropout, noise_key key, uint64_t index, float *work)
{
#pragma omp parallel for schedule(static)
    for (size_t bn = 0; bn < B * NH; bn++) {
        size_t b = bn / NH, n = bn % NH, D = C / NH;
        size_t at = b * T * 3 * C + n * D, out_at = b * T * C + n * D;
        head h = head_open(work, type, T, C, NH);
        dropping drop = drop_of(dropout, key, index, bn, T);
        load_rows(h.q.rows, &h, qkv, at, 3 * C);
        load_rows(h.k.rows, &h, qkv, at + C, 3 * C);
        load_rows(h.v.rows, &h, qkv, at + 2 * C, 3 * C);
        load_rows(h.o_grad.rows, &h, dout, out_at, C);
        load_row_sums(&h, lse + bn * T, out, out_at, C);
        transpose_head(&h.q, &h);
        transpose_head(&h.o_grad, &h);
        stack(&h.q, &h);
        stack(&h.k, &h);
        stack(&h.o_grad, &h);
        backward_head(&h, &drop);
        store_head(dqkv, type, at, 3 * C, &h, h.dq);
        store_head(dqkv, type, at + C, 3 * C, &h, h.dk);
        store_head(dqkv, type, at + 2 * C, 3 * C, &h, h.dv);
    }
}
