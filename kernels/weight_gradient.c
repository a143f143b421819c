/* Weight gradients as sums of outer products. Both operands are summed over their rows, so two bf16
 * that are neighbours along the sum lie in neighbouring rows: laying them together in words of the
 * tile kernel is all the packing there is, where the library would transpose one operand and block
 * the other.
 *
 * Threads have regions of the result and share nothing: what another has packed is slower to fetch
 * than to pack. For STRETCH words of the sum at a time, so that a right panel stays in the
 * innermost cache, the rest of what is packed in the next. */
#include "base/memory.h"
#include "kernels/kernels.h"
#include "kernels/tile.h"

#include <omp.h>
#include <string.h>

enum {
    STRETCH = 128,  /* words of the summed dimension */
    COLUMNS = 1536, /* of the result at once: packed right operand */
};

size_t weight_gradient_work_floats(size_t O)
{
    size_t columns = O < COLUMNS ? O : COLUMNS;
    return (size_t)omp_get_max_threads() * STRETCH * columns;
}

typedef struct {
    const void *values;
    size_t N, columns; /* rows, which are summed over, and their length */
    dtype type;
} operand;

typedef struct {
    size_t begin, end;
} range;

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* At most `max` of a range, from `at`. */
static range part_of(range whole, size_t at, size_t max)
{
    return (range){at, at + smaller(whole.end - at, max)};
}

/* Words of columns [at, at + width) of a stretch of rows that begins at `from`. */
static inline void pack_rows(word *restrict out, const operand *x, size_t from, size_t words,
                             size_t at, size_t width)
{
    size_t ld = x->columns;
    if (x->type == DTYPE_BF16) {
        const bf16 *rows = (const bf16 *)x->values + from * ld + at;
        size_t pairs = from + 2 * words > x->N ? words - 1 : words;
        for (size_t l = 0; l < pairs; l++)
            tile_stack(out + l * width, rows + 2 * l * ld, rows + (2 * l + 1) * ld, width);
        if (pairs < words) tile_stack(out + pairs * width, rows + 2 * pairs * ld, NULL, width);
    } else {
        const float *rows = (const float *)x->values + from * ld + at;
        for (size_t l = 0; l < words; l++)
            memcpy(out + l * width, rows + l * ld, width * sizeof *out);
    }
}

/* Columns in panels of TILE, but the last; a constant width makes whole vectors. */
static void pack(word *restrict out, const operand *x, size_t from, size_t words, range columns)
{
    for (size_t at = columns.begin; at < columns.end; at += TILE) {
        size_t width = smaller(columns.end - at, TILE);
        word *panel = out + (at - columns.begin) * words;
        if (width == TILE)
            pack_rows(panel, x, from, words, at, TILE);
        else
            pack_rows(panel, x, from, words, at, width);
    }
}

/* Rows i (a tile's) and columns j of dw, whose packed operands are here. */
static void add_tiles(float *dw, size_t ld, dtype type, const word *left, range i,
                      const word *right, range j, size_t words, bool accumulate)
{
    size_t height = i.end - i.begin;
    for (size_t c = j.begin; c < j.end; c += TILE) {
        size_t width = smaller(j.end - c, TILE);
        tile_product(type, dw + i.begin * ld + c, ld, (tile_left){left, 1, height},
                     right + (c - j.begin) * words, width, height, width, words, accumulate);
    }
}

static void add_region(float *dw, const operand *x, const operand *d, range rows, range columns,
                       word *work, bool accumulate)
{
    size_t group = x->type == DTYPE_BF16 ? 2 : 1;
    _Alignas(MEMORY_ALIGNMENT) word left[STRETCH * TILE];
    for (size_t c = columns.begin; c < columns.end; c += COLUMNS) {
        range j = part_of(columns, c, COLUMNS);
        for (size_t from = 0; from < x->N; from += STRETCH * group) {
            size_t words = (smaller(x->N - from, STRETCH * group) + group - 1) / group;
            pack(work, d, from, words, j);
            for (size_t r = rows.begin; r < rows.end; r += TILE) {
                range i = part_of(rows, r, TILE);
                pack(left, x, from, words, i);
                add_tiles(dw, d->columns, x->type, left, i, work, j, words, accumulate || from > 0);
            }
        }
    }
}

static size_t tiles_of(size_t n, size_t parts)
{
    return ((n + TILE - 1) / TILE + parts - 1) / parts;
}

/* How many parts the rows are split into, the columns into threads / parts: the least work of the
 * busiest thread. Packing a row or column of tiles takes a third of a tile's product. */
static size_t row_parts(size_t I, size_t O, size_t threads)
{
    size_t best = 1, min = SIZE_MAX;
    for (size_t parts = 1; parts <= threads; parts++) {
        if (threads % parts) continue;
        size_t rows = tiles_of(I, parts), columns = tiles_of(O, threads / parts);
        size_t cost = 3 * rows * columns + rows + columns;
        if (cost < min) {
            min = cost;
            best = parts;
        }
    }
    return best;
}

static range part_number(size_t n, size_t parts, size_t number)
{
    size_t each = tiles_of(n, parts) * TILE, begin = smaller(number * each, n);
    return (range){begin, smaller(begin + each, n)};
}

void weight_gradient(float *dw, const void *x, const void *d, dtype type, float *work, size_t N,
                     size_t I, size_t O, bool accumulate)
{
    if (!tile_is_fast(type) || I % TILE_ROWS || O % TILE_LANES) {
        gemm(I, O, N, x, I, true, d, O, false, dw, O, type, DTYPE_F32, NULL, accumulate);
        return;
    }
    size_t threads = (size_t)omp_get_max_threads(), parts = row_parts(I, O, threads);
    size_t each = weight_gradient_work_floats(O) / threads, across = threads / parts;
    operand left = {x, N, I, type}, right = {d, N, O, type};
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < threads; t++)
        add_region(dw, &left, &right, part_number(I, parts, t / across),
                   part_number(O, across, t % across), (word *)(void *)work + t * each, accumulate);
}
