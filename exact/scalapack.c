/* The library stays loaded: MPI has its communicators' attributes until the end. */
#include "exact/scalapack.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

scalapack_functions scalapack;

static void *library;

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
