/* SOAP's bases. Vectors are rows while LAPACK has them, which counts columns, and while L Q is
 * made: L is symmetric, so row j of Q' L is L q_j. */
#include "optimizer/basis.h"

#include "kernels/dense_float.h"
#include "kernels/kernels.h"
#include "optimizer/product.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { TILE = 16, RUN = 4096 };

/* Where the parts of work lie: new bases, the order of their columns, and what one call at a time
 * needs. */
typedef struct {
    float *left, *right; /* (rows, rows), (columns, columns): row j is vector j */
    uint32_t *left_order, *right_order;
    float *rest;
} work_parts;

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static work_parts divide(float *work, const basis *b)
{
    size_t left = b->left ? b->rows : 0, right = b->right ? b->columns : 0;
    work_parts w = {.left = work};
    w.right = w.left + left * left;
    w.left_order = (uint32_t *)(void *)(w.right + right * right);
    w.right_order = w.left_order + left;
    w.rest = (float *)(void *)(w.right_order + right);
    return w;
}

static size_t turn_work(size_t n)
{
    return n * n + larger(n, dense_float_orthogonalize_work(n));
}

/* Of bf16, which needs more: two matrices and a basis. */
static size_t rotate_work(size_t count, size_t n)
{
    return count + (n * n + 1) / 2;
}

size_t basis_work_floats(size_t rows, size_t columns, bool left, bool right)
{
    size_t l = left ? rows : 0, r = right ? columns : 0, n = larger(l, r);
    size_t kept = l * l + r * r + l + r;
    size_t lapack = larger(turn_work(n), dense_float_eigen_work(n));
    size_t rest = larger(lapack, rows * columns + rotate_work(rows * columns, n));
    size_t followed = rows * columns + n * n + product_scratch_floats(n);
    return larger(larger(kept + rest, followed), whiten_work_floats(rows, columns));
}

static const product_types SINGLE = {DTYPE_F32, DTYPE_F32}, NARROW = {DTYPE_BF16, DTYPE_F32},
                           NARROW_HALF = {DTYPE_BF16, DTYPE_BF16};

/* into: Q_L' x Q_R, else Q_L x Q_R'. */
static void rotate_single(float *out, const float *x, const basis *b, bool into, float *work)
{
    size_t rows = b->rows, columns = b->columns;
    const product_operand left = {b->left, into}, right = {b->right, !into};
    assert(out != x);
    if (!b->left && !b->right) memcpy(out, x, rows * columns * sizeof *out);
    float *half = b->right ? work : out;
    if (b->left) product(half, left, (product_operand){x, false}, SINGLE, rows, columns, rows);
    if (b->right)
        product(out, (product_operand){b->left ? half : x, false}, right, SINGLE, rows, columns,
                columns);
}

static bf16 *narrowed(bf16 *out, const float *x, size_t count)
{
    convert(out, DTYPE_BF16, x, DTYPE_F32, count);
    return out;
}

/* The same with operands in bf16, what lies between the products too. */
static void rotate_narrow(float *out, const float *x, const basis *b, bool into, float *work)
{
    size_t rows = b->rows, columns = b->columns, count = rows * columns;
    bf16 *from = (bf16 *)(void *)work, *half = from + count, *q = half + count;
    narrowed(from, x, count);
    if (b->left) {
        const product_operand left = {narrowed(q, b->left, rows * rows), into};
        void *to = b->right ? (void *)half : out;
        product(to, left, (product_operand){from, false}, b->right ? NARROW_HALF : NARROW, rows,
                columns, rows);
        from = half;
    }
    if (b->right) {
        const product_operand right = {narrowed(q, b->right, columns * columns), !into};
        product(out, (product_operand){from, false}, right, NARROW, rows, columns, columns);
    }
}

static void rotate(float *out, const float *x, const basis *b, bool into, float *work)
{
    if (b->type == DTYPE_BF16 && (b->left || b->right))
        rotate_narrow(out, x, b, into, work);
    else
        rotate_single(out, x, b, into, work);
}

void basis_project(float *out, const float *x, const basis *b, float *work)
{
    rotate(out, x, b, true, work);
}

void basis_unproject(float *out, const float *x, const basis *b, float *work)
{
    rotate(out, x, b, false, work);
}

/* factor += rate (square * squares - factor) */
static void blend(float *factor, const float *squares, float rate, float square, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) factor[i] += rate * (square * squares[i] - factor[i]);
}

/* A factor's share of the gradient x(n, k), in the bases' type: x x'. */
static void follow_side(float *factor, const void *x, const void *turned, size_t n, size_t k,
                        const basis *b, float rate, float square, float *work)
{
    float *squares = work, *scratch = squares + n * n;
    product_symmetric(squares, x, (product_operand){turned, false},
                      b->type == DTYPE_BF16 ? NARROW : SINGLE, n, k, scratch);
    blend(factor, squares, rate, square, n * n);
}

void basis_follow(const basis *b, const float *g, double scale, double s, float *work)
{
    size_t rows = b->rows, columns = b->columns, count = rows * columns;
    float rate = (float)(1.0 - s), square = (float)(scale * scale), *rest = work + count;
    const void *x = g;
    void *turned = work;
    if (!b->left && !b->right) return;
    if (b->type == DTYPE_BF16) {
        x = narrowed((bf16 *)(void *)work, g, count);
        turned = (bf16 *)(void *)work + count;
    }
    product_transpose(turned, x, b->type, rows, columns);
    if (b->left) follow_side(b->left_factor, x, turned, rows, columns, b, rate, square, rest);
    if (b->right) follow_side(b->right_factor, turned, x, columns, rows, b, rate, square, rest);
}

