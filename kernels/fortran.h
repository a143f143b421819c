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

/** Define functions of LAPACK, or of the BLAS that it brings, as members of a static struct
 * `lapack`, and `status opener(int threads)`, which loads them.
 * @param functions  a macro of a list: X(name, (arguments)) ... */
#define FORTRAN_MEMBER(name, arguments) void(*name) arguments;
#define FORTRAN_FIND(name, arguments)                                                              \
    if (!result && !(result = fortran_find(&found, lapack.library, "liblapack.so.3", #name)))      \
        lapack.name = (void(*) arguments)found;
#define FORTRAN_LAPACK(functions, opener)                                                          \
    static struct {                                                                                \
        void *library;                                                                             \
        functions(FORTRAN_MEMBER)                                                                  \
    } lapack;                                                                                      \
                                                                                                   \
    status opener(int threads)                                                                     \
    {                                                                                              \
        fortran_function *found;                                                                   \
        status result = fortran_load(&lapack.library, "liblapack.so.3", "LAPACK", threads);        \
        functions(FORTRAN_FIND) return result;                                                     \
    }

#endif
