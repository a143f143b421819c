/* Matrices in their bases against plain twins in double: loops, Jacobi's rotations, Gram-Schmidt.
 */
#include "kernels/dense_float.h"
#include "kernels/kernels.h"
#include "noise_twin.h"
#include "optimizer/basis.h"
#include "optimizer/matrix.h"
#include "optimizer/optimizer.h"
#include "optimizer/statistics.h"

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
TestSuite(matrix, .init = start, .fini = kernels_close);

static void draw(float *out, size_t count, uint64_t seed)
{
    double z;
    for (size_t i = 0; i < count; i++) {
        noise_normals_reference(&z, (noise_key){.seed = seed}, i, 1);
        out[i] = (float)z;
    }
}

static void widen(double *out, const float *in, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = (double)in[i];
}

/* Distance in Frobenius' norm, over that of what is expected. */
static double far(const float *found, const double *expected, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - expected[i];
        if (!isfinite(d)) return INFINITY;
        error += d * d;
        norm += expected[i] * expected[i];
    }
    return sqrt(error / fmax(norm, 1e-300));
}

#define NEAR(found, expected, count, tolerance)                                                    \
    do {                                                                                           \
        double far_ = far(found, expected, count);                                                 \
        cr_expect_lt(far_, tolerance, "%s: %g", #found, far_);                                     \
    } while (0)

/* out(m, n) = a(m, k) b(k, n), each transposed when its letter is a capital in `ways`. */
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

Test(basis, factors_of_nothing_and_of_low_rank)
{
    static float g[MOST], momentum[MOST];
    for (size_t s = 0; s < SHAPES; s++) {
        example *e = open_example(shapes[s], 3);
        size_t r = e->b.rows, c = e->b.columns;
        for (int rank = 0; rank < 2; rank++) {
            memset(e->left_factor, 0, sizeof e->left_factor);
            memset(e->right_factor, 0, sizeof e->right_factor);
            draw(momentum, r * c, 7);
            for (size_t i = 0; i < r * c; i++) /* rank 0, or 1 */
                g[i] = rank ? (1.0F + (float)(i / c)) * (0.5F - (float)(i % c)) : 0.0F;
            basis_follow(&e->b, g, 1.0, 0.95, e->work);
            cr_expect(basis_begin(&e->b, e->work));
            expect_orthonormal(e->left, r);
            expect_orthonormal(e->right, c);
            for (int i = 0; i < 3; i++) cr_expect(basis_turn(&e->b, momentum, NULL, e->work));
            expect_orthonormal(e->left, r);
            expect_orthonormal(e->right, c);
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
        whiten(x, r, c, work);
        whiten_twin(wide, r, c);
        NEAR(x, wide, r * c, 2e-5);
        memset(x, 0, sizeof x);
        whiten(x, r, c, work);
        for (size_t i = 0; i < r * c; i++) cr_assert(x[i] == 0.0F);
        cr_expect(work[whiten_work_floats(r, c)] == 12345.0F);
        free(work);
    }
}

/* Draws of weights vary as (Q_R x Q_L) diag(sigma^2) (Q_R x Q_L)' says. */
Test(basis, draws_have_the_covariance_of_the_basis)
{
    enum { ROWS = 3, COLUMNS = 2, ALL = ROWS * COLUMNS, DRAWS = 40000 };
    const size_t shape[] = {ROWS, COLUMNS};
    const double lambda = 10.0, delta = 0.01;
    const matrix_place at = {.rows = ROWS, .columns = COLUMNS, .stride = COLUMNS, .index = 1000};
    float h[ALL], d[ALL], turned[ALL], m[ALL], theta[ALL];
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

/* Three matrices in the columns of a tensor, one alone, rows longer than a block of noise. */
enum { ROWS = 37, LONGEST = 700, TENSOR = ROWS * LONGEST, PLACES = 5 };

static const matrix_place places[PLACES] = {
    {.rows = ROWS, .columns = 23, .stride = 69, .index = 4321},
    {.rows = ROWS, .columns = 23, .stride = 69, .index = 4321 + 46},
    {.rows = ROWS, .columns = 300, .stride = 700, .index = 4400},
    {.rows = ROWS, .columns = 69, .stride = 69, .index = 4321},
    {.rows = ROWS, .columns = 256, .stride = 512, .index = 1024},
};

static const noise_key item = {.seed = 42, .sample = 2, .step = 9};

static size_t there(const matrix_place *p, size_t i)
{
    return i / p->columns * p->stride + i % p->columns;
}

/* A tensor of `value` everywhere but in the matrix. */
static bool untouched(const float *tensor_of, float value, const matrix_place *p)
{
    for (size_t i = 0; i < TENSOR; i++)
        if ((i % p->stride >= p->columns || i / p->stride >= p->rows) && tensor_of[i] != value)
            return false;
    return true;
}

Test(matrix, loads_and_moves)
{
    static float tensor_of[TENSOR], m[TENSOR], out[TENSOR], u[TENSOR];
    static bf16 narrow[TENSOR];
    draw(tensor_of, TENSOR, 1);
    convert(narrow, DTYPE_BF16, tensor_of, DTYPE_F32, TENSOR);
    draw(u, TENSOR, 2);
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        matrix_load(out, tensor_of, DTYPE_F32, 0.5F, p);
        for (size_t i = 0; i < count; i++) cr_assert(out[i] == 0.5F * tensor_of[there(p, i)]);
        matrix_load(out, narrow, DTYPE_BF16, 0.5F, p);
        for (size_t i = 0; i < count; i++)
            cr_assert(out[i] == 0.5F * bf16_to_float(narrow[there(p, i)]));
        for (size_t i = 0; i < TENSOR; i++) m[i] = 3.0F;
        matrix_move(m, u, 0.1, 0.01, p);
        cr_expect(untouched(m, 3.0F, p));
        for (size_t i = 0; i < count; i++) {
            double expected = 3.0 - (0.01 * 3.0 + 0.1 * (double)u[i]);
            cr_assert_float_eq((double)m[there(p, i)], expected, 1e-6);
        }
    }
}

/* The noise is that of sample_weights to the bit, wherever a matrix lies. */
Test(matrix, draws_the_noise_of_its_elements)
{
    static float h[TENSOR], spread[TENSOR], zero[TENSOR], all[TENSOR], out[TENSOR];
    const double lambda = 100.0, delta = 0.01;
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        draw(h, TENSOR, 3);
        for (size_t i = 0; i < TENSOR; i++) h[i] *= h[i];
        for (size_t i = 0; i < count; i++) spread[there(p, i)] = h[i];
        sample_weights_from_hessian(all, DTYPE_F32, zero, spread, lambda, delta, item, p->index,
                                    p->rows * p->stride);
        matrix_deviations(out, h, lambda, delta, p, item);
        for (size_t i = 0; i < count; i++) {
            double expected =
                redraw(item, p->index + there(p, i), NULL) / sqrt(lambda * ((double)h[i] + delta));
            cr_assert(out[i] == all[there(p, i)]);
            cr_assert_float_eq((double)out[i], expected, 1e-5 * (1.0 + fabs(expected)));
        }
    }
}

Test(matrix, rounds_as_sample_weights)
{
    static float m[TENSOR], d[TENSOR], sum[TENSOR], zero[TENSOR], theta[TENSOR];
    static bf16 all[TENSOR], narrow[TENSOR];
    draw(m, TENSOR, 4);
    draw(d, TENSOR, 5);
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        for (size_t i = 0; i < TENSOR; i++) theta[i] = 3.0F;
        memcpy(sum, m, sizeof sum);
        for (size_t i = 0; i < count; i++) sum[there(p, i)] += d[i];
        matrix_sample(theta, DTYPE_F32, m, d, p, item);
        cr_expect(untouched(theta, 3.0F, p));
        for (size_t i = 0; i < count; i++) cr_assert(theta[there(p, i)] == sum[there(p, i)]);
        memset(narrow, 0x55, sizeof narrow);
        matrix_sample(narrow, DTYPE_BF16, m, d, p, item);
        sample_weights(all, DTYPE_BF16, sum, zero, item, p->index, p->rows * p->stride);
        for (size_t i = 0; i < p->rows * p->stride; i++)
            cr_assert_eq(narrow[i], i % p->stride < p->columns ? all[i] : 0x5555);
        for (size_t i = 0; i < count; i++) {
            uint32_t word, bits;
            redraw(item, p->index + there(p, i), &word);
            memcpy(&bits, &sum[there(p, i)], sizeof bits);
            cr_assert_eq(narrow[there(p, i)], (bits + ((word & 0x1ffU) << 7) + 64U) >> 16);
        }
    }
}

