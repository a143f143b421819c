/* How fast products are where nothing is sent. */
#include "exact/matrix_internal.h"
#include "kernels/dense.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdlib.h>

enum { REPEATS = 5 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Every rank's, begun together. */
static double one_rate(const exact_grid *g, size_t n, const double *a, const double *b, double *c)
{
    MPI_Barrier(g->world);
    double start = MPI_Wtime();
    dense_product(c, a, false, b, false, n, n, n);
    double rate = 2e-9 * pow((double)n, 3.0) / (MPI_Wtime() - start);
    MPI_Allreduce(MPI_IN_PLACE, &rate, 1, MPI_DOUBLE, MPI_SUM, g->world);
    return rate;
}

status exact_product_rate(exact_grid *g, size_t order, double *rate)
{
    double *data = malloc(3 * order * order * sizeof *data), rates[REPEATS];
    status result = agree(
        g->world, data ? STATUS_OK : fail(STATUS_NOMEM, "memory for products of order %zu", order));
    for (size_t i = 0; !result && i < 3 * order * order; i++) data[i] = 1.0 + (double)(i % 7);
    for (int i = -1; !result && i < REPEATS; i++) {
        double found = one_rate(g, order, data, data + order * order, data + 2 * order * order);
        if (i >= 0) rates[i] = found;
    }
    free(data);
    if (result) return result;
    qsort(rates, REPEATS, sizeof *rates, by_value);
    *rate = rates[REPEATS / 2];
    return STATUS_OK;
}
