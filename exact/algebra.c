/* Products, Cholesky factors and what is solved with them. */
#include "exact/matrix_internal.h"
#include "kernels/dense.h"
#include "runtime/agree.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const int one = 1;

status exact_add_products(exact_matrix *a, const double *x, size_t count)
{
    exact_matrix *panel;
    const double unit = 1.0;
    status result = exact_open_panel(&panel, a, x, count);
    if (result || !panel) return result;
    const int n = (int)a->rows, k = (int)panel->columns;
    scalapack.pdsyrk_("L", "N", &n, &k, &unit, panel->values, &one, &one, panel->descriptor, &unit,
                      a->values, &one, &one, a->descriptor);
    exact_matrix_close(&panel);
    return STATUS_OK;
}

void exact_add_gram(exact_matrix *a, const exact_matrix *b)
{
    const int n = (int)a->rows, k = (int)b->rows;
    const double unit = 1.0;
    scalapack.pdsyrk_("L", "T", &n, &k, &unit, b->values, &one, &one, b->descriptor, &unit,
                      a->values, &one, &one, a->descriptor);
}

/* The element of this rank on the diagonal at local column j, or NULL. */
static double *diagonal_at(const exact_matrix *m, size_t j)
{
    size_t whole = exact_whole_column(m, j), block = whole / m->row_block;
    if (block % (size_t)m->g->rows != (size_t)m->g->row) return NULL;
    size_t i = block / (size_t)m->g->rows * m->row_block + whole % m->row_block;
    return m->values + j * m->local_rows + i;
}

void exact_add_diagonal(exact_matrix *a, const double *d)
{
    for (size_t j = 0; j < a->local_columns; j++) {
        double *at = diagonal_at(a, j);
        if (at) *at += d[exact_whole_column(a, j)];
    }
}

void exact_diagonal(const exact_matrix *a, double *d)
{
    memset(d, 0, a->rows * sizeof *d);
    for (size_t j = 0; j < a->local_columns; j++) {
        const double *at = diagonal_at(a, j);
        if (at) d[exact_whole_column(a, j)] = *at;
    }
    exact_sum(a->g, d, a->rows);
}

void exact_multiply(const exact_matrix *a, const double *x, double *y)
{
    memset(y, 0, a->rows * sizeof *y);
    for (size_t j = 0; j < a->local_columns; j++) {
        size_t column = exact_whole_column(a, j);
        const double *values = a->values + j * a->local_rows;
        double sum = 0.0;
        for (size_t i = 0; i < a->local_rows; i++) {
            size_t row = exact_whole_row(a, i);
            if (row < column) continue;
            sum += values[i] * x[row];
            if (row > column) y[row] += values[i] * x[column];
        }
        y[column] += sum;
    }
    exact_sum(a->g, y, a->rows);
}

status exact_multiply_all(const exact_matrix *a, double *b, size_t count)
{
    exact_matrix *x = NULL, *y = NULL;
    const int n = (int)a->rows, k = (int)count;
    const double unit = 1.0, zero = 0.0;
    status result = exact_matrix_open_blocks(&x, a->g, a->rows, count, a->row_block, a->row_block);
    if (!result)
        result = exact_matrix_open_blocks(&y, a->g, a->rows, count, a->row_block, a->row_block);
    if (!result) {
        exact_set(x, b);
        scalapack.pdsymm_("L", "L", &n, &k, &unit, a->values, &one, &one, a->descriptor, x->values,
                          &one, &one, x->descriptor, &zero, y->values, &one, &one, y->descriptor);
        exact_get(y, b);
    }
    exact_matrix_close(&x);
    exact_matrix_close(&y);
    return result;
}

void exact_multiply_transposed(const exact_matrix *b, const double *x, double *y)
{
    memset(y, 0, b->columns * sizeof *y);
    for (size_t j = 0; j < b->local_columns; j++)
        for (size_t i = 0; i < b->local_rows; i++)
            y[exact_whole_column(b, j)] +=
                b->values[j * b->local_rows + i] * x[exact_whole_row(b, i)];
    exact_sum(b->g, y, b->columns);
}

void exact_subtract_product(exact_matrix *a, const double *x)
{
    for (size_t j = 0; j < a->local_columns; j++)
        for (size_t i = 0; i < a->local_rows; i++)
            a->values[j * a->local_rows + i] -=
                x[exact_whole_row(a, i)] * x[exact_whole_column(a, j)];
}

void exact_diagonal_blocks(const exact_matrix *a, size_t size, double *blocks)
{
    memset(blocks, 0, a->rows * size * sizeof *blocks);
    for (size_t j = 0; j < a->local_columns; j++) {
        size_t column = exact_whole_column(a, j), of = column / size;
        for (size_t i = 0; i < a->local_rows; i++) {
            size_t row = exact_whole_row(a, i);
            if (row < column || row / size != of) continue;
            double value = a->values[j * a->local_rows + i], *block = blocks + of * size * size;
            block[row % size * size + column % size] = value;
            block[column % size * size + row % size] = value;
        }
    }
    exact_sum(a->g, blocks, a->rows * size);
}

static status refuse_pivot(size_t row, size_t n)
{
    return fail(STATUS_NUMERIC,
                "a matrix of order %zu is not positive definite: pivot %zu is 0 up to rounding, or "
                "negative",
                n, row);
}

