/* Which units share a buffer. */
#include "runtime/slots.h"

#include <stdlib.h>

status slots_open(slots *s, const parameters *p, bool whole)
{
    size_t n = p->unit_count;
    *s = (slots){.count = whole || n < 4 ? n : 4};
    s->of_unit = calloc(n, sizeof *s->of_unit);
    s->occupant = calloc(n, sizeof *s->occupant);
    s->base = calloc(n, sizeof *s->base);
    if (!s->of_unit || !s->occupant || !s->base) {
        slots_close(s);
        return fail(STATUS_NOMEM, "memory for the slots of %zu units", n);
    }
    for (size_t u = 0; u < n; u++) {
        if (s->count == n)
            s->of_unit[u] = u;
        else
            s->of_unit[u] = u == 0 ? 0 : u == n - 1 ? 3 : 1 + u % 2;
        s->occupant[u] = n;
    }
    return STATUS_OK;
}

void slots_close(slots *s)
{
    free(s->of_unit);
    free(s->occupant);
    free(s->base);
    *s = (slots){0};
}

static size_t slot_bytes(const slots *s, const parameters *p, const size_t *bytes, size_t slot)
{
    size_t max = 0;
    for (size_t u = 0; u < p->unit_count; u++)
        if (s->of_unit[u] == slot && bytes[u] > max) max = bytes[u];
    return memory_round(max);
}

size_t slots_bytes(const slots *s, const parameters *p, const size_t *bytes)
{
    size_t sum = 0;
    for (size_t slot = 0; slot < s->count; slot++) sum += slot_bytes(s, p, bytes, slot);
    return sum;
}

void slots_take(slots *s, const parameters *p, const size_t *bytes, arena *a)
{
    for (size_t slot = 0; slot < s->count; slot++)
        s->base[slot] = arena_take(a, slot_bytes(s, p, bytes, slot));
}

char *slots_at(const slots *s, size_t unit_number)
{
    return s->base[s->of_unit[unit_number]];
}
