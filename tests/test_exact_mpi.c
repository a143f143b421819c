/* Dense algebra on all ranks against independent sums, factors and identities on one. */
#include "dense_fixture.h"
#include "exact/matrix.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST = 150 };

static exact_grid *grid;

static void start(void)
{
    cr_assert_eq(exact_grid_open(&grid, world.world, 1), STATUS_OK, "%s", status_message());
}

static void stop(void)
{
    exact_grid_close(&grid);
}

MPI_SUITE(exact, start, stop)

/* Numbers in [-1, 1), the same on every rank. */
static double number(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (double)(int64_t)(*state >> 11 << 11) * 0x1p-63;
}

static double *numbers(size_t count, uint64_t seed)
{
    double *x = calloc(count + 1, sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = number(&seed);
    return x;
}

/* B'B + shift of random B, whole: positive definite for shift > 0. */
static double *definite(size_t n, size_t k, double shift)
{
    double *b = numbers(n * k, 7), *a = calloc(n * n + 1, sizeof *a);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            for (size_t r = 0; r < k; r++) a[j * n + i] += b[r * n + i] * b[r * n + j];
            if (i == j) a[j * n + i] += shift;
        }
    free(b);
    return a;
}

static double *reference_inverse(const double *l, size_t n)
{
    double *inverse = calloc(n * n + 1, sizeof *inverse);
    for (size_t j = 0; j < n; j++) {
        inverse[j * n + j] = 1.0;
        reference_solve(l, inverse + j * n, n);
    }
    return inverse;
}

static void expect_near(const double *found, const double *expected, size_t count)
{
    double far = difference(found, expected, count);
    cr_expect(everywhere(far < 1e-10), "%g", far);
}

static exact_matrix *open_matrix(size_t rows, size_t columns, const double *whole)
{
    exact_matrix *m;
    cr_assert_eq(exact_matrix_open(&m, grid, rows, columns), STATUS_OK, "%s", status_message());
    if (whole) exact_set(m, whole);
    return m;
}

/* More ranks than blocks, ends of blocks, and several of them. */
static const size_t sizes[] = {1, 2, 3, 5, 31, 128, 149};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

MPI_TEST(whole_there_and_back)
{
    int shape[2];
    exact_grid_shape(grid, shape);
    cr_expect(shape[0] * shape[1] == world.size && shape[0] <= shape[1]);
    for (size_t s = 0; s < SIZES; s++) {
        size_t rows = sizes[s], columns = sizes[SIZES - 1 - s];
        double *whole = numbers(rows * columns, s), *back = calloc(rows * columns, sizeof *back);
        exact_matrix *m = open_matrix(rows, columns, whole);
        exact_get(m, back);
        cr_expect(everywhere(memcmp(back, whole, rows * columns * sizeof *back) == 0));
        memset(back, 0xff, rows * columns * sizeof *back);
        exact_collect(m, world.size - 1, back);
        bool here = memcmp(back, whole, rows * columns * sizeof *back) == 0;
        cr_expect(everywhere(here == (world.rank == world.size - 1)));
        exact_matrix_close(&m);
        free(whole);
        free(back);
    }
}

/* Ranks have different numbers of vectors; some none. */
MPI_TEST(sums_of_products)
{
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], count = (size_t)(world.rank * 7 % 5), all = 0, before = 0;
        for (int r = 0; r < world.size; r++) {
            if (r == world.rank) before = all;
            all += (size_t)(r * 7 % 5);
        }
        double *x = numbers(n * all, 3), *expected = calloc(n * n, sizeof *x),
               *found = calloc(n * n, sizeof *x);
        for (size_t k = 0; k < all; k++)
            for (size_t j = 0; j < n; j++)
                for (size_t i = j; i < n; i++)
                    expected[j * n + i] += 2.0 * x[k * n + i] * x[k * n + j];
        exact_matrix *a = open_matrix(n, n, NULL);
        for (int twice = 0; twice < 2; twice++)
            cr_assert_eq(exact_add_products(a, x + before * n, count), STATUS_OK);
        exact_get(a, found);
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < j; i++) found[j * n + i] = 0.0; /* the other triangle */
        if (all) expect_near(found, expected, n * n);
        exact_matrix_close(&a);
        free(x);
        free(expected);
        free(found);
    }
}

