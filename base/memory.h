/** Memory that is allocated once, aligned and on huge pages where the system has them. */
#ifndef VARIO_BASE_MEMORY_H
#define VARIO_BASE_MEMORY_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MEMORY_ALIGNMENT = 64 };

/** A block handed out in order and freed at once. */
typedef struct {
    char *base;
    size_t capacity; /**< bytes */
    size_t used;     /**< bytes, a multiple of MEMORY_ALIGNMENT */
    const char *name;
} arena;

/** Round bytes up to a multiple of MEMORY_ALIGNMENT. */
size_t memory_round(size_t bytes);

/** Product of two sizes; false (and *product = 0) when it overflows. */
bool memory_product(size_t *product, size_t a, size_t b);

/** Allocate an arena of zeros, whose pages belong to the threads that touch them first; not
 * collective.
 *
 * @param name  static string for messages ("parameters", "activations")
 * @return STATUS_OK or STATUS_NOMEM (a is then empty); capacity 0 allocates nothing
 */
status arena_open(arena *a, const char *name, size_t capacity);

/** Bytes of all open arenas that nobody has touched yet: they are promised, and the system still
 * counts them as free. */
size_t memory_untouched(void);

/** Set bytes to 0, by all threads. */
void memory_clear(void *data, size_t bytes);

/** Hand out bytes, aligned to MEMORY_ALIGNMENT; NULL only of an arena of 0 bytes: exhausting one is
 * a bug (assert). */
void *arena_take(arena *a, size_t bytes);

/** How a module hands out rows of bytes: arena_take_rows does, arena_count_rows only adds up in
 * a->used what they would take and returns NULL; a sum that overflows stays SIZE_MAX, which no
 * arena can be opened with. */
typedef void *arena_rows(arena *a, size_t rows, size_t row_bytes);
arena_rows arena_take_rows, arena_count_rows;

/** Free; takes an empty arena too. */
void arena_close(arena *a);

#endif