Test(matrix, adds_up_items)
{
    static float g[2][TENSOR], g_sum[TENSOR], f_sum[TENSOR], alone[TENSOR];
    draw(g[0], TENSOR, 6);
    draw(g[1], TENSOR, 7);
    for (size_t k = 0; k < PLACES; k++) {
        const matrix_place *p = &places[k];
        size_t count = p->rows * p->columns;
        for (size_t i = 0; i < count; i++) g_sum[i] = f_sum[i] = alone[i] = NAN;
        for (uint32_t w = 0; w < 2; w++) {
            noise_key key = {.seed = 42, .sample = w, .step = 9};
            matrix_accumulate(g_sum, f_sum, w == 0, g[w], p, key);
            matrix_accumulate(alone, NULL, w == 0, g[w], p, key);
        }
        for (size_t i = 0; i < count; i++) {
            double f = 0.0, size = 0.0;
            for (uint32_t w = 0; w < 2; w++) {
                noise_key key = {.seed = 42, .sample = w, .step = 9};
                double x = redraw(key, p->index + there(p, i), NULL) * (double)g[w][i];
                f += x;
                size += fabs(x);
            }
            cr_assert(g_sum[i] == g[0][i] + g[1][i] && alone[i] == g_sum[i]);
            cr_assert_float_eq((double)f_sum[i], f, 2e-6 * (size + 0.01));
        }
    }
}

