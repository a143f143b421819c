/* The ranks as a grid, and how much memory they have. */
#include "exact/matrix_internal.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* The divisor of size that is nearest to its root from below. */
static int grid_rows(int size)
{
    int rows = 1;
    for (int r = 1; r <= size / r; r++)
        if (size % r == 0) rows = r;
    return rows;
}

status exact_grid_open(exact_grid **out, MPI_Comm world, int threads)
{
    exact_grid *g = *out = calloc(1, sizeof *g);
    status result = g ? scalapack_load(threads) : fail(STATUS_NOMEM, "memory for a process grid");
    result = agree(world, result);
    if (result) {
        free(g);
        *out = NULL;
        return result;
    }
    MPI_Comm_dup(world, &g->world);
    MPI_Comm_rank(g->world, &g->rank);
    MPI_Comm_size(g->world, &g->size);
    g->rows = grid_rows(g->size);
    g->columns = g->size / g->rows;
    g->row = g->rank / g->columns;
    g->column = g->rank % g->columns;
    MPI_Comm_split(g->world, g->column, g->row, &g->column_world);
    g->handle = scalapack.Csys2blacs_handle(g->world);
    g->context = g->line = g->handle; /* in: the ranks, out: the grid */
    scalapack.Cblacs_gridinit(&g->context, "R", g->rows, g->columns);
    scalapack.Cblacs_gridinit(&g->line, "R", 1, g->size);
    return STATUS_OK;
}

void exact_grid_close(exact_grid **out)
{
    exact_grid *g = *out;
    if (!g) return;
    scalapack.Cblacs_gridexit(g->line);
    scalapack.Cblacs_gridexit(g->context);
    scalapack.Cfree_blacs_system_handle(g->handle);
    MPI_Comm_free(&g->column_world);
    MPI_Comm_free(&g->world);
    free(g);
    *out = NULL;
}

void exact_grid_shape(const exact_grid *g, int grid[2])
{
    grid[0] = g->rows;
    grid[1] = g->columns;
}

size_t exact_max(const exact_grid *g, size_t here)
{
    uint64_t max = here;
    MPI_Allreduce(MPI_IN_PLACE, &max, 1, MPI_UINT64_T, MPI_MAX, g->world);
    return (size_t)max;
}

status exact_check_memory(exact_grid *g, const char *what, size_t order, int matrices, size_t more)
{
    double n = (double)order, part = ceil(n / g->rows) * ceil(n / g->columns);
    if (part > INT_MAX)
        return fail(STATUS_INPUT,
                    "%s: a matrix of %zu x %zu is %.3g elements on each of %d x %d ranks, at most "
                    "%d expected: more ranks are needed",
                    what, order, order, part, g->rows, g->columns, INT_MAX);
    return free_memory_check(
        g->world, 8.0 * part * matrices + (double)more,
        "%s: %d x %zu x %zu x 8 bytes are %.4g GB over %d ranks, with %.3g GB beside "
        "them on each",
        what, matrices, order, order, 8e-9 * n * n * matrices, g->size, 1e-9 * (double)more);
}
