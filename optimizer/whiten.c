/* Muon's orthogonalization (Jordan et al., 2024). a X is added to the polynomial's diagonal, so
 * that a step is three products, two of them symmetric. Of long matrices two steps are made on the
 * square of the shorter side at once. */
#include "kernels/kernels.h"
#include "optimizer/basis.h"
#include "optimizer/matrix.h"
#include "optimizer/optimizer.h"
#include "optimizer/product.h"

#include <math.h>

enum { STEPS = 5, PAIRS = 2 /* times as long as wide: two steps at once are less work */ };

static const float A = 3.4445F, B = -4.7750F, C = 2.0315F;
static const double FLOOR = 1e-7; /* of the norm */

size_t whiten_work_floats(size_t rows, size_t columns)
{
    size_t side = rows < columns ? rows : columns;
    return rows * columns + 3 * side * side + product_scratch_floats(side);
}

static double norm(const float *x, size_t count, double *sums)
{
    double sum = 0.0;
    squared_blocks(sums, x, 1.0, count);
    for (size_t i = 0; i < (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK; i++) sum += sums[i];
    return sqrt(sum);
}

/* A matrix on its way, wide or square, the type of its products, and room for squares of its rows.
 */
typedef struct {
    size_t rows, columns;
    dtype type;
    void *square, *fourth, *first; /* (rows, rows) */
    float *scratch;
} whitening;

static void symmetric(void *out, const void *x, const void *right, const whitening *w)
{
    product_symmetric(out, x, (product_operand){right, false}, (product_types){w->type, w->type},
                      w->rows, w->rows, w->scratch);
}

/* out <- a + b square + c fourth */
static void polynomial(void *out, const whitening *w)
{
    matrix_polynomial(out, w->square, w->fourth, w->type, (const float[]){A, B, C}, w->rows);
}

/* square <- x x' */
static void begin_step(const void *x, const whitening *w)
{
    product_symmetric(w->square, x, (product_operand){x, true}, (product_types){w->type, w->type},
                      w->rows, w->columns, w->scratch);
}

static void end_step(void *out, const void *by, const void *x, const whitening *w)
{
    product(out, (product_operand){by, false}, (product_operand){x, false},
            (product_types){w->type, w->type}, w->rows, w->columns, w->rows);
}

static void whiten_step(void *out, const void *x, const whitening *w)
{
    begin_step(x, w);
    symmetric(w->fourth, w->square, w->square, w);
    polynomial(w->square, w);
    end_step(out, w->square, x, w);
}

/* Two steps with one product of x each way: after the first, whose polynomial is P, A is P A P.
 * What bf16 loses of a small eigenvalue of it the second polynomial, which is nearly a constant
 * there, does not show; of a third step it would. */
static void whiten_twice(void *out, const void *x, const whitening *w)
{
    begin_step(x, w);
    symmetric(w->fourth, w->square, w->square, w);
    polynomial(w->first, w);
    symmetric(w->fourth, w->first, w->square, w);
    symmetric(w->square, w->fourth, w->first, w);
    symmetric(w->fourth, w->square, w->square, w);
    polynomial(w->square, w);
    symmetric(w->fourth, w->square, w->first, w);
    end_step(out, w->fourth, x, w);
}

/* From here to there, and back, an odd number of times. */
static void steps(void *here, void *there, const whitening *w)
{
    if (w->columns >= PAIRS * w->rows) {
        whiten_twice(there, here, w);
        whiten_twice(here, there, w);
        whiten_step(there, here, w);
        return;
    }
    for (int step = 0; step < STEPS; step++)
        whiten_step(step % 2 ? here : there, step % 2 ? there : here, w);
}

/* The iterates change places: in fp32 one is x itself, in bf16 two fit into the work of one. */
void whiten(float *x, size_t rows, size_t columns, dtype type, float *work)
{
    bool tall = rows > columns;
    size_t count = rows * columns, n = tall ? columns : rows;
    const whitening w = {.rows = n,
                         .columns = tall ? rows : columns,
                         .type = type,
                         .square = work + count,
                         .fourth = work + count + n * n,
                         .first = work + count + 2 * n * n,
                         .scratch = work + count + 3 * n * n};
    void *here = work, *there = type == DTYPE_BF16 ? (void *)((bf16 *)here + count) : x;
    double scale = 1.0 / (norm(x, count, (double *)(void *)work) + FLOOR);
    matrix_scale(tall ? there : here, type, x, (float)scale, count);
    if (tall) product_transpose(here, there, type, rows, columns);
    steps(here, there, &w);
    if (tall) product_transpose(here, there, type, columns, rows);
    const void *last = tall ? here : there;
    if (last != x) convert(x, DTYPE_F32, last, type, count);
}
