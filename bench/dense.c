/* What exact/ does with large matrices. */
#include "bench/dense.h"

#include "exact/matrix.h"
#include "runtime/agree.h"

#include <stdio.h>
#include <stdlib.h>

enum { ORDER = 8000, VECTORS = 1024 /* of a rank */, PRODUCT = 2048, REPEATS = 3 };

typedef struct {
    report *r;
    comm *world;
    exact_grid *grid;
    exact_matrix *sum, *factor;
    double *x; /* (VECTORS, ORDER) */
    double ceiling;
} dense;

static void add(const dense *d, const char *what, double rate)
{
    char name[REPORT_TEXT];
    int shape[2];
    exact_grid_shape(d->grid, shape);
    snprintf(name, sizeof name, "%s on %d x %d ranks; products fp64", what, shape[0], shape[1]);
    report_add(d->r, name, rate, "GFLOP/s", d->ceiling);
}

/* The diagonal is large, so that the sum has a factor. */
static status open_data(dense *d)
{
    const size_t count = (size_t)VECTORS * ORDER;
    uint64_t word = (uint64_t)d->world->rank + 1;
    d->x = malloc(count * sizeof *d->x);
    if (!d->x) return fail(STATUS_NOMEM, "memory for %d vectors of %d", VECTORS, ORDER);
    for (size_t i = 0; i < count; i++) {
        word = word * 6364136223846793005U + 1442695040888963407U;
        d->x[i] = (double)(int64_t)word * 0x1p-63;
    }
    return STATUS_OK;
}

static status time_sum(dense *d)
{
    double rates[REPEATS], operations = (double)ORDER * ORDER * VECTORS * d->world->size;
    status result = STATUS_OK;
    for (int i = -1; !result && i < REPEATS; i++) {
        MPI_Barrier(d->world->world);
        double start = MPI_Wtime();
        result = exact_add_products(d->sum, d->x, VECTORS);
        MPI_Barrier(d->world->world);
        if (i >= 0) rates[i] = 1e-9 * operations / (MPI_Wtime() - start);
    }
    if (!result) add(d, "sum of products, n 8000", report_median(rates, REPEATS));
    return result;
}

static status time_factor(dense *d)
{
    double rates[REPEATS], operations = (double)ORDER * ORDER * ORDER / 3.0;
    double *diagonal = malloc(ORDER * sizeof *diagonal);
    status result =
        agree(d->world->world, diagonal ? STATUS_OK : fail(STATUS_NOMEM, "memory for a diagonal"));
    for (size_t i = 0; !result && i < ORDER; i++) diagonal[i] = 1e4;
    if (!result) exact_add_diagonal(d->sum, diagonal);
    free(diagonal);
    for (int i = -1; !result && i < REPEATS; i++) {
        exact_copy(d->factor, d->sum);
        MPI_Barrier(d->world->world);
        double start = MPI_Wtime();
        result = exact_factor(d->factor, NULL);
        if (i >= 0) rates[i] = 1e-9 * operations / (MPI_Wtime() - start);
    }
    if (!result) add(d, "Cholesky's factor, n 8000", report_median(rates, REPEATS));
    return result;
}

status bench_dense(report *r, comm *world, int threads)
{
    dense d = {.r = r, .world = world};
    status result = exact_grid_open(&d.grid, world->world, threads);
    if (!result)
        result = exact_check_memory(d.grid, "the benchmark's matrices", ORDER, 3,
                                    2 * (size_t)VECTORS * ORDER * sizeof *d.x);
    if (!result) result = exact_product_rate(d.grid, PRODUCT, &d.ceiling);
    if (!result) result = agree(world->world, open_data(&d));
    if (!result) result = exact_matrix_open(&d.sum, d.grid, ORDER, ORDER);
    if (!result) result = exact_matrix_open(&d.factor, d.grid, ORDER, ORDER);
    if (!result) result = time_sum(&d);
    if (!result) result = time_factor(&d);
    free(d.x);
    exact_matrix_close(&d.sum);
    exact_matrix_close(&d.factor);
    exact_grid_close(&d.grid);
    return result;
}
