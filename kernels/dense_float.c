/* As kernels/dense.c: what is a row here is a column in Fortran. */
#include "kernels/dense_float.h"

#include "kernels/fortran.h"

#define FUNCTIONS(X)                                                                               \
    X(ssyevd_,                                                                                     \
      (const char *jobz, const char *uplo, const int *n, float *a, const int *lda, float *w,       \
       float *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t))   \
    X(sgeqrf_, (const int *m, const int *n, float *a, const int *lda, float *tau, float *work,     \
                const int *lwork, int *info))                                                      \
    X(sorgqr_, (const int *m, const int *n, const int *k, float *a, const int *lda,                \
                const float *tau, float *work, const int *lwork, int *info))

enum { PANEL = 64 /* columns that LAPACK reflects at once, at most */ };

FORTRAN_LAPACK(FUNCTIONS, dense_float_open)

static size_t real_work(size_t n)
{
    return 1 + 6 * n + 2 * n * n;
}

static size_t whole_work(size_t n)
{
    return 3 + 5 * n;
}

/* Eigenvalues, and LAPACK's numbers of both kinds, which have one size. */
size_t dense_float_eigen_work(size_t n)
{
    return n + real_work(n) + whole_work(n);
}

bool dense_float_eigen(float *a, float *work, size_t n)
{
    int N = (int)n, lwork = (int)real_work(n), liwork = (int)whole_work(n), info = 0;
    float *values = work, *real = work + n, *whole = real + lwork;
    lapack.ssyevd_("V", "U", &N, a, &N, values, real, &lwork, (int *)(void *)whole, &liwork, &info,
                   1, 1);
    return info == 0;
}

/* Factors of the reflections, signs, and LAPACK's own. */
size_t dense_float_orthogonalize_work(size_t n)
{
    return 2 * n + PANEL * n;
}

bool dense_float_orthogonalize(float *a, float *work, size_t n)
{
    int N = (int)n, lwork = PANEL * N, info = 0;
    float *tau = work, *signs = work + n, *rest = signs + n;
    lapack.sgeqrf_(&N, &N, a, &N, tau, rest, &lwork, &info);
    if (info != 0) return false;
    for (size_t i = 0; i < n; i++) signs[i] = a[i * n + i] < 0.0F ? -1.0F : 1.0F;
    lapack.sorgqr_(&N, &N, &N, a, &N, tau, rest, &lwork, &info);
    if (info != 0) return false;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) a[i * n + j] *= signs[i];
    return true;
}