enum { COUNT = 3000, STEPS = 50 };

/* 50 steps on a trajectory of its own; wild elements keep their h. */
static void check_evon(double clip, bool debias)
{
    static float u[COUNT], h[COUNT], momentum[COUNT], mean[COUNT], g_sum[COUNT], f_sum[COUNT];
    static double dh[COUNT], dm[COUNT], du[COUNT];
    const double lambda = 50.0, delta = 0.02, beta1 = 0.9, beta2 = 0.98, scale = 0.25;
    double all_cut = 0.0, clipped_push = 0.0, sigma = 0.0, hessian = 0.0, min = INFINITY;
    for (size_t i = 0; i < COUNT; i++) {
        h[i] = 0.3F + 0.001F * (float)(i % 100);
        dh[i] = (double)h[i];
        momentum[i] = 0.0F;
        dm[i] = 0.0;
    }
    for (size_t t = 0; t < STEPS; t++) {
        draw(g_sum, COUNT, 100 + t);
        draw(f_sum, COUNT, 200 + t);
        draw(mean, COUNT, 300 + t);
        evon_step step = {.lambda = lambda,
                          .delta = delta,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .clip = clip,
                          .updates = t + 1,
                          .debias = debias};
        posterior_sums sums = {.hessian_min = INFINITY};
        evon_statistics(&sums, h, f_sum, scale, lambda, delta, beta2, clip, COUNT);
        uint64_t cut = 0, rescued = 0, expected_cut = 0;
        evon_update(u, h, momentum, mean, g_sum, f_sum, scale, scale, &step, COUNT, &cut, &rescued);
        clipped_push = sigma = hessian = 0.0;
        min = INFINITY;
        for (size_t i = 0; i < COUNT; i++) {
            double s = 1.0 / sqrt(lambda * (dh[i] + delta)), f = scale * (double)f_sum[i] / s;
            double limit = clip < INFINITY ? clip * dh[i] : INFINITY;
            expected_cut += fabs(f) > limit;
            f = fmax(-limit, fmin(limit, f));
            sigma += s;
            hessian += dh[i];
            min = fmin(min, dh[i]);
            clipped_push += 0.5 * (1.0 - beta2) * (dh[i] - f) * (dh[i] - f) / (dh[i] + delta);
            dh[i] = beta2 * dh[i] + (1.0 - beta2) * f +
                    0.5 * pow(1.0 - beta2, 2) * pow(dh[i] - f, 2) / (dh[i] + delta);
            dm[i] = beta1 * dm[i] + (1.0 - beta1) * scale * (double)g_sum[i];
            double m = debias ? dm[i] / (1.0 - pow(beta1, (double)(t + 1))) : dm[i];
            du[i] = (m + delta * (double)mean[i]) / (dh[i] + delta);
        }
        cr_expect_leq(llabs((long long)cut - (long long)expected_cut), 3);
        cr_expect_eq(rescued, 0);
        cr_expect_float_eq(sums.sigma, sigma, 1e-5 * sigma);
        cr_expect_float_eq(sums.hessian, hessian, 1e-5 * hessian);
        cr_expect_float_eq(sums.hessian_min, min, 1e-5 * min);
        cr_expect_float_eq(sums.bias, clipped_push, 1e-5 * clipped_push);
        NEAR(h, dh, COUNT, 2e-6);
        NEAR(momentum, dm, COUNT, 2e-6);
        NEAR(u, du, COUNT, 2e-6);
        all_cut += (double)cut;
    }
    if (clip < INFINITY) cr_expect_gt(all_cut, 0.1 * COUNT * STEPS);
    if (!(clip < INFINITY)) cr_expect_eq(all_cut, 0.0);
}

