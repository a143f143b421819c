#include "kernels/dense.h"

#include <cblas.h>

/* LAPACK's, which counts columns where a row-major matrix has rows: a lower triangle is its upper
 * one, and its eigenvectors, columns, are our rows. */
void dsyevd_(const char *job, const char *triangle, const int *n, double *a, const int *lda,
             double *w, double *work, const int *lwork, int *iwork, const int *liwork, int *info);

void dense_threads(int threads)
{
    openblas_set_num_threads(threads);
}

void dense_add_squares(double *sum, const double *x, size_t rows, size_t n)
{
    int N = (int)n;
    if (rows == 0) return;
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, N, (int)rows, 1.0, x, N, 1.0, sum, N);
}

void dense_product(double *out, const double *a, bool transpose_a, const double *b,
                   bool transpose_b, size_t m, size_t n, size_t k)
{
    cblas_dgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0, a,
                (int)(transpose_a ? m : k), b, (int)(transpose_b ? k : n), 0.0, out, (int)n);
}

static size_t real_work(size_t n)
{
    return 1 + 6 * n + 2 * n * n;
}

static size_t whole_work(size_t n)
{
    return 3 + 5 * n;
}

size_t dense_eigen_work(size_t n)
{
    return real_work(n) + (whole_work(n) + 1) / 2;
}

bool dense_eigen(double *a, double *values, double *work, size_t n)
{
    int N = (int)n, lwork = (int)real_work(n), liwork = (int)whole_work(n), info = 0;
    dsyevd_("V", "U", &N, a, &N, values, work, &lwork, (int *)(void *)(work + lwork), &liwork,
            &info);
    return info == 0;
}
