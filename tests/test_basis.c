/* Matrices in their bases against plain twins in double: loops, Jacobi's rotations, Gram-Schmidt.
 */
#include "kernels/dense_float.h"
#include "kernels/kernels.h"
#include "matrix_fixture.h"
#include "optimizer/basis.h"
#include "optimizer/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64, MOST = SIDE * SIDE, SHAPES = 5, WAYS = 4 };

static const size_t shapes[SHAPES][2] = {{5, 3}, {3, 5}, {32, 48}, {64, 64}, {1, 7}};

static void start(void)
{
    omp_set_num_threads(2);
    kernels_open();
    cr_assert_eq(dense_float_open(2), STATUS_OK, "%s", status_message());
}

TestSuite(basis, .init = start, .fini = kernels_close);

/* out(m, n) = a(m, k) b(k, n), either transposed if wanted. */
static void times(double *out, const double *a, bool turn_a, const double *b, bool turn_b, size_t m,
                  size_t n, size_t k)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < k; l++)
                sum +=
                    (turn_a ? a[l * m + i] : a[i * k + l]) * (turn_b ? b[j * k + l] : b[l * n + j]);
            out[i * n + j] = sum;
        }
}

/* Columns of a(n, n) made orthonormal from the first to the last: R's diagonal is positive. */
static void gram_schmidt(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++)
        for (int again = 0; again < 3; again++) {
            double norm = 0.0;
            for (size_t p = 0; p < j; p++) {
                double dot = 0.0;
                for (size_t i = 0; i < n; i++) dot += a[i * n + p] * a[i * n + j];
                for (size_t i = 0; i < n; i++) a[i * n + j] -= dot * a[i * n + p];
            }
            for (size_t i = 0; i < n; i++) norm += a[i * n + j] * a[i * n + j];
            for (size_t i = 0; i < n; i++) a[i * n + j] /= sqrt(norm);
        }
}

/* Eigenvectors in columns, by falling eigenvalue, their largest component positive (Jacobi). */
static void jacobi(double *vectors, double *values, double *a, size_t n)
{
    for (size_t i = 0; i < n * n; i++) vectors[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
    for (int sweep = 0; sweep < 30; sweep++)
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                double angle = 0.5 * atan2(2.0 * a[p * n + q], a[p * n + p] - a[q * n + q]);
                double c = cos(angle), s = sin(angle);
                for (size_t i = 0; i < n; i++) {
                    double x = a[i * n + p], y = a[i * n + q];
                    a[i * n + p] = c * x + s * y;
                    a[i * n + q] = c * y - s * x;
                }
                for (size_t i = 0; i < n; i++) {
                    double x = a[p * n + i], y = a[q * n + i];
                    a[p * n + i] = c * x + s * y;
                    a[q * n + i] = c * y - s * x;
                    x = vectors[i * n + p];
                    y = vectors[i * n + q];
                    vectors[i * n + p] = c * x + s * y;
                    vectors[i * n + q] = c * y - s * x;
                }
            }
    for (size_t j = 0; j < n; j++) {
        size_t best = j;
        for (size_t k = j; k < n; k++)
            if (a[k * n + k] > a[best * n + best]) best = k;
        double swapped = a[j * n + j];
        values[j] = a[best * n + best];
        a[j * n + j] = values[j];
        a[best * n + best] = best == j ? values[j] : swapped;
        double largest = 0.0;
        for (size_t i = 0; i < n; i++) {
            swapped = vectors[i * n + j];
            vectors[i * n + j] = vectors[i * n + best];
            vectors[i * n + best] = swapped;
            if (fabs(vectors[i * n + j]) > fabs(largest)) largest = vectors[i * n + j];
        }
        if (largest < 0.0)
            for (size_t i = 0; i < n; i++) vectors[i * n + j] *= -1.0;
    }
}

/* A matrix's bases with all that belongs to them. */
typedef struct {
    basis b;
    float left[MOST], right[MOST], left_factor[MOST], right_factor[MOST];
    double d_left[MOST], d_right[MOST]; /* the bases, or the identity */
    float *work;
} example;