MPI_TEST(diagonals_products_and_blocks)
{
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], size = n % 3 == 0 ? 3 : 1;
        double *whole = definite(n, n + 3, 0.5), d[MOST], expected[MOST] = {0}, y[MOST];
        double *x = numbers(n, 11), *blocks = calloc(n * size, sizeof *blocks);
        exact_matrix *a = open_matrix(n, n, whole);
        exact_add_diagonal(a, x);
        for (size_t i = 0; i < n; i++) whole[i * n + i] += x[i];
        exact_diagonal(a, d);
        for (size_t i = 0; i < n; i++) expected[i] = whole[i * n + i];
        expect_near(d, expected, n);
        memset(expected, 0, sizeof expected);
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < n; i++) expected[i] += whole[j * n + i] * x[j];
        exact_multiply(a, x, y);
        expect_near(y, expected, n);
        exact_subtract_product(a, x);
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < n; i++) whole[j * n + i] -= x[i] * x[j];
        exact_matrix *b = open_matrix(n, n, whole); /* of which both triangles are looked at */
        memset(expected, 0, sizeof expected);
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < n; i++) expected[j] += whole[j * n + i] * x[i];
        exact_multiply_transposed(b, x, y);
        expect_near(y, expected, n);
        exact_matrix_close(&b);
        exact_diagonal_blocks(a, size, blocks);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < size; j++)
                cr_expect_float_eq(blocks[i * size + j], whole[(i / size * size + j) * n + i],
                                   1e-12 * (double)n);
        exact_matrix_close(&a);
        free(whole);
        free(x);
        free(blocks);
    }
}

MPI_TEST(factors_and_what_is_solved_with_them)
{
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], bad;
        double *whole = definite(n, n + 3, 0.5), *b = numbers(3 * n, 5), *x = numbers(3 * n, 5);
        double determinant = 0.0, d[MOST], expected[MOST];
        exact_matrix *a = open_matrix(n, n, whole), *l = open_matrix(n, n, NULL);
        exact_matrix *whole_a = open_matrix(n, n, whole);
        cr_assert_eq(exact_factor(a, &bad), STATUS_OK, "%s", status_message());
        cr_expect_eq(bad, n);
        reference_factor(whole, n);
        for (size_t i = 0; i < n; i++) determinant += 2.0 * log(whole[i * n + i]);
        cr_expect_lt(fabs(exact_log_determinant(a) - determinant),
                     1e-10 * fmax(1.0, fabs(determinant)));
        for (size_t k = 0; k < 3; k++) reference_solve(whole, x + k * n, n);
        cr_assert_eq(exact_solve(a, b, 3), STATUS_OK);
        expect_near(b, x, 3 * n);
        /* L'^-1 (L'^-1)' = A^-1: A times the spread of b, times the spread of c, is b'c. */
        double *c = numbers(3 * n, 5), *spread = numbers(3 * n, 5);
        cr_assert_eq(exact_spread(a, spread, 3), STATUS_OK);
        memcpy(b, spread, 3 * n * sizeof *b);
        cr_assert_eq(exact_multiply_all(whole_a, b, 3), STATUS_OK);
        for (size_t k = 0; k < 9; k++) {
            double product = 0.0, plain = 0.0;
            for (size_t i = 0; i < n; i++) {
                product += spread[k / 3 * n + i] * b[k % 3 * n + i];
                plain += c[k / 3 * n + i] * c[k % 3 * n + i];
            }
            cr_expect_float_eq(product, plain, 1e-10 * (double)n);
        }
        free(c);
        free(spread);
        double *inverse = reference_inverse(whole, n), *found = calloc(n * n, sizeof *found);
        for (size_t i = 0; i < n; i++) expected[i] = inverse[i * n + i];
        exact_copy(l, a);
        cr_assert_eq(exact_inverse_diagonal(l, d), STATUS_OK);
        expect_near(d, expected, n);
        cr_assert_eq(exact_invert(a), STATUS_OK);
        exact_get(a, found);
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < j; i++) found[j * n + i] = found[i * n + j];
        expect_near(found, inverse, n * n);
        exact_matrix_close(&a);
        exact_matrix_close(&l);
        exact_matrix_close(&whole_a);
        free(whole);
        free(b);
        free(x);
        free(inverse);
        free(found);
    }
}

/* Of groups of three vectors, more of them on later ranks. */
MPI_TEST(covariances)
{
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], count = 3 * (size_t)world.rank;
        double *whole = definite(n, n + 3, 0.5), *x = numbers(n * count, 20 + (uint64_t)world.rank);
        double found[MOST] = {0}, expected[MOST] = {0};
        exact_matrix *l = open_matrix(n, n, whole);
        cr_assert_eq(exact_factor(l, NULL), STATUS_OK);
        cr_assert_eq(exact_covariances(l, x, count, 3, found), STATUS_OK);
        reference_factor(whole, n);
        for (size_t i = 0; i < count; i++) {
            double z[MOST];
            memcpy(z, x + i * n, n * sizeof *z);
            reference_solve(whole, z, n);
            for (size_t j = 0; j < 3; j++)
                for (size_t e = 0; e < n; e++)
                    expected[i * 3 + j] += x[(i / 3 * 3 + j) * n + e] * z[e];
        }
        expect_near(found, expected, 3 * count);
        exact_matrix_close(&l);
        free(whole);
        free(x);
    }
}

