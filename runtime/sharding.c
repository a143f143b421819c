/* Chunks and slices. */
#include "runtime/sharding.h"

#include <stdlib.h>

static size_t minimum(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t sharding_first(const sharding *s, size_t unit_number, size_t rank)
{
    return s->first[unit_number * (s->ranks + 1) + rank];
}

/* A chunk's bytes end where the next chunk's begin, so alignment gaps between tensors travel with
 * the chunk before them. */
void sharding_bytes(const sharding *s, const layout *l, size_t unit_number, size_t rank,
                    size_t *begin, size_t *end)
{
    *begin = layout_offset(l, s->p, unit_number, sharding_first(s, unit_number, rank));
    *end = layout_offset(l, s->p, unit_number, sharding_first(s, unit_number, rank + 1));
}

size_t slice_index(const parameters *p, const slice *s)
{
    return p->tensors[s->tensor].index + s->first;
}

size_t slice_piece_offset(const sharding *s, const layout *l, const slice *part)
{
    const tensor *t = &s->p->tensors[part->tensor];
    size_t begin = layout_offset(l, s->p, t->unit, sharding_first(s, t->unit, s->rank));
    return l->tensor_offset[part->tensor] + part->first * layout_element_bytes(l, t) - begin;
}

static void cut_units(sharding *s)
{
    for (size_t u = 0; u < s->p->unit_count; u++) {
        size_t count = s->p->units[u].count;
        size_t blocks = (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
        size_t chunk = (blocks + s->ranks - 1) / s->ranks * PARAMETER_BLOCK;
        for (size_t r = 0; r <= s->ranks; r++)
            s->first[u * (s->ranks + 1) + r] = minimum(r * chunk, count);
    }
}

/* The parts of a unit's tensors that lie in this rank's chunk. */
static void slice_unit(sharding *s, size_t u)
{
    const unit *whole = &s->p->units[u];
    size_t begin = whole->index + sharding_first(s, u, s->rank);
    size_t end = whole->index + sharding_first(s, u, s->rank + 1);
    for (size_t i = whole->first; i < whole->first + whole->tensors; i++) {
        const tensor *t = &s->p->tensors[i];
        size_t from = begin > t->index ? begin : t->index;
        size_t to = minimum(end, t->index + t->count);
        if (from >= to) continue;
        s->owned[s->owned_count++] = (slice){
            .tensor = i, .first = from - t->index, .count = to - from, .offset = s->elements};
        s->elements += to - from;
    }
}

status sharding_open(sharding *s, const parameters *p, size_t ranks, size_t rank)
{
    *s = (sharding){.p = p, .ranks = ranks, .rank = rank};
    s->first = calloc(p->unit_count * (ranks + 1), sizeof *s->first);
    s->owned = calloc(p->tensor_count, sizeof *s->owned);
    s->unit_slices = calloc(p->unit_count + 1, sizeof *s->unit_slices);
    if (!s->first || !s->owned || !s->unit_slices) {
        sharding_close(s);
        return fail(STATUS_NOMEM, "memory for the sharding of %zu tensors", p->tensor_count);
    }
    cut_units(s);
    for (size_t u = 0; u < p->unit_count; u++) {
        slice_unit(s, u);
        s->unit_slices[u + 1] = s->owned_count;
    }
    return STATUS_OK;
}

void sharding_close(sharding *s)
{
    free(s->first);
    free(s->owned);
    free(s->unit_slices);
    *s = (sharding){0};
}
