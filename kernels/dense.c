/* Functions in Fortran, which counts columns where a row-major matrix has rows: a lower triangle is
 * its upper one, eigenvectors are rows, and a product's operands change places. They take the
 * length of each text at the end (gfortran's ABI). */
#include "kernels/dense.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define LIBRARY "liblapack.so.3" /* brings its BLAS */

typedef void dsyrk(const char *uplo, const char *trans, const int *n, const int *k,
                   const double *alpha, const double *a, const int *lda, const double *beta,
                   double *c, const int *ldc, size_t, size_t);
typedef void dgemm(const char *transa, const char *transb, const int *m, const int *n, const int *k,
                   const double *alpha, const double *a, const int *lda, const double *b,
                   const int *ldb, const double *beta, double *c, const int *ldc, size_t, size_t);
typedef void dsyevd(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                    double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                    int *info, size_t, size_t);

/* A function's address is an object's in dlsym's eyes. */
typedef union {
    void *object;
    dsyrk *dsyrk;
    dgemm *dgemm;
    dsyevd *dsyevd;
} symbol;

static struct {
    void *library;
    symbol dsyrk, dgemm, dsyevd;
} lapack;

status dense_open(int threads)
{
    char count[16];
    if (lapack.library) return STATUS_OK;
    snprintf(count, sizeof count, "%d", threads);
    setenv("OPENBLAS_NUM_THREADS", count, 1); /* that start with it */
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return fail(STATUS_IO, LIBRARY ": LAPACK expected, which did not load: %s", dlerror());
    lapack.dsyrk.object = dlsym(library, "dsyrk_");
    lapack.dgemm.object = dlsym(library, "dgemm_");
    lapack.dsyevd.object = dlsym(library, "dsyevd_");
    if (!lapack.dsyrk.object || !lapack.dgemm.object || !lapack.dsyevd.object)
        return fail(STATUS_IO,
                    LIBRARY ": functions dsyrk, dgemm and dsyevd expected, not all found");
    lapack.library = library;
    return STATUS_OK;
}

void dense_add_squares(double *sum, const double *x, size_t rows, size_t n)
{
    const int N = (int)n, K = (int)rows;
    const double one = 1.0;
    if (rows > 0) lapack.dsyrk.dsyrk("U", "N", &N, &K, &one, x, &N, &one, sum, &N, 1, 1);
}

void dense_product(double *out, const double *a, bool transpose_a, const double *b,
                   bool transpose_b, size_t m, size_t n, size_t k)
{
    const int M = (int)m, N = (int)n, K = (int)k;
    const double one = 1.0, zero = 0.0;
    lapack.dgemm.dgemm(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &N, &M, &K, &one, b,
                       transpose_b ? &K : &N, a, transpose_a ? &M : &K, &zero, out, &N, 1, 1);
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
    lapack.dsyevd.dsyevd("V", "U", &N, a, &N, values, work, &lwork, (int *)(void *)(work + lwork),
                         &liwork, &info, 1, 1);
    return info == 0;
}
