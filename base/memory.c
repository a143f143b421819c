/* mmap with MADV_HUGEPAGE: first touch of a small page costs microseconds, and free() gives pages
 * back that the next step would fault in again. Whoever uses a page first touches it. */
#define _GNU_SOURCE
#include "base/memory.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

size_t memory_round(size_t bytes)
{
    return (bytes + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
}

bool memory_product(size_t *product, size_t a, size_t b)
{
    if (__builtin_mul_overflow(a, b, product)) {
        *product = 0;
        return false;
    }
    return true;
}

status arena_open(arena *a, const char *name, size_t capacity)
{
    *a = (arena){.name = name};
    if (capacity == 0) return STATUS_OK;
    size_t bytes = memory_round(capacity);
    void *base = bytes < capacity ? MAP_FAILED
                                  : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return fail(STATUS_NOMEM, "memory for the %s: %zu bytes asked for, not available", name,
                    capacity);
    madvise(base, bytes, MADV_HUGEPAGE);
    a->base = base;
    a->capacity = bytes;
    return STATUS_OK;
}

void memory_clear(void *data, size_t bytes)
{
    enum { RUN = 1 << 20 };
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < bytes; at += RUN)
        memset((char *)data + at, 0, bytes - at < RUN ? bytes - at : RUN);
}

void *arena_take(arena *a, size_t bytes)
{
    bytes = memory_round(bytes);
    assert(bytes <= a->capacity - a->used);
    void *taken = a->base + a->used;
    a->used += bytes;
    return taken;
}

void *arena_take_rows(arena *a, size_t rows, size_t row_bytes)
{
    return arena_take(a, rows * row_bytes);
}

void *arena_count_rows(arena *a, size_t rows, size_t row_bytes)
{
    size_t bytes;
    bool fits = memory_product(&bytes, rows, row_bytes) && memory_round(bytes) >= bytes;
    if (!fits || __builtin_add_overflow(a->used, memory_round(bytes), &a->used)) a->used = SIZE_MAX;
    return NULL;
}

void arena_close(arena *a)
{
    if (a->base) munmap(a->base, a->capacity);
    *a = (arena){.name = a->name};
}