Test(matrix, evon_matches_double)
{
    check_evon(INFINITY, true);
    check_evon(1.2, true);
    check_evon(1.2, false);
}

/* Without a cut h and momentum have the bits of IVON's. */
Test(matrix, evon_is_ivon_in_another_basis)
{
    static float u[COUNT], h[2][COUNT], momentum[2][COUNT], mean[COUNT], g[COUNT], f[COUNT];
    draw(g, COUNT, 1);
    draw(f, COUNT, 2);
    draw(mean, COUNT, 3);
    draw(momentum[0], COUNT, 4);
    memcpy(momentum[1], momentum[0], sizeof momentum[0]);
    for (size_t i = 0; i < COUNT; i++) h[0][i] = h[1][i] = 0.5F;
    f[7] = 3e38F;
    f[8] = NAN;
    h[0][9] = h[1][9] = -0.01F;
    uint64_t cut = 0, rescued[2] = {0, 0}, clipped = 0;
    ivon_step ivon = {.lambda = 1e3,
                      .delta = 0.01,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .xi = INFINITY,
                      .alpha = 1.0,
                      .updates = 3,
                      .debias = true};
    evon_step evon = {.lambda = 1e3,
                      .delta = 0.01,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .clip = INFINITY,
                      .updates = 3,
                      .debias = true};
    evon_update(u, h[0], momentum[0], mean, g, f, 0.5, 0.5, &evon, COUNT, &cut, &rescued[0]);
    ivon_update(mean, h[1], momentum[1], &(gradient_sums){.g = g, .f = f}, 0.5, 0.5, &ivon, COUNT,
                &clipped, &rescued[1]);
    cr_expect_eq(memcmp(h[0], h[1], sizeof h[0]), 0);
    cr_expect_eq(memcmp(momentum[0], momentum[1], sizeof momentum[0]), 0);
    cr_expect_eq(rescued[0], rescued[1]);
    cr_expect_geq(rescued[0], 3);
    cr_expect(h[0][7] == 0.5F && h[0][8] == 0.5F && h[0][9] == -0.01F);
    cr_expect_eq(cut, 0);
}

