/** What exact/ calls of ScaLAPACK and BLACS, loaded when it is first wanted (kernels/fortran.h),
 * and LAPACK with it (kernels/dense.h). */
#ifndef VARIO_EXACT_SCALAPACK_H
#define VARIO_EXACT_SCALAPACK_H

#include "base/status.h"
#include "runtime/mpi_calls.h"

#include <stddef.h>

enum { DESCRIPTOR = 9 };

/* Routines in Fortran take the length of each text at the end of their arguments (gfortran's ABI);
 * those of PBLAS, of the redistribution and of BLACS are C. */
#define SCALAPACK_FUNCTIONS(X)                                                                     \
    X(int, Csys2blacs_handle, (MPI_Comm))                                                          \
    X(void, Cfree_blacs_system_handle, (int))                                                      \
    X(void, Cblacs_gridinit, (int *context, const char *order, int rows, int columns))             \
    X(void, Cblacs_gridexit, (int context))                                                        \
    X(void, Cpdgemr2d,                                                                             \
      (int m, int n, const double *a, int ia, int ja, const int *desca, double *b, int ib, int jb, \
       const int *descb, int context))                                                             \
    X(void, pdsyrk_,                                                                               \
      (const char *uplo, const char *trans, const int *n, const int *k, const double *alpha,       \
       const double *a, const int *ia, const int *ja, const int *desca, const double *beta,        \
       double *c, const int *ic, const int *jc, const int *descc))                                 \
    X(void, pdsymm_,                                                                               \
      (const char *side, const char *uplo, const int *m, const int *n, const double *alpha,        \
       const double *a, const int *ia, const int *ja, const int *desca, const double *b,           \
       const int *ib, const int *jb, const int *descb, const double *beta, double *c,              \
       const int *ic, const int *jc, const int *descc))                                            \
    X(void, pdtrsm_,                                                                               \
      (const char *side, const char *uplo, const char *trans, const char *diag, const int *m,      \
       const int *n, const double *alpha, const double *a, const int *ia, const int *ja,           \
       const int *desca, double *b, const int *ib, const int *jb, const int *descb))               \
    X(void, pdpotrf_,                                                                              \
      (const char *uplo, const int *n, double *a, const int *ia, const int *ja, const int *desca,  \
       int *info, size_t))                                                                         \
    X(void, pdpotri_,                                                                              \
      (const char *uplo, const int *n, double *a, const int *ia, const int *ja, const int *desca,  \
       int *info, size_t))                                                                         \
    X(void, pdpotrs_,                                                                              \
      (const char *uplo, const int *n, const int *nrhs, const double *a, const int *ia,            \
       const int *ja, const int *desca, double *b, const int *ib, const int *jb, const int *descb, \
       int *info, size_t))                                                                         \
    X(void, pdtrtri_,                                                                              \
      (const char *uplo, const char *diag, const int *n, double *a, const int *ia, const int *ja,  \
       const int *desca, int *info, size_t, size_t))                                               \
    X(void, pdsyevd_,                                                                              \
      (const char *jobz, const char *uplo, const int *n, double *a, const int *ia, const int *ja,  \
       const int *desca, double *w, double *z, const int *iz, const int *jz, const int *descz,     \
       double *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t))

typedef struct {
#define SCALAPACK_MEMBER(type, name, arguments) type(*name) arguments;
    SCALAPACK_FUNCTIONS(SCALAPACK_MEMBER)
#undef SCALAPACK_MEMBER
} scalapack_functions;

/** Valid after scalapack_load. */
extern scalapack_functions scalapack;

/** Load the libraries; later calls set the number of threads. Not collective.
 * @param threads  of the BLAS that it brings, where that is OpenBLAS
 * @return STATUS_OK or STATUS_IO: it, or a function of it, is missing */
status scalapack_load(int threads);

#endif
