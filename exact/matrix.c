/* Storage, and what moves between ranks that have vectors and the grid that has blocks. */
#include "exact/matrix.h"

#include "exact/matrix_internal.h"
#include "runtime/agree.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128 /* rows and columns of a block: below it products are slow */ };

/* Of `count`, dealt out in blocks to `ranks`: what rank `me` gets. */
static size_t share(size_t count, size_t block, int me, int ranks)
{
    size_t blocks = count / block, each = blocks / (size_t)ranks * block;
    size_t over = blocks % (size_t)ranks;
    if ((size_t)me < over) return each + block;
    return (size_t)me == over ? each + count % block : each;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void matrix_describe(int descriptor[DESCRIPTOR], int context, size_t rows, size_t columns,
                            size_t row_block, size_t column_block, size_t leading)
{
    const int values[DESCRIPTOR] = {1,
                                    context,
                                    (int)rows,
                                    (int)columns,
                                    (int)row_block,
                                    (int)column_block,
                                    0,
                                    0,
                                    (int)larger(leading, 1)};
    memcpy(descriptor, values, sizeof values);
}

/* A matrix of whole columns on the line of all ranks, whose blocks have `block` columns. */
static void describe_line(const exact_grid *g, int descriptor[DESCRIPTOR], size_t rows,
                          size_t columns, size_t block)
{
    matrix_describe(descriptor, g->line, rows, columns, larger(rows, 1), larger(block, 1), rows);
}

static status matrix_open_local(exact_matrix *m)
{
    size_t elements, bytes;
    if (!memory_product(&elements, m->local_rows, m->local_columns) || elements > INT_MAX ||
        m->rows > INT_MAX || m->columns > INT_MAX)
        return fail(STATUS_INPUT,
                    "a matrix of %zu x %zu has %zu x %zu elements on a rank, at most %d expected",
                    m->rows, m->columns, m->local_rows, m->local_columns, INT_MAX);
    if (!memory_product(&bytes, larger(elements, 1), sizeof *m->values))
        return fail(STATUS_NOMEM, "memory for a matrix of %zu x %zu", m->rows, m->columns);
    status result = arena_open(&m->memory, "a dense matrix", memory_round(bytes));
    if (!result) m->values = arena_take(&m->memory, bytes);
    return result;
}

status exact_matrix_open_blocks(exact_matrix **out, exact_grid *g, size_t rows, size_t columns,
                                size_t row_block, size_t column_block)
{
    exact_matrix *m = *out = calloc(1, sizeof *m);
    status result =
        m ? STATUS_OK : fail(STATUS_NOMEM, "memory for a matrix of %zu x %zu", rows, columns);
    if (m) {
        *m = (exact_matrix){.g = g,
                            .rows = rows,
                            .columns = columns,
                            .row_block = row_block,
                            .column_block = column_block,
                            .local_rows = share(rows, row_block, g->row, g->rows),
                            .local_columns = share(columns, column_block, g->column, g->columns)};
        matrix_describe(m->descriptor, g->context, rows, columns, row_block, column_block,
                        m->local_rows);
        result = matrix_open_local(m);
    }
    result = agree(g->world, result);
    if (result) exact_matrix_close(out);
    return result;
}

/* Small matrices have smaller blocks, so that every rank gets some. */
status exact_matrix_open(exact_matrix **m, exact_grid *g, size_t rows, size_t columns)
{
    size_t ranks = (size_t)larger((size_t)g->rows, (size_t)g->columns);
    size_t block = (larger(rows, columns) + ranks - 1) / ranks;
    block = larger(smaller(block, BLOCK), 1);
    return exact_matrix_open_blocks(m, g, rows, columns, block, block);
}

void exact_matrix_close(exact_matrix **m)
{
    if (!*m) return;
    arena_close(&(*m)->memory);
    free(*m);
    *m = NULL;
}

void exact_set(exact_matrix *m, const double *whole)
{
    for (size_t j = 0; j < m->local_columns; j++)
        for (size_t i = 0; i < m->local_rows; i++)
            m->values[j * m->local_rows + i] =
                whole[exact_whole_column(m, j) * m->rows + exact_whole_row(m, i)];
}

void exact_sum(const exact_grid *g, double *values, size_t count)
{
    for (size_t first = 0; first < count; first += INT_MAX / 2)
        MPI_Allreduce(MPI_IN_PLACE, values + first, (int)smaller(count - first, INT_MAX / 2),
                      MPI_DOUBLE, MPI_SUM, g->world);
}

void exact_get(const exact_matrix *m, double *whole)
{
    memset(whole, 0, m->rows * m->columns * sizeof *whole);
    for (size_t j = 0; j < m->local_columns; j++)
        for (size_t i = 0; i < m->local_rows; i++)
            whole[exact_whole_column(m, j) * m->rows + exact_whole_row(m, i)] =
                m->values[j * m->local_rows + i];
    exact_sum(m->g, whole, m->rows * m->columns);
}

/* Some columns at a time: Cpdgemr2d counts the bytes that it packs in int. */
void exact_collect(const exact_matrix *m, int rank, double *whole)
{
    enum { FIRST_COLUMN_AT = 7, PIECE = 1 << 24 };
    int line[DESCRIPTOR];
    size_t max = larger(PIECE / larger(m->rows, 1), 1);
    describe_line(m->g, line, m->rows, m->columns, m->columns);
    line[FIRST_COLUMN_AT] = rank;
    for (size_t first = 0; first < m->columns; first += max)
        scalapack.Cpdgemr2d((int)m->rows, (int)smaller(m->columns - first, max), m->values, 1,
                            (int)first + 1, m->descriptor, whole, 1, (int)first + 1, line,
                            m->g->line);
}

void exact_copy(exact_matrix *to, const exact_matrix *from)
{
    memcpy(to->values, from->values, from->local_rows * from->local_columns * sizeof *to->values);
}

void exact_scale(exact_matrix *m, double factor)
{
    size_t count = m->local_rows * m->local_columns;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) m->values[i] *= factor;
}