static void orthonormal(float *q, double *wide, bool wanted, size_t n, uint64_t seed)
{
    draw(q, n * n, seed);
    widen(wide, q, n * n);
    gram_schmidt(wide, n);
    for (size_t i = 0; i < n * n; i++) {
        if (!wanted) wide[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
        q[i] = (float)wide[i];
        wide[i] = (double)q[i];
    }
}

/* V diag(values) V' with values from 1 down to 1/20, V from a seed. */
static void factor(float *out, size_t n, uint64_t seed)
{
    static float v[MOST];
    static double wide[MOST], scaled[MOST], all[MOST];
    orthonormal(v, wide, true, n, seed);
    for (size_t i = 0; i < n * n; i++) scaled[i] = wide[i] * pow(0.05, (double)(i % n) / (double)n);
    times(all, scaled, false, wide, true, n, n, n);
    for (size_t i = 0; i < n * n; i++) out[i] = (float)all[i];
}

/* way: bit 0 the left side, bit 1 the right one. */
static example *open_example(const size_t shape[2], int way)
{
    example *x = calloc(1, sizeof *x);
    bool left = way & 1, right = way & 2;
    orthonormal(x->left, x->d_left, left, shape[0], 11);
    orthonormal(x->right, x->d_right, right, shape[1], 12);
    factor(x->left_factor, shape[0], 13);
    factor(x->right_factor, shape[1], 14);
    x->b = (basis){.rows = shape[0],
                   .columns = shape[1],
                   .left = left ? x->left : NULL,
                   .right = right ? x->right : NULL,
                   .left_factor = left ? x->left_factor : NULL,
                   .right_factor = right ? x->right_factor : NULL};
    size_t floats = basis_work_floats(shape[0], shape[1], left, right);
    x->work = malloc((floats + 1) * sizeof *x->work);
    for (size_t i = 0; i <= floats; i++) x->work[i] = NAN;
    x->work[floats] = 12345.0F;
    return x;
}

/* Nobody wrote behind the work. */
static void close_example(example *x)
{
    size_t floats =
        basis_work_floats(x->b.rows, x->b.columns, x->b.left != NULL, x->b.right != NULL);
    cr_expect(x->work[floats] == 12345.0F);
    free(x->work);
    free(x);
}

static void project_twin(double *out, const double *x, const example *e, bool into)
{
    static double half[MOST];
    size_t r = e->b.rows, c = e->b.columns;
    times(half, e->d_left, into, x, false, r, c, r);
    times(out, half, false, e->d_right, !into, r, c, c);
}

Test(basis, turns_into_and_back)
{
    static float x[MOST], out[MOST], back[MOST];
    static double wide[MOST], expected[MOST];
    for (size_t s = 0; s < SHAPES; s++)
        for (int way = 0; way < WAYS; way++) {
            example *e = open_example(shapes[s], way);
            size_t count = e->b.rows * e->b.columns;
            draw(x, count, 1);
            widen(wide, x, count);
            project_twin(expected, wide, e, true);
            basis_project(out, x, &e->b, e->work);
            NEAR(out, expected, count, 1e-6);
            project_twin(expected, wide, e, false);
            basis_unproject(out, x, &e->b, e->work);
            NEAR(out, expected, count, 1e-6);
            basis_project(back, out, &e->b, e->work);
            NEAR(back, wide, count, 2e-6);
            close_example(e);
        }
}

Test(basis, follows_both_products_of_the_gradient)
{
    static float g[MOST], left[MOST], right[MOST];
    static double wide[MOST], squares[MOST];
    const double scale = 0.25, s = 0.95;
    for (size_t n = 0; n < SHAPES; n++)
        for (int way = 0; way < WAYS; way++) {
            example *e = open_example(shapes[n], way);
            size_t r = e->b.rows, c = e->b.columns;
            draw(g, r * c, 2);
            widen(wide, g, r * c);
            memcpy(left, e->left_factor, sizeof left);
            memcpy(right, e->right_factor, sizeof right);
            basis_follow(&e->b, g, scale, s, e->work);
            times(squares, wide, false, wide, true, r, r, c);
            for (size_t i = 0; i < r * r; i++)
                squares[i] = way & 1 ? s * (double)left[i] + (1.0 - s) * scale * scale * squares[i]
                                     : (double)left[i];
            NEAR(e->left_factor, squares, r * r, 1e-6);
            times(squares, wide, true, wide, false, c, c, r);
            for (size_t i = 0; i < c * c; i++)
                squares[i] = way & 2 ? s * (double)right[i] + (1.0 - s) * scale * scale * squares[i]
                                     : (double)right[i];
            NEAR(e->right_factor, squares, c * c, 1e-6);
            close_example(e);
        }
}

/* In bf16 a turn and a share of the factors lose what rounding their operands does. */
Test(basis, turns_and_follows_in_bf16)
{
    static float x[MOST], narrow[MOST], out[MOST], left[MOST], right[MOST];
    static double expected[MOST];
    for (size_t s = 0; s < SHAPES; s++)
        for (int way = 1; way < WAYS; way++) {
            example *e = open_example(shapes[s], way);
            size_t r = e->b.rows, c = e->b.columns;
            basis in_bf16 = e->b;
            in_bf16.type = DTYPE_BF16;
            draw(x, r * c, 1);
            for (int into = 0; into < 2; into++) {
                (into ? basis_project : basis_unproject)(out, x, &e->b, e->work);
                (into ? basis_project : basis_unproject)(narrow, x, &in_bf16, e->work);
                widen(expected, out, r * c);
                NEAR(narrow, expected, r * c, 0.008);
            }
            memcpy(left, e->left_factor, sizeof left);
            memcpy(right, e->right_factor, sizeof right);
            in_bf16.left_factor = left;
            in_bf16.right_factor = right;
            basis_follow(&e->b, x, 0.5, 0.5, e->work);
            basis_follow(&in_bf16, x, 0.5, 0.5, e->work);
            widen(expected, e->left_factor, r * r);
            NEAR(left, expected, r * r, 0.008);
            widen(expected, e->right_factor, c * c);
            NEAR(right, expected, c * c, 0.008);
            close_example(e);
        }
}

static void expect_vectors(const float *q, const float *of, size_t n)
{
    static double wide[MOST], vectors[MOST], values[SIDE];
    widen(wide, of, n * n);
    jacobi(vectors, values, wide, n);
    NEAR(q, vectors, n * n, 2e-4);
}

Test(basis, begins_with_the_eigenvectors)
{
    for (size_t s = 0; s < SHAPES; s++)
        for (int way = 0; way < WAYS; way++) {
            example *e = open_example(shapes[s], way);
            cr_assert(basis_begin(&e->b, e->work));
            if (e->b.left) expect_vectors(e->left, e->left_factor, e->b.rows);
            if (e->b.right) expect_vectors(e->right, e->right_factor, e->b.columns);
            close_example(e);
        }
}

/* The order of a side's columns, and its next basis, in double. */
static void turn_twin(double *next, size_t *order, const float *factor_of, const double *q,
                      size_t n)
{
    static double wide[MOST], turned[MOST];
    double value[SIDE];
    widen(wide, factor_of, n * n);
    times(turned, wide, false, q, false, n, n, n);
    for (size_t j = 0; j < n; j++) {
        value[j] = 0.0;
        for (size_t i = 0; i < n; i++) value[j] += q[i * n + j] * turned[i * n + j];
    }
    for (size_t j = 0; j < n; j++) {
        size_t before = 0; /* how many columns stand before column j */
        for (size_t k = 0; k < n; k++)
            before += value[k] > value[j] || (value[k] == value[j] && k < j);
        order[before] = j;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) next[i * n + j] = turned[i * n + order[j]];
    gram_schmidt(next, n);
}

static void identity_order(double *next, size_t *order, size_t n)
{
    for (size_t i = 0; i < n * n; i++) next[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
    for (size_t i = 0; i < n; i++) order[i] = i;
}

Test(basis, turns_with_momentum_and_reorders_what_has_directions)
{
    static float momentum[MOST], h[MOST], before[MOST];
    static double wide[MOST], plain[MOST], left[MOST], right[MOST], expected[MOST];
    size_t left_order[SIDE], right_order[SIDE];
    for (size_t s = 0; s < SHAPES; s++)
        for (int way = 0; way < WAYS; way++) {
            example *e = open_example(shapes[s], way);
            size_t r = e->b.rows, c = e->b.columns;
            draw(momentum, r * c, 3);
            draw(h, r * c, 4);
            memcpy(before, h, sizeof before);
            widen(wide, momentum, r * c);
            project_twin(plain, wide, e, false);
            identity_order(left, left_order, r);
            identity_order(right, right_order, c);
            if (way & 1) turn_twin(left, left_order, e->left_factor, e->d_left, r);
            if (way & 2) turn_twin(right, right_order, e->right_factor, e->d_right, c);
            cr_assert(basis_turn(&e->b, momentum, h, e->work));
            if (way & 1) NEAR(e->left, left, r * r, 5e-5);
            if (way & 2) NEAR(e->right, right, c * c, 5e-5);
            memcpy(e->d_left, left, sizeof left);
            memcpy(e->d_right, right, sizeof right);
            project_twin(expected, plain, e, true);
            NEAR(momentum, expected, r * c, 5e-5);
            for (size_t i = 0; i < r; i++)
                for (size_t j = 0; j < c; j++)
                    cr_assert(h[i * c + j] == before[left_order[i] * c + right_order[j]]);
            close_example(e);
        }
}

/* A basis that is there already stays, vector by vector, and nothing changes places or signs; and
 * from elsewhere the iteration finds it. */
Test(basis, stays_where_it_belongs_and_gets_there)
{
    static float found[MOST], momentum[MOST], h[MOST], m[MOST];
    static double wide[MOST], mean[MOST];
    const size_t shape[] = {5, 3};
    example *e = open_example(shape, 3);
    cr_assert(basis_begin(&e->b, e->work));
    memcpy(found, e->left, sizeof found);
    for (size_t i = 0; i < 25; i += 2) { /* against the rule of signs, as bases are later */
        for (size_t k = 0; k < 5 && i < 5; k++) e->left[k * 5 + i] *= -1.0F;
    }
    memcpy(found, e->left, sizeof found);
    widen(wide, found, 25);
    draw(momentum, 15, 5);
    draw(h, 15, 6);
    memcpy(m, momentum, sizeof m);
    widen(mean, m, 15);
    float h_before[15];
    memcpy(h_before, h, sizeof h_before);
    for (int i = 0; i < 3; i++) cr_assert(basis_turn(&e->b, momentum, h, e->work));
    NEAR(e->left, wide, 25, 1e-5);
    NEAR(momentum, mean, 15, 1e-5);
    cr_expect_arr_eq(h, h_before, sizeof h_before);

    orthonormal(e->left, e->d_left, true, 5, 21);
    for (int i = 0; i < 60; i++) cr_assert(basis_turn(&e->b, NULL, NULL, e->work));
    for (size_t j = 0; j < 5; j++) {
        double dot = 0.0;
        for (size_t i = 0; i < 5; i++) dot += (double)e->left[i * 5 + j] * wide[i * 5 + j];
        cr_expect_float_eq(fabs(dot), 1.0, 1e-5);
    }
    close_example(e);
}

static void expect_orthonormal(const float *q, size_t n)
{
    static double wide[MOST], square[MOST], one[MOST];
    static float found[MOST];
    widen(wide, q, n * n);
    times(square, wide, true, wide, false, n, n, n);
    for (size_t i = 0; i < n * n; i++) {
        one[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
        found[i] = (float)square[i];
    }
    NEAR(found, one, n * n, 1e-5);
}

/* What has no direction of its own stays orthonormal, and momentum means the same weights. Of
 * nothing no column is before another. */
Test(basis, factors_of_nothing_and_of_low_rank)
{
    static float g[MOST], momentum[MOST], h[MOST], before[MOST], plain[MOST];
    static double expected[MOST];
    for (size_t s = 0; s < SHAPES; s++) {
        example *e = open_example(shapes[s], 3);
        size_t r = e->b.rows, c = e->b.columns;
        for (int rank = 0; rank < 2; rank++) {
            memset(e->left_factor, 0, sizeof e->left_factor);
            memset(e->right_factor, 0, sizeof e->right_factor);
            draw(momentum, r * c, 7);
            draw(h, r * c, 8);
            memcpy(before, h, sizeof before);
            for (size_t i = 0; i < r * c; i++)
                g[i] = rank ? (1.0F + (float)(i / c)) * (0.5F - (float)(i % c)) : 0.0F;
            basis_follow(&e->b, g, 1.0, 0.95, e->work);
            cr_expect(basis_begin(&e->b, e->work));
            expect_orthonormal(e->left, r);
            expect_orthonormal(e->right, c);
            basis_unproject(plain, momentum, &e->b, e->work);
            widen(expected, plain, r * c);
            for (int i = 0; i < 3; i++) cr_expect(basis_turn(&e->b, momentum, h, e->work));
            expect_orthonormal(e->left, r);
            expect_orthonormal(e->right, c);
            basis_unproject(plain, momentum, &e->b, e->work);
            NEAR(plain, expected, r * c, 1e-5);
            if (rank == 0) cr_expect_arr_eq(h, before, sizeof h);
        }
        close_example(e);
    }
}

Test(basis, wild_factors_change_nothing)
{
    static float momentum[MOST], h[MOST], before[4][MOST];
    const float wild[] = {NAN, INFINITY, -INFINITY};
    const size_t shape[] = {32, 48};
    for (int kind = 0; kind < 6; kind++) {
        example *e = open_example(shape, 3);
        draw(momentum, 32 * 48, 8);
        draw(h, 32 * 48, 9);
        float *of = kind % 2 ? e->left_factor : e->right_factor;
        of[7] = wild[kind / 2];
        memcpy(before[0], e->left, sizeof e->left);
        memcpy(before[1], e->right, sizeof e->right);
        memcpy(before[2], momentum, sizeof momentum);
        memcpy(before[3], h, sizeof h);
        cr_expect_not(basis_begin(&e->b, e->work));
        cr_expect_not(basis_turn(&e->b, momentum, h, e->work));
        cr_expect_arr_eq(before[0], e->left, sizeof e->left);
        cr_expect_arr_eq(before[1], e->right, sizeof e->right);
        cr_expect_arr_eq(before[2], momentum, sizeof momentum);
        cr_expect_arr_eq(before[3], h, sizeof h);
        close_example(e);
    }
}

static void whiten_twin(double *x, size_t rows, size_t columns)
{
    static double square[MOST], fourth[MOST], next[MOST];
    double norm = 0.0;
    for (size_t i = 0; i < rows * columns; i++) norm += x[i] * x[i];
    for (size_t i = 0; i < rows * columns; i++) x[i] /= sqrt(norm) + 1e-7;
    for (int step = 0; step < 5; step++) { /* on the left side whatever the shape: it is the same */
        times(square, x, false, x, true, rows, rows, columns);
        times(fourth, square, false, square, false, rows, rows, rows);
        for (size_t i = 0; i < rows * rows; i++)
            square[i] = -4.7750 * square[i] + 2.0315 * fourth[i];
        times(next, square, false, x, false, rows, columns, rows);
        for (size_t i = 0; i < rows * columns; i++) x[i] = 3.4445 * x[i] + next[i];
    }
}

/* By a thousandth, more than fp32 loses and less than a hand does. */
Test(basis, tells_what_is_no_basis)
{
    static float q[MOST], work[MOST];
    static double wide[MOST];
    for (size_t n = 2; n <= 32; n += 15) {
        orthonormal(q, wide, true, n, 21);
        cr_expect(basis_is_orthonormal(q, n, work), "%zu", n);
        for (size_t at = 0; at < n * n; at++) {
            float kept = q[at];
            q[at] = kept + 0.02F;
            cr_expect_not(basis_is_orthonormal(q, n, work), "%zu, element %zu", n, at);
            q[at] = NAN;
            cr_expect_not(basis_is_orthonormal(q, n, work));
            q[at] = kept;
        }
        for (size_t i = 0; i < n; i++) q[i * n] *= 1.001F;
        cr_expect_not(basis_is_orthonormal(q, n, work), "%zu, a longer column", n);
        for (size_t i = 0; i < n; i++) q[i * n] = q[i * n + 1];
        cr_expect_not(basis_is_orthonormal(q, n, work), "%zu, a column twice", n);
        memset(q, 0, n * n * sizeof *q);
        cr_expect_not(basis_is_orthonormal(q, n, work), "%zu, zeros", n);
    }
}

Test(basis, whitens)
{
    static float x[MOST];
    static double wide[MOST];
    for (size_t s = 0; s < SHAPES; s++) {
        size_t r = shapes[s][0], c = shapes[s][1];
        float *work = malloc((whiten_work_floats(r, c) + 1) * sizeof *work);
        work[whiten_work_floats(r, c)] = 12345.0F;
        cr_expect_leq(whiten_work_floats(r, c), basis_work_floats(r, c, false, false));
        draw(x, r * c, 10);
        for (size_t i = 0; i < r * c; i++) x[i] *= 1e-6F; /* where 1e-7 is seen */
        widen(wide, x, r * c);
        whiten(x, r, c, DTYPE_F32, work);
        whiten_twin(wide, r, c);
        NEAR(x, wide, r * c, 2e-5);
        memset(x, 0, sizeof x);
        whiten(x, r, c, DTYPE_F32, work);
        for (size_t i = 0; i < r * c; i++) cr_assert(x[i] == 0.0F);
        cr_expect(work[whiten_work_floats(r, c)] == 12345.0F);
        free(work);
    }
}

/* Singular values of x(rows, columns), rows at most columns. */
static void singular_values(double *values, const float *x, size_t rows, size_t columns)
{
    static double wide[MOST], square[MOST], vectors[MOST];
    widen(wide, x, rows * columns);
    times(square, wide, false, wide, true, rows, rows, columns);
    jacobi(vectors, values, square, rows);
    for (size_t i = 0; i < rows; i++) values[i] = sqrt(fmax(values[i], 0.0));
}

/* x(rows, columns), rows at most columns, with singular values from 1 down to `least`. */
static void spread(float *x, size_t rows, size_t columns, double least)
{
    static float q[MOST];
    static double left[MOST], right[MOST], all[MOST];
    orthonormal(q, left, true, rows, 31);
    orthonormal(q, right, true, columns, 32);
    for (size_t i = 0; i < rows * rows; i++)
        left[i] *= pow(least, (double)(i % rows) / (double)(rows - 1));
    times(all, left, false, right, false, rows, columns, rows); /* rows of right are orthonormal */
    for (size_t i = 0; i < rows * columns; i++) x[i] = (float)all[i];
}

/* In bf16 singular values end as near 1 as in fp32, those that are small beside the largest, too:
 * what is rounded is the matrix, and the polynomial, not what a small one is multiplied by. Those
 * twice as long as wide, and more, are whitened two steps at once. */
Test(basis, whitens_in_bf16)
{
    static float x[MOST], narrow[MOST];
    static double wide[MOST], twin[MOST];
    double single[SIDE], values[SIDE];
    float *work = malloc(whiten_work_floats(SIDE, SIDE) * sizeof *work);
    for (size_t rows = SIDE; rows >= 16; rows /= 2)
        for (double least = 0.3; least > 0.003; least *= 0.3) {
            size_t count = rows * SIDE;
            double limit = 2 * rows <= SIDE ? 0.05 : 0.02;
            spread(x, rows, SIDE, least);
            memcpy(narrow, x, sizeof x);
            widen(twin, x, count);
            whiten(x, rows, SIDE, DTYPE_F32, work);
            whiten(narrow, rows, SIDE, DTYPE_BF16, work);
            whiten_twin(twin, rows, SIDE);
            NEAR(x, twin, count, 2e-5);
            singular_values(single, x, rows, SIDE);
            singular_values(values, narrow, rows, SIDE);
            for (size_t i = 0; i < rows; i++)
                cr_expect_lt(fabs(values[i] - single[i]), limit, "%zu, least %g: %g, not %g", rows,
                             least, values[i], single[i]);
            cr_expect_gt(values[rows - 1], 0.67, "%zu, least %g: %g", rows, least,
                         values[rows - 1]);
            cr_expect_lt(values[0], 1.22, "%zu, least %g: %g", rows, least, values[0]);
            widen(wide, x, count);
            NEAR(narrow, wide, count, 0.04);
        }
    free(work);
}

/* Draws of weights vary as (Q_R x Q_L) diag(sigma^2) (Q_R x Q_L)' says. */
Test(basis, draws_have_the_covariance_of_the_basis)
{
    enum { ROWS = 3, COLUMNS = 2, ALL = ROWS * COLUMNS, DRAWS = 40000 };
    const size_t shape[] = {ROWS, COLUMNS};
    const double lambda = 10.0, delta = 0.01;
    const matrix_place at = {.rows = ROWS, .columns = COLUMNS, .stride = COLUMNS, .index = 1000};
    float h[ALL], d[ALL], turned[ALL], m[ALL], theta[ALL];
    omp_set_num_threads(1); /* for so few numbers */
    for (int way = 0; way < WAYS; way++) {
        example *e = open_example(shape, way);
        double sums[ALL] = {0.0}, squares[ALL][ALL] = {{0.0}};
        for (size_t i = 0; i < ALL; i++) {
            h[i] = 0.05F * powf(3.0F, (float)i);
            m[i] = 1.0F + (float)i;
        }
        for (uint32_t n = 0; n < DRAWS; n++) {
            noise_key key = {.seed = 5, .sample = n};
            matrix_deviations(d, h, lambda, delta, &at, key);
            basis_unproject(turned, d, &e->b, e->work);
            matrix_sample(theta, DTYPE_F32, m, turned, &at, key);
            for (size_t i = 0; i < ALL; i++) {
                double x = (double)theta[i] - (double)m[i];
                sums[i] += x / DRAWS;
                for (size_t j = 0; j < ALL; j++)
                    squares[i][j] += x * ((double)theta[j] - (double)m[j]) / DRAWS;
            }
        }
        double covariance[ALL][ALL] = {{0.0}};
        for (size_t i = 0; i < ALL; i++)
            for (size_t j = 0; j < ALL; j++)
                for (size_t k = 0; k < ALL; k++) {
                    const double *l = e->d_left, *r = e->d_right;
                    double of_i = l[i / COLUMNS * ROWS + k / COLUMNS] *
                                  r[i % COLUMNS * COLUMNS + k % COLUMNS];
                    double of_j = l[j / COLUMNS * ROWS + k / COLUMNS] *
                                  r[j % COLUMNS * COLUMNS + k % COLUMNS];
                    covariance[i][j] += of_i * of_j / (lambda * ((double)h[k] + delta));
                }
        for (size_t i = 0; i < ALL; i++) {
            cr_expect_lt(fabs(sums[i]), 5.0 * sqrt(covariance[i][i] / DRAWS));
            for (size_t j = 0; j < ALL; j++) {
                double deviation_of = sqrt(
                    (covariance[i][i] * covariance[j][j] + covariance[i][j] * covariance[i][j]) /
                    DRAWS);
                cr_expect_lt(fabs(squares[i][j] - covariance[i][j]), 5.0 * deviation_of,
                             "way %d: (%zu, %zu): %g, not %g", way, i, j, squares[i][j],
                             covariance[i][j]);
            }
        }
        close_example(e);
    }
}

/* Whole matrices: the same bits with the same threads. */
Test(basis, bits_are_those_of_another_time)
{
    static float g[MOST], momentum[2][MOST], white[2][MOST];
    const size_t shape[] = {48, 64};
    for (int threads = 1; threads <= 3; threads++) {
        example *e[2] = {open_example(shape, 3), open_example(shape, 3)};
        omp_set_num_threads(threads);
        cr_assert_eq(dense_float_open(threads), STATUS_OK);
        draw(g, MOST, 1);
        for (int k = 0; k < 2; k++) {
            basis_follow(&e[k]->b, g, 0.5, 0.9, e[k]->work);
            cr_assert(basis_begin(&e[k]->b, e[k]->work));
            basis_follow(&e[k]->b, g, 2.0, 0.8, e[k]->work);
            basis_project(momentum[k], g, &e[k]->b, e[k]->work);
            cr_assert(basis_turn(&e[k]->b, momentum[k], NULL, e[k]->work));
            memcpy(white[k], momentum[k], sizeof white[k]);
            whiten(white[k], 48, 64, DTYPE_F32, e[k]->work);
        }
        cr_expect_eq(memcmp(e[0]->left, e[1]->left, sizeof e[0]->left), 0);
        cr_expect_eq(memcmp(e[0]->right, e[1]->right, sizeof e[0]->right), 0);
        cr_expect_eq(memcmp(momentum[0], momentum[1], sizeof momentum[0]), 0);
        cr_expect_eq(memcmp(white[0], white[1], sizeof white[0]), 0);
        close_example(e[0]);
        close_example(e[1]);
    }
}