Test(matrix, soap_and_muon_match_double)
{
    static float u[COUNT], v[COUNT], momentum[COUNT], muon[2][COUNT], ahead[COUNT], g_sum[COUNT];
    static double du[COUNT], dv[COUNT], dm[COUNT], dahead[COUNT], dmuon[COUNT];
    const double beta1 = 0.95, beta2 = 0.97, epsilon = 0.01, scale = 0.25;
    for (size_t t = 0; t < STEPS; t++) {
        draw(g_sum, COUNT, 100 + t);
        soap_step step = {.beta1 = beta1, .beta2 = beta2, .epsilon = epsilon, .updates = t + 1};
        soap_update(u, v, momentum, g_sum, scale, &step, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            double g = scale * (double)g_sum[i];
            dm[i] = beta1 * dm[i] + (1.0 - beta1) * g;
            dv[i] = beta2 * dv[i] + (1.0 - beta2) * g * g;
            du[i] = dm[i] / (1.0 - pow(beta1, (double)(t + 1))) /
                    (sqrt(dv[i] / (1.0 - pow(beta2, (double)(t + 1)))) + epsilon);
            dmuon[i] = beta1 * dmuon[i] + (1.0 - beta1) * g;
            dahead[i] = beta1 * dmuon[i] + (1.0 - beta1) * g;
        }
        NEAR(momentum, dm, COUNT, 2e-6);
        NEAR(v, dv, COUNT, 2e-6);
        NEAR(u, du, COUNT, 2e-6);
        muon_update(ahead, muon[0], g_sum, scale, beta1, true, COUNT);
        NEAR(ahead, dahead, COUNT, 2e-6);
        muon_update(u, muon[1], g_sum, scale, beta1, false, COUNT);
        NEAR(u, dmuon, COUNT, 2e-6);
        NEAR(muon[0], dmuon, COUNT, 2e-6);
    }
}

/* Everything element-wise, in one row of numbers. */
static void all_elements(float *out, int threads)
{
    static float x[4][TENSOR];
    const matrix_place *p = &places[2];
    size_t count = p->rows * p->columns;
    uint64_t cut = 0, rescued = 0;
    omp_set_num_threads(threads);
    for (size_t i = 0; i < 4; i++) draw(x[i], TENSOR, 50 + i);
    for (size_t i = 0; i < TENSOR; i++) x[0][i] = 0.1F + fabsf(x[0][i]);
    matrix_deviations(out, x[0], 10.0, 0.1, p, item);
    matrix_sample(out + TENSOR, DTYPE_F32, x[1], out, p, item);
    matrix_sample(out + 2 * TENSOR, DTYPE_BF16, x[1], out, p, item);
    matrix_accumulate(out + 3 * TENSOR, out + 4 * TENSOR, true, x[2], p, item);
    evon_step evon = {.lambda = 10.0,
                      .delta = 0.1,
                      .beta1 = 0.9,
                      .beta2 = 0.9,
                      .clip = 1.5,
                      .updates = 2,
                      .debias = true};
    evon_update(x[3], x[0], x[1], x[3], out + 3 * TENSOR, out + 4 * TENSOR, 1.0, 1.0, &evon, count,
                &cut, &rescued);
    soap_step soap = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .updates = 4};
    soap_update(out + 5 * TENSOR, x[0], x[1], x[2], 1.0, &soap, count);
    muon_update(out + 6 * TENSOR, x[1], x[2], 1.0, 0.9, true, count);
    matrix_move(x[2], x[3], 0.1, 0.1, p);
    for (size_t i = 0; i < 4; i++) memcpy(out + (7 + i) * TENSOR, x[i], sizeof x[i]);
    out[11 * TENSOR] = (float)cut;
}

Test(matrix, bits_do_not_depend_on_threads)
{
    enum { ALL = 11 * TENSOR + 1 };
    float *one = calloc(ALL, sizeof *one), *more = calloc(ALL, sizeof *more);
    all_elements(one, 1);
    for (int threads = 2; threads <= 3; threads++) {
        memset(more, 0, ALL * sizeof *more);
        all_elements(more, threads);
        cr_expect_eq(memcmp(one, more, ALL * sizeof *one), 0, "%d threads", threads);
    }
    free(one);
    free(more);
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
            whiten(white[k], 48, 64, e[k]->work);
        }
        cr_expect_eq(memcmp(e[0]->left, e[1]->left, sizeof e[0]->left), 0);
        cr_expect_eq(memcmp(e[0]->right, e[1]->right, sizeof e[0]->right), 0);
        cr_expect_eq(memcmp(momentum[0], momentum[1], sizeof momentum[0]), 0);
        cr_expect_eq(memcmp(white[0], white[1], sizeof white[0]), 0);
        close_example(e[0]);
        close_example(e[1]);
    }
}
