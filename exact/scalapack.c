/* The library stays loaded: MPI has its communicators' attributes until the end. */
#include "exact/scalapack.h"

#include "kernels/dense.h"
#include "kernels/fortran.h"

scalapack_functions scalapack;

static void *library;

/* The library calls this for the width of what its products send at once, and wants it replaced:
 * its own says 32, for which dgemm packs and messages take a tenth of the time. The program exports
 * it (CMakeLists.txt), so that the library finds this one first. */
int pilaenv_(const int *context, const char *precision, size_t);
int pilaenv_(const int *context, const char *precision, size_t length)
{
    (void)context;
    (void)precision;
    (void)length;
    return 128;
}

static status find_all(void)
{
    fortran_function *found;
    status result = STATUS_OK;
#define SCALAPACK_FIND(type, name, arguments)                                                      \
    if (!result && !(result = fortran_find(&found, library, VARIO_SCALAPACK, #name)))              \
        scalapack.name = (type(*) arguments)found;
    SCALAPACK_FUNCTIONS(SCALAPACK_FIND)
#undef SCALAPACK_FIND
    return result;
}

status scalapack_load(int threads)
{
    status result = dense_open(threads);
    if (!result) result = fortran_load(&library, VARIO_SCALAPACK, "ScaLAPACK", threads);
    return result ? result : find_all();
}
