/** Buffers of units in flight: the first and the last unit keep one each, those between share two,
 * since a unit's work overlaps its neighbour's traffic only. */
#ifndef VARIO_RUNTIME_SLOTS_H
#define VARIO_RUNTIME_SLOTS_H

#include "base/memory.h"
#include "base/parameters.h"

#include <stdbool.h>

typedef struct {
    size_t count;     /**< slots */
    size_t *of_unit;  /**< [unit_count] slot of each unit */
    size_t *occupant; /**< [count] unit in it, or unit_count */
    char **base;      /**< [count] */
} slots;

/** @param whole  a slot for every unit */
status slots_open(slots *s, const parameters *p, bool whole);
void slots_close(slots *s);

/** Bytes of all slots when unit u needs bytes[u]. */
size_t slots_bytes(const slots *s, const parameters *p, const size_t *bytes);

/** Take memory for all slots from an arena. */
void slots_take(slots *s, const parameters *p, const size_t *bytes, arena *a);

/** The unit's buffer. */
char *slots_at(const slots *s, size_t unit_number);

#endif
