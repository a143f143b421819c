/* Symmetric eigenproblems: of all ranks together, and of one alone. */
#include "exact/matrix_internal.h"
#include "runtime/agree.h"

#include <limits.h>
#include <stdlib.h>

typedef struct {
    double *numbers;
    int *integers;
    int number_count, integer_count;
} workspace;

static status open_workspace(workspace *w, double numbers, int integers, size_t n)
{
    w->number_count = (int)numbers;
    w->integer_count = integers;
    if (!(numbers < INT_MAX))
        return fail(STATUS_INPUT,
                    "eigenvalues of a matrix of order %zu: %.3g numbers of workspace on a rank, at "
                    "most %d expected",
                    n, numbers, INT_MAX);
    w->numbers = malloc((size_t)w->number_count * sizeof *w->numbers);
    w->integers = malloc((size_t)w->integer_count * sizeof *w->integers);
    if (w->numbers && w->integers) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for the eigenvalues of a matrix of order %zu", n);
}

static void close_workspace(workspace *w)
{
    free(w->numbers);
    free(w->integers);
    *w = (workspace){0};
}

static status check(int info, size_t n)
{
    if (info == 0) return STATUS_OK;
    return fail(STATUS_NUMERIC, "eigenvalues of a matrix of order %zu did not converge (%d)", n,
                info);
}

/* With `count` of -1 numbers the workspace is asked for, and nothing else is done. */
static int eigen_run(exact_matrix *a, double *values, exact_matrix *vectors, double *numbers,
                     int number_count, int *integers, int integer_count)
{
    const int n = (int)a->rows, one = 1;
    int info = 0;
    scalapack.pdsyevd_("V", "L", &n, a->values, &one, &one, a->descriptor, values, vectors->values,
                       &one, &one, vectors->descriptor, numbers, &number_count, integers,
                       &integer_count, &info, 1, 1);
    return info;
}

status exact_eigen(exact_matrix *a, double *values, exact_matrix *vectors)
{
    workspace w = {0};
    double numbers = 0.0;
    int integers = 0;
    eigen_run(a, values, vectors, &numbers, -1, &integers, -1);
    /* What it asks for is too little for pdormtr where blocks are not much smaller than n. */
    numbers += (double)(a->row_block * (a->local_rows + a->local_columns + a->row_block));
    status result = agree(a->g->world, open_workspace(&w, numbers, integers, a->rows));
    if (!result) {
        int info =
            eigen_run(a, values, vectors, w.numbers, w.number_count, w.integers, w.integer_count);
        result = agree(a->g->world, check(info, a->rows));
    }
    close_workspace(&w);
    return result;
}
