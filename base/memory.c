/* mmap with MADV_HUGEPAGE: first touch of a small page costs microseconds, and free() gives pages
 * back that the next step would fault in again. Whoever uses a page first touches it. */
#define _GNU_SOURCE
#include "base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* All mappings of arenas. */
static struct {
    pthread_mutex_t lock;
    struct mapping {
        char *base;
        size_t bytes;
    } * all;
    size_t count, capacity;
} open_arenas = {.lock = PTHREAD_MUTEX_INITIALIZER};

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

static bool remember(char *base, size_t bytes)
{
    pthread_mutex_lock(&open_arenas.lock);
    if (open_arenas.count == open_arenas.capacity) {
        size_t capacity = 2 * open_arenas.capacity + 16;
        struct mapping *larger = realloc(open_arenas.all, capacity * sizeof *larger);
        if (larger) open_arenas.all = larger, open_arenas.capacity = capacity;
    }
    bool fits = open_arenas.count < open_arenas.capacity;
    if (fits) open_arenas.all[open_arenas.count++] = (struct mapping){base, bytes};
    pthread_mutex_unlock(&open_arenas.lock);
    return fits;
}

static void forget(const char *base)
{
    pthread_mutex_lock(&open_arenas.lock);
    size_t i = 0;
    while (i < open_arenas.count && open_arenas.all[i].base != base) i++;
    assert(i < open_arenas.count);
    open_arenas.all[i] = open_arenas.all[--open_arenas.count];
    pthread_mutex_unlock(&open_arenas.lock);
}

static size_t untouched(const struct mapping *m, size_t page)
{
    enum { RUN = 1 << 16 /* pages */ };
    unsigned char present[RUN];
    size_t bytes = 0;
    for (size_t at = 0; at < m->bytes; at += RUN * page) {
        size_t run = m->bytes - at < RUN * page ? m->bytes - at : RUN * page;
        if (mincore(m->base + at, run, present) != 0) continue;
        for (size_t i = 0; i * page < run; i++) bytes += present[i] & 1 ? 0 : page;
    }
    return bytes;
}

size_t memory_untouched(void)
{
    size_t bytes = 0, page = (size_t)sysconf(_SC_PAGESIZE);
    pthread_mutex_lock(&open_arenas.lock);
    for (size_t i = 0; i < open_arenas.count; i++) bytes += untouched(&open_arenas.all[i], page);
    pthread_mutex_unlock(&open_arenas.lock);
    return bytes;
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
    if (!remember(base, bytes)) {
        munmap(base, bytes);
        return fail(STATUS_NOMEM, "memory for the %s: %zu bytes and a note of them", name,
                    capacity);
    }
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
    if (!a->base) return NULL; /* nothing of nothing */
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
    if (a->base) {
        forget(a->base);
        munmap(a->base, a->capacity);
    }
    *a = (arena){.name = a->name};
}
