/* Muon's orthogonalization (Jordan et al., 2024). a X is added to the polynomial's diagonal, so
 * that a step is three products. */
#include "kernels/gemm_here.h"
#include "optimizer/basis.h"
#include "optimizer/optimizer.h"

#include <math.h>

enum { STEPS = 5 };

static const float A = 3.4445F, B = -4.7750F, C = 2.0315F;
static const double FLOOR = 1e-7; /* of the norm */

size_t whiten_work_floats(size_t rows, size_t columns)
{
    size_t side = rows < columns ? rows : columns;
    return rows * columns + 2 * side * side;
}

static double norm(const float *x, size_t count, double *sums)
{
    double sum = 0.0;
    squared_blocks(sums, x, 1.0, count);
    for (size_t i = 0; i < (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK; i++) sum += sums[i];
    return sqrt(sum);
}

/* square <- a + b square + c fourth, (n, n) */
static void polynomial(float *square, const float *fourth, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        float *row = square + i * n;
        for (size_t j = 0; j < n; j++) row[j] = B * row[j] + C * fourth[i * n + j];
        row[i] += A;
    }
}

static void product(float *out, const float *a, size_t lda, bool transpose_a, const float *b,
                    size_t ldb, bool transpose_b, size_t m, size_t n, size_t k)
{
    gemm_here(m, n, k, a, lda, transpose_a, b, ldb, transpose_b, out, n, DTYPE_F32, DTYPE_F32, NULL,
              false);
}

static void whiten_step(float *out, const float *x, size_t rows, size_t columns, float *square,
                        float *fourth)
{
    bool wide = rows <= columns;
    size_t n = wide ? rows : columns, k = wide ? columns : rows;
    product(square, x, columns, !wide, x, columns, wide, n, n, k);
    product(fourth, square, n, false, square, n, false, n, n, n);
    polynomial(square, fourth, n);
    if (wide)
        product(out, square, n, false, x, columns, false, rows, columns, rows);
    else
        product(out, x, columns, false, square, n, false, rows, columns, columns);
}

void whiten(float *x, size_t rows, size_t columns, float *work)
{
    size_t count = rows * columns, n = rows < columns ? rows : columns;
    float *other = work, *square = other + count, *fourth = square + n * n;
    float scale = (float)(1.0 / (norm(x, count, (double *)(void *)work) + FLOOR));
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) other[i] = scale * x[i];
    for (int step = 0; step < STEPS; step++) /* an odd number of them: the last one ends in x */
        whiten_step(step % 2 ? other : x, step % 2 ? x : other, rows, columns, square, fourth);
}
