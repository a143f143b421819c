/** Libraries of linear algebra in Fortran, loaded when they are first wanted: they bring OpenBLAS,
 * which starts its threads when it is loaded, and few verbs should pay for that. */
#ifndef VARIO_KERNELS_FORTRAN_H
#define VARIO_KERNELS_FORTRAN_H

#include "base/status.h"

/** Any function; the caller gives it its type back. */
typedef void fortran_function(void);

/** Load a library, once, and say how many threads OpenBLAS has. Not collective.
 *
 * @param library  in: NULL, or what an earlier call gave; out: it stays loaded, NULL on failure
 * @param file     the name that the loader looks for
 * @param what     names it in messages: "LAPACK"
 * @param threads  where its BLAS is OpenBLAS
 * @return STATUS_OK or STATUS_IO: it did not load */
status fortran_load(void **library, const char *file, const char *what, int threads);

/** Find a function in it, or in what it brings. @return STATUS_OK or STATUS_IO: it is missing */
status fortran_find(fortran_function **found, void *library, const char *file, const char *name);

#endif