/* The first pivot that rounding could have made of 0; n without one. */
static status find_bad_pivot(const exact_matrix *l, const double *before, size_t *bad)
{
    size_t n = l->rows;
    double *d = malloc(n * sizeof *d), min = DBL_EPSILON * (double)n;
    status result =
        agree(l->g->world, d ? STATUS_OK : fail(STATUS_NOMEM, "memory for %zu pivots", n));
    if (!result) {
        exact_diagonal(l, d);
        for (*bad = 0; *bad < n && d[*bad] * d[*bad] > min * before[*bad];) ++*bad;
    }
    free(d);
    return result;
}

static status factor(exact_matrix *a, const double *before, size_t *bad)
{
    const int n = (int)a->rows;
    int info = 0;
    scalapack.pdpotrf_("L", &n, a->values, &one, &one, a->descriptor, &info, 1);
    *bad = info > 0 ? (size_t)info - 1 : a->rows;
    status result = STATUS_OK;
    if (*bad == a->rows) result = find_bad_pivot(a, before, bad);
    if (!result && *bad < a->rows) result = refuse_pivot(*bad, a->rows);
    return result;
}

status exact_factor(exact_matrix *a, size_t *bad)
{
    size_t first = a->rows;
    double *before = malloc(a->rows * sizeof *before);
    status result =
        agree(a->g->world,
              before ? STATUS_OK : fail(STATUS_NOMEM, "memory for a diagonal of %zu", a->rows));
    if (!result) {
        exact_diagonal(a, before);
        result = agree(a->g->world, factor(a, before, &first));
    }
    free(before);
    if (bad) *bad = first;
    return result;
}

double exact_log_determinant(const exact_matrix *l)
{
    double sum = 0.0;
    for (size_t j = 0; j < l->local_columns; j++) {
        const double *at = diagonal_at(l, j);
        if (at) sum += 2.0 * log(*at);
    }
    exact_sum(l->g, &sum, 1);
    return sum;
}

status exact_solve(const exact_matrix *l, double *b, size_t count)
{
    exact_matrix *x;
    const int n = (int)l->rows, k = (int)count;
    int info;
    status result = exact_matrix_open_blocks(&x, l->g, l->rows, count, l->row_block, l->row_block);
    if (result) return result;
    exact_set(x, b);
    scalapack.pdpotrs_("L", &n, &k, l->values, &one, &one, l->descriptor, x->values, &one, &one,
                       x->descriptor, &info, 1);
    exact_get(x, b);
    exact_matrix_close(&x);
    return STATUS_OK;
}

status exact_spread(const exact_matrix *l, double *b, size_t count)
{
    exact_matrix *x;
    const int n = (int)l->rows, k = (int)count;
    const double unit = 1.0;
    status result = exact_matrix_open_blocks(&x, l->g, l->rows, count, l->row_block, l->row_block);
    if (result) return result;
    exact_set(x, b);
    scalapack.pdtrsm_("L", "L", "T", "N", &n, &k, &unit, l->values, &one, &one, l->descriptor,
                      x->values, &one, &one, x->descriptor);
    exact_get(x, b);
    exact_matrix_close(&x);
    return STATUS_OK;
}

/* A = L L' has the inverse M'M with M = L^-1: its diagonal is the squared length of M's columns. */
status exact_inverse_diagonal(exact_matrix *l, double *d)
{
    const int n = (int)l->rows;
    int info = 0;
    scalapack.pdtrtri_("L", "N", &n, l->values, &one, &one, l->descriptor, &info, 1, 1);
    status result =
        agree(l->g->world, info > 0 ? refuse_pivot((size_t)info - 1, l->rows) : STATUS_OK);
    if (result) return result;
    memset(d, 0, l->rows * sizeof *d);
    for (size_t j = 0; j < l->local_columns; j++) {
        size_t column = exact_whole_column(l, j);
        for (size_t i = 0; i < l->local_rows; i++) {
            double value = l->values[j * l->local_rows + i];
            if (exact_whole_row(l, i) >= column) d[column] += value * value;
        }
    }
    exact_sum(l->g, d, l->rows);
    return STATUS_OK;
}

status exact_invert(exact_matrix *l)
{
    const int n = (int)l->rows;
    int info = 0;
    scalapack.pdpotri_("L", &n, l->values, &one, &one, l->descriptor, &info, 1);
    return agree(l->g->world, info > 0 ? refuse_pivot((size_t)info - 1, l->rows) : STATUS_OK);
}

status exact_covariances(const exact_matrix *l, const double *x, size_t count, size_t group,
                         double *out)
{
    exact_matrix *panel;
    double *z = NULL;
    const double unit = 1.0;
    status result = exact_open_panel(&panel, l, x, count);
    if (result || !panel) return result;
    const int n = (int)l->rows, k = (int)panel->columns;
    scalapack.pdtrsm_("L", "L", "N", "N", &n, &k, &unit, l->values, &one, &one, l->descriptor,
                      panel->values, &one, &one, panel->descriptor);
    result = exact_take_panel(panel, &z);
    for (size_t i = 0; !result && i < count; i += group) /* of each group's vectors */
        dense_product(out + i * group, z + i * l->rows, false, z + i * l->rows, true, group, group,
                      l->rows);
    free(z);
    exact_matrix_close(&panel);
    return result;
}