static bool all_finite(const float *x, size_t count)
{
    int wild = 0;
#pragma omp parallel for simd schedule(static) reduction(| : wild)
    for (size_t i = 0; i < count; i++) wild |= fabsf(x[i]) <= FLT_MAX ? 0 : 1; /* 1 for NaN */
    return !wild;
}

/* Column j of q is row j of vectors, or row n - 1 - j when falling. */
static void store_columns(float *q, const float *vectors, bool falling, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < n; at += TILE) {
        size_t end = at + TILE < n ? at + TILE : n;
        for (size_t i = 0; i < n; i++)
            for (size_t j = at; j < end; j++)
                q[i * n + j] = vectors[(falling ? n - 1 - j : j) * n + i];
    }
}

static void fix_signs(float *vectors, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < n; j++) {
        float *v = vectors + j * n, largest = 0.0F;
        for (size_t i = 0; i < n; i++)
            if (fabsf(v[i]) > fabsf(largest)) largest = v[i];
        for (size_t i = 0; i < n; i++) v[i] = largest < 0.0F ? -v[i] : v[i];
    }
}

static bool find_vectors(float *vectors, const float *factor, size_t n, float *work)
{
    if (!all_finite(factor, n * n)) return false;
    memcpy(vectors, factor, n * n * sizeof *vectors);
    if (!dense_float_eigen(vectors, work, n) || !all_finite(vectors, n * n)) return false;
    fix_signs(vectors, n);
    return true;
}

bool basis_begin(const basis *b, float *work)
{
    work_parts w = divide(work, b);
    if (b->left && !find_vectors(w.left, b->left_factor, b->rows, w.rest)) return false;
    if (b->right && !find_vectors(w.right, b->right_factor, b->columns, w.rest)) return false;
    if (b->left) store_columns(b->left, w.left, true, b->rows);
    if (b->right) store_columns(b->right, w.right, true, b->columns);
    return true;
}

/* values[j] = q_j' L q_j of the columns of q and of the rows L q_j. */
static void quotients(float *values, const float *q, const float *turned, size_t n)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < n; at += TILE) {
        size_t width = at + TILE < n ? TILE : n - at;
        double sums[TILE] = {0.0};
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < width; j++)
                sums[j] += (double)q[i * n + at + j] * (double)turned[(at + j) * n + i];
        for (size_t j = 0; j < width; j++) values[at + j] = (float)sums[j];
    }
}

/* By insertion: there are few columns, and most stand where they belong. */
static void sort_falling(uint32_t *order, const float *values, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        size_t at = j;
        for (; at > 0 && values[order[at - 1]] < values[j]; at--) order[at] = order[at - 1];
        order[at] = (uint32_t)j;
    }
}

/* A side's new vectors, as rows, and the old columns that they come from. */
static bool iterate(float *vectors, uint32_t *order, const float *q, const float *factor, size_t n,
                    float *work)
{
    float *turned = work, *rest = work + n * n;
    product(turned, (product_operand){q, true}, (product_operand){factor, false}, SINGLE, n, n, n);
    quotients(rest, q, turned, n);
    if (!all_finite(rest, n)) return false; /* as it is not where any of L q_j is not */
    sort_falling(order, rest, n);
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < n; j++)
        memcpy(vectors + j * n, turned + order[j] * n, n * sizeof *vectors);
    return dense_float_orthogonalize(vectors, rest, n) && all_finite(vectors, n * n);
}

/* x(i, j) <- x(left[i], right[j]) */
static void reorder(float *x, const uint32_t *left, const uint32_t *right, const basis *b,
                    float *work)
{
    size_t rows = b->rows, columns = b->columns;
    memcpy(work, x, rows * columns * sizeof *x);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < rows; i++) {
        const float *row = work + (b->left ? left[i] : i) * columns;
        for (size_t j = 0; j < columns; j++) x[i * columns + j] = row[b->right ? right[j] : j];
    }
}

bool basis_turn(const basis *b, float *momentum, float *directional, float *work)
{
    work_parts w = divide(work, b);
    float *plain = w.rest, *half = plain + b->rows * b->columns;
    if (b->left && !iterate(w.left, w.left_order, b->left, b->left_factor, b->rows, w.rest))
        return false;
    if (b->right && !iterate(w.right, w.right_order, b->right, b->right_factor, b->columns, w.rest))
        return false;
    if (momentum) basis_unproject(plain, momentum, b, half);
    if (b->left) store_columns(b->left, w.left, false, b->rows);
    if (b->right) store_columns(b->right, w.right, false, b->columns);
    if (momentum) basis_project(momentum, plain, b, half);
    if (directional) reorder(directional, w.left_order, w.right_order, b, plain);
    return true;
}

/* Signs that follow no pattern of a basis (Knuth's multiplicative hash). */
static float sign_of(size_t i)
{
    return (uint32_t)i * UINT32_C(2654435761) >> 31 ? -1.0F : 1.0F;
}

bool basis_is_orthonormal(const float *q, size_t n, float *work)
{
    double most = 0.0;
    memset(work, 0, n * sizeof *work);
    for (size_t i = 0; i < n; i++) {
        const float *row = q + i * n;
        double sum = 0.0;
        for (size_t j = 0; j < n; j++) sum += (double)(sign_of(j) * row[j]);
        for (size_t j = 0; j < n; j++) work[j] += (float)sum * row[j];
    }
    for (size_t j = 0; j < n; j++) {
        double off = fabs((double)(work[j] - sign_of(j)));
        most = off <= most ? most : off; /* NaN stays */
    }
    return most <= 1e-3;
}
