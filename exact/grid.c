/* The ranks as a grid, and what its nodes have room for. */
#include "base/memory.h"
#include "exact/matrix_internal.h"
#include "io/agree.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
    MPI_Comm_free(&g->world);
    free(g);
    *out = NULL;
}

void exact_grid_shape(const exact_grid *g, int grid[2])
{
    grid[0] = g->rows;
    grid[1] = g->columns;
}

size_t exact_most(const exact_grid *g, size_t here)
{
    uint64_t most = here;
    MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_UINT64_T, MPI_MAX, g->world);
    return (size_t)most;
}

/* What the kernel would give without swapping. */
static double free_bytes(void)
{
    double kilobytes = INFINITY;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lf kB", &kilobytes) == 1) break;
    if (file) fclose(file);
    return 1024.0 * kilobytes;
}

static status check_node(const exact_grid *g, const char *what, size_t order, int matrices,
                         double more)
{
    double n = (double)order, part = ceil(n / g->rows) * ceil(n / g->columns);
    double here = 8.0 * part * matrices + more, node = here, room = free_bytes();
    char host[256] = "this host";
    MPI_Comm neighbours;
    int ranks;
    MPI_Comm_split_type(g->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &neighbours);
    MPI_Comm_size(neighbours, &ranks);
    MPI_Allreduce(MPI_IN_PLACE, &node, 1, MPI_DOUBLE, MPI_SUM, neighbours);
    MPI_Comm_free(&neighbours);
    gethostname(host, sizeof host - 1);
    if (part > INT_MAX)
        return fail(STATUS_INPUT,
                    "%s: a matrix of %zu x %zu is %.3g elements on each of %d x %d ranks, at most "
                    "%d expected: more ranks are needed",
                    what, order, order, part, g->rows, g->columns, INT_MAX);
    if (node <= room) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: %d x %zu x %zu x 8 bytes are %.4g GB over %d ranks; with %.3g GB beside them "
                "the %d ranks on %s need %.4g GB, where %.4g GB are free",
                what, matrices, order, order, 8e-9 * n * n * matrices, g->size, 1e-9 * more, ranks,
                host, 1e-9 * node, 1e-9 * room);
}

status exact_check_room(exact_grid *g, const char *what, size_t order, int matrices, size_t more)
{
    return agree(g->world, check_node(g, what, order, matrices, (double)more));
}
