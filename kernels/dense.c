/* Functions in Fortran, which counts columns where a row-major matrix has rows: a lower triangle is
 * its upper one, eigenvectors are rows, and a product's operands change places. They take the
 * length of each text at the end (gfortran's ABI). */
#include "kernels/dense.h"

#include "kernels/fortran.h"

#define FUNCTIONS(X)                                                                               \
    X(dsyrk_, (const char *uplo, const char *trans, const int *n, const int *k,                    \
               const double *alpha, const double *a, const int *lda, const double *beta,           \
               double *c, const int *ldc, size_t, size_t))                                         \
    X(dgemm_, (const char *transa, const char *transb, const int *m, const int *n, const int *k,   \
               const double *alpha, const double *a, const int *lda, const double *b,              \
               const int *ldb, const double *beta, double *c, const int *ldc, size_t, size_t))     \
    X(dsyevd_,                                                                                     \
      (const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,     \
       double *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t))

FORTRAN_LAPACK(FUNCTIONS, dense_open)

void dense_add_squares(double *sum, const double *x, size_t rows, size_t n)
{
    const int N = (int)n, K = (int)rows;
    const double one = 1.0;
    if (rows > 0) lapack.dsyrk_("U", "N", &N, &K, &one, x, &N, &one, sum, &N, 1, 1);
}

void dense_product(double *out, const double *a, bool transpose_a, const double *b,
                   bool transpose_b, size_t m, size_t n, size_t k)
{
    const int M = (int)m, N = (int)n, K = (int)k;
    const double one = 1.0, zero = 0.0;
    lapack.dgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &N, &M, &K, &one, b,
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
    lapack.dsyevd_("V", "U", &N, a, &N, values, work, &lwork, (int *)(void *)(work + lwork),
                   &liwork, &info, 1, 1);
    return info == 0;
}
