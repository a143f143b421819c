/* The library stays loaded: MPI has its communicators' attributes until the end. */
#include "exact/scalapack.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

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

/* A function's address is an object's in dlsym's eyes. */
typedef union {
    void *object;
    void (*function)(void);
    void (*set_threads)(int);
} symbol;

static status find(const char *name, symbol *found)
{
    found->object = dlsym(library, name);
    if (found->object) return STATUS_OK;
    return fail(STATUS_IO, "%s: function %s expected, none found", VARIO_SCALAPACK, name);
}

static status find_all(void)
{
    symbol found;
    status result = STATUS_OK;
#define SCALAPACK_FIND(type, name, arguments)                                                      \
    if (!result && !(result = find(#name, &found)))                                                \
        scalapack.name = (type(*) arguments)found.function;
    SCALAPACK_FUNCTIONS(SCALAPACK_FIND)
#undef SCALAPACK_FIND
    return result;
}

/* OpenBLAS makes as many threads as the environment says, when it is loaded. */
static status load(int threads)
{
    char count[16];
    snprintf(count, sizeof count, "%d", threads);
    setenv("OPENBLAS_NUM_THREADS", count, 1);
    library = dlopen(VARIO_SCALAPACK, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return fail(STATUS_IO, "%s: ScaLAPACK expected, which did not load: %s", VARIO_SCALAPACK,
                    dlerror());
    status result = find_all();
    if (!result) return STATUS_OK;
    dlclose(library);
    library = NULL;
    return result;
}

status scalapack_load(int threads)
{
    status result = library ? STATUS_OK : load(threads);
    if (result) return result;
    symbol set = {.object = dlsym(library, "openblas_set_num_threads")};
    if (set.object) set.set_threads(threads);
    return STATUS_OK;
}
