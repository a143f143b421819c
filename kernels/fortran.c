#include "kernels/fortran.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* A function's address is an object's in dlsym's eyes. */
typedef union {
    void *object;
    fortran_function *function;
    void (*set_threads)(int);
} symbol;

status fortran_load(void **library, const char *file, const char *what, int threads)
{
    char count[16];
    snprintf(count, sizeof count, "%d", threads);
    setenv("OPENBLAS_NUM_THREADS", count, 1); /* that start with it */
    if (!*library) *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!*library)
        return fail(STATUS_IO, "%s: %s expected, which did not load: %s", file, what, dlerror());
    symbol set = {.object = dlsym(*library, "openblas_set_num_threads")};
    if (set.object) set.set_threads(threads);
    return STATUS_OK;
}

status fortran_find(fortran_function **found, void *library, const char *file, const char *name)
{
    symbol function = {.object = dlsym(library, name)};
    *found = function.function;
    if (function.object) return STATUS_OK;
    return fail(STATUS_IO, "%s: function %s expected, none found", file, name);
}