/* This rank's vectors as `max` columns; what is missing is 0. */
static status pad(double **padded, const double *x, size_t count, size_t max, size_t rows)
{
    size_t elements;
    *padded = NULL;
    if (count == max) return STATUS_OK;
    if (memory_product(&elements, larger(max, 1), rows))
        *padded = calloc(elements, sizeof **padded);
    if (!*padded) return fail(STATUS_NOMEM, "memory for %zu vectors of %zu", max, rows);
    if (count > 0) memcpy(*padded, x, count * rows * sizeof *x);
    return STATUS_OK;
}

status exact_put_columns(exact_matrix *m, size_t first, const double *x, size_t count)
{
    const exact_grid *g = m->g;
    size_t max = exact_max(g, count), all = max * (size_t)g->size;
    int line[DESCRIPTOR];
    double *padded;
    if (max == 0) return STATUS_OK;
    status result = agree(g->world, pad(&padded, x, count, max, m->rows));
    if (!result) {
        describe_line(g, line, m->rows, all, max);
        scalapack.Cpdgemr2d((int)m->rows, (int)smaller(m->columns - first, all),
                            padded ? padded : x, 1, 1, line, m->values, 1, (int)first + 1,
                            m->descriptor, g->line);
    }
    free(padded);
    return result;
}

/* What row r of the grid holds of a whole vector; as long as the vector, so that one can follow
 * another. */
static MPI_Datatype rows_of(const exact_matrix *m, int r)
{
    const int rows = (int)m->rows, block = (int)m->row_block, cyclic = MPI_DISTRIBUTE_CYCLIC;
    MPI_Datatype type;
    MPI_Type_create_darray(m->g->rows, r, 1, &rows, &cyclic, &block, &m->g->rows, MPI_ORDER_FORTRAN,
                           MPI_DOUBLE, &type);
    MPI_Type_commit(&type);
    return type;
}

/* Vectors of this rank into a panel, or out of it: they are columns of this rank's column of the
 * grid, whose ranks part them by rows. (With square blocks and Cpdgemr2d this took a third of the
 * time of pdsyrk after it.) */
static void move(const exact_matrix *panel, double *vectors, size_t count, bool in)
{
    const exact_grid *g = panel->g;
    const size_t max = panel->column_block;
    MPI_Datatype part;
    MPI_Type_contiguous((int)panel->local_rows, MPI_DOUBLE, &part);
    MPI_Type_commit(&part);
    for (int i = 0; i < g->rows; i++) {
        int whose = (g->row + g->rows - i) % g->rows, where = (g->row + i) % g->rows;
        double *theirs = panel->values + (size_t)whose * max * panel->local_rows;
        MPI_Datatype rows = rows_of(panel, where);
        if (in)
            MPI_Sendrecv(vectors, (int)count, rows, where, 0, theirs, (int)max, part, whose, 0,
                         g->column_world, MPI_STATUS_IGNORE);
        else
            MPI_Sendrecv(theirs, (int)max, part, whose, 0, vectors, (int)count, rows, where, 0,
                         g->column_world, MPI_STATUS_IGNORE);
        MPI_Type_free(&rows);
    }
    MPI_Type_free(&part);
}

status exact_open_panel(exact_matrix **panel, const exact_matrix *a, const double *x, size_t count)
{
    size_t max = exact_max(a->g, count);
    *panel = NULL;
    if (max == 0) return STATUS_OK;
    status result =
        exact_matrix_open_blocks(panel, a->g, a->rows, max * (size_t)a->g->size, a->row_block, max);
    if (!result) move(*panel, (double *)x /* only read */, count, true);
    return result;
}

status exact_take_panel(const exact_matrix *panel, double **columns)
{
    size_t max = panel->column_block, bytes;
    *columns = memory_product(&bytes, max * panel->rows, sizeof **columns) ? malloc(bytes) : NULL;
    status result =
        agree(panel->g->world,
              *columns ? STATUS_OK
                       : fail(STATUS_NOMEM, "memory for %zu vectors of %zu", max, panel->rows));
    if (!result) {
        move(panel, *columns, max, false);
        return STATUS_OK;
    }
    free(*columns);
    *columns = NULL;
    return result;
}