/* Columns from all ranks, two to each, and the last ranks without: their scalar products. */
MPI_TEST(gram_of_columns)
{
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], ranks = (size_t)world.size, all = 4 * ranks - 1;
        double *x = numbers(n * all, 9), *expected = calloc(all * all, sizeof *x),
               *found = calloc(all * all, sizeof *x);
        exact_matrix *b = open_matrix(n, all, NULL), *k = open_matrix(all, all, NULL);
        for (size_t round = 0; round < 2; round++) {
            size_t first = (round * ranks + (size_t)world.rank) * 2;
            size_t count = first + 2 <= all ? 2 : 1;
            cr_assert_eq(exact_put_columns(b, round * ranks * 2, x + first * n, count), STATUS_OK);
        }
        exact_add_gram(k, b);
        exact_get(k, found);
        for (size_t j = 0; j < all; j++)
            for (size_t i = 0; i < all; i++) {
                for (size_t e = 0; e < n; e++) expected[j * all + i] += x[i * n + e] * x[j * n + e];
                if (i < j) expected[j * all + i] = found[j * all + i] = 0.0;
            }
        expect_near(found, expected, all * all);
        exact_matrix_close(&b);
        exact_matrix_close(&k);
        free(x);
        free(expected);
        free(found);
    }
}

/* A V = V values, V'V = 1, in order. */
static void check_eigen(const double *whole, const double *values, const double *vectors, size_t n)
{
    double far = 0.0, scale = fmax(fabs(values[0]), fabs(values[n - 1]));
    for (size_t v = 0; v < n; v++) {
        if (v > 0) cr_expect(values[v] >= values[v - 1]);
        for (size_t i = 0; i < n; i++) {
            double sum = -values[v] * vectors[v * n + i], product = v == i ? -1.0 : 0.0;
            for (size_t j = 0; j < n; j++) {
                sum += whole[j * n + i] * vectors[v * n + j];
                product += vectors[v * n + j] * vectors[i * n + j];
            }
            far = fmax(far, fmax(fabs(sum) / scale, fabs(product)));
        }
    }
    cr_expect(everywhere(far < 1e-10), "%g", far);
}

MPI_TEST(eigenvalues_and_vectors)
{
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s];
        double *whole = definite(n, n / 2 + 1, 0.1), *all = calloc(n * n, sizeof *all);
        double values[MOST];
        exact_matrix *a = open_matrix(n, n, whole), *vectors = open_matrix(n, n, NULL);
        cr_assert_eq(exact_eigen(a, values, vectors), STATUS_OK, "%s", status_message());
        exact_get(vectors, all);
        check_eigen(whole, values, all, n);
        exact_matrix_close(&a);
        exact_matrix_close(&vectors);
        free(whole);
        free(all);
    }
}

static void refuse(exact_matrix **a, size_t row, size_t n)
{
    size_t bad = n;
    char expected[80];
    snprintf(expected, sizeof expected, "order %zu is not positive definite: pivot %zu", n, row);
    status result = exact_factor(*a, &bad);
    cr_expect(
        everywhere(result == STATUS_NUMERIC && bad == row && strstr(status_message(), expected)),
        "%d, %zu: %s", (int)result, bad, status_message());
    status_clear();
    exact_matrix_close(a);
}

MPI_TEST(refuses_what_is_singular_or_indefinite)
{
    const size_t n = 130;
    double *whole = definite(n, n + 3, 0.0);
    for (size_t i = 0; i < n; i++) /* row 70 is row 3 again */
        whole[70 * n + i] = whole[i * n + 70] = whole[3 * n + i];
    whole[70 * n + 70] = whole[3 * n + 3];
    exact_matrix *a = open_matrix(n, n, whole);
    refuse(&a, 70, n);
    a = open_matrix(n, n, whole);
    exact_scale(a, 1e-200); /* whatever the unit */
    refuse(&a, 70, n);
    whole[70 * n + 70] = -1.0;
    a = open_matrix(n, n, whole);
    refuse(&a, 70, n);
    a = open_matrix(1, 1, NULL);
    refuse(&a, 0, 1);
    free(whole);
}

MPI_TEST(refuses_what_has_no_memory)
{
    status result = exact_check_memory(grid, "2000000 unknowns", 2000000, 2, 1000000);
    cr_expect(everywhere(result == STATUS_INPUT && strstr(status_message(), "2000000 unknowns: ")),
              "%s", status_message());
    status_clear();
    cr_expect_eq(exact_check_memory(grid, "100 unknowns", 100, 2, 0), STATUS_OK);
    exact_matrix *m;
    result = exact_matrix_open(&m, grid, 200000, 200000);
    cr_expect(everywhere(result == STATUS_INPUT && !m));
    status_clear();
    result = exact_check_memory(grid, "43000 unknowns", 43000, 500, 0);
    cr_expect(everywhere(result == STATUS_NOMEM &&
                         strstr(status_message(), "500 x 43000 x 43000 x 8 bytes are 7396 GB")),
              "%s", status_message());
    status_clear();
}

#if !defined(__SANITIZE_ADDRESS__)
/* The last rank alone has no memory. */
MPI_TEST(a_rank_without_memory)
{
    exact_matrix *m;
    struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    if (world.rank == world.size - 1) setrlimit(RLIMIT_AS, &limit);
    status result = exact_matrix_open(&m, grid, 3000, 3000);
    cr_expect(everywhere(result == STATUS_NOMEM && !m), "%d", (int)result);
    status_clear();
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_AS, &limit);
}
#endif
