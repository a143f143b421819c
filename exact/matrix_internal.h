/** What the files of exact/ share: descriptors and who owns what. */
#ifndef VARIO_EXACT_MATRIX_INTERNAL_H
#define VARIO_EXACT_MATRIX_INTERNAL_H

#include "base/memory.h"
#include "exact/matrix.h"
#include "exact/scalapack.h"

struct exact_grid {
    MPI_Comm world, column_world; /* all ranks; those of this rank's column, by row */
    int rank, size;
    int handle; /* BLACS' of world */
    int rows, columns, row, column, context;
    int line; /* context of a grid of one row: rank r is column r */
};

struct exact_matrix {
    exact_grid *g;
    size_t rows, columns, row_block, column_block;
    size_t local_rows, local_columns;
    int descriptor[DESCRIPTOR];
    double *values; /* (local_columns, local_rows) */
    arena memory;
};

/** Row or column of the whole of a local one, on the process at coordinate `me` of `count`. */
static inline size_t exact_whole(size_t local, size_t block, int me, int count)
{
    return (local / block * (size_t)count + (size_t)me) * block + local % block;
}

static inline size_t exact_whole_row(const exact_matrix *m, size_t local)
{
    return exact_whole(local, m->row_block, m->g->row, m->g->rows);
}

static inline size_t exact_whole_column(const exact_matrix *m, size_t local)
{
    return exact_whole(local, m->column_block, m->g->column, m->g->columns);
}

/** exact_matrix_open with blocks of row_block x column_block; at least 1. */
status exact_matrix_open_blocks(exact_matrix **m, exact_grid *g, size_t rows, size_t columns,
                                size_t row_block, size_t column_block);

/** The vectors of all ranks as the columns of a matrix with a's rows: rank r's are block r of the
 * columns, with 0 where it has fewer than another. *panel is NULL where no rank has any, and on
 * failure. */
status exact_open_panel(exact_matrix **panel, const exact_matrix *a, const double *x, size_t count);

/** This rank's columns of such a panel, panel->column_block of them; the caller frees them. */
status exact_take_panel(const exact_matrix *panel, double **columns);

/** Add up over the ranks, in place. */
void exact_sum(const exact_grid *g, double *values, size_t count);

/** Largest value of any rank. */
size_t exact_max(const exact_grid *g, size_t here);

#endif
