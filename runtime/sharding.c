/* Runs and slices. */
#include "runtime/sharding.h"

#include "base/memory.h"

#include <stdlib.h>

static size_t minimum(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t sharding_runs(const sharding *s, size_t unit_number)
{
    return s->unit_runs[unit_number + 1] - s->unit_runs[unit_number] - 1;
}

size_t sharding_first(const sharding *s, size_t unit_number, size_t run)
{
    return s->first[s->unit_runs[unit_number] + run];
}

size_t sharding_owner(const sharding *s, size_t unit_number, size_t run)
{
    return s->owner[s->unit_runs[unit_number] + run];
}

/* A run's bytes end where the next one's begin, so alignment gaps between tensors travel with the
 * run before them. */
void sharding_bytes(const sharding *s, const layout *l, size_t unit_number, size_t run,
                    size_t *begin, size_t *end)
{
    *begin = layout_offset(l, s->p, unit_number, sharding_first(s, unit_number, run));
    *end = layout_offset(l, s->p, unit_number, sharding_first(s, unit_number, run + 1));
}

size_t sharding_piece(const sharding *s, const layout *l, size_t unit_number, size_t run)
{
    size_t at = 0;
    for (size_t r = 0; r <= run; r++) {
        size_t begin, end;
        if (r == sharding_runs(s, unit_number)) return at;
        if (sharding_owner(s, unit_number, r) != s->rank) continue;
        sharding_bytes(s, l, unit_number, r, &begin, &end);
        if (r == run) return at + begin % MEMORY_ALIGNMENT;
        at += memory_round(end - begin + begin % MEMORY_ALIGNMENT);
    }
    return at;
}

size_t slice_index(const parameters *p, const slice *s)
{
    return p->tensors[s->tensor].index + s->first;
}

size_t slice_piece_offset(const sharding *s, const layout *l, const slice *part)
{
    const tensor *t = &s->p->tensors[part->tensor];
    size_t element = slice_index(s->p, part) - s->p->units[t->unit].index, run = 0, begin, end;
    while (element >= sharding_first(s, t->unit, run + 1)) run++;
    sharding_bytes(s, l, t->unit, run, &begin, &end);
    return sharding_piece(s, l, t->unit, run) + l->tensor_offset[part->tensor] +
           part->first * layout_element_bytes(l, t) - begin;
}

void sharding_deal(size_t *owner, double *work, const double *costs, size_t count, size_t ranks)
{
    for (size_t r = 0; r < ranks; r++) work[r] = 0.0;
    for (size_t i = 0; i < count; i++) owner[i] = ranks;
    for (;;) {
        size_t next = count, to = 0;
        for (size_t i = 0; i < count; i++)
            if (owner[i] == ranks && costs[i] > 0.0 && (next == count || costs[i] > costs[next]))
                next = i;
        if (next == count) return;
        for (size_t r = 1; r < ranks; r++)
            if (work[r] < work[to]) to = r;
        owner[next] = to;
        work[to] += costs[next];
    }
}

static void put_run(sharding *s, size_t *count, size_t first, size_t owner)
{
    s->first[*count] = first;
    s->owner[(*count)++] = owner;
}

/* A run a dealt tensor: from the unit's start, or where the tensor begins. */
static size_t cut_whole(sharding *s, size_t u, size_t *count, const size_t *owner)
{
    const unit *whole = &s->p->units[u];
    size_t runs = 0;
    for (size_t i = whole->first; owner && i < whole->first + whole->tensors; i++)
        if (owner[i] < s->ranks)
            put_run(s, count, runs++ ? s->p->tensors[i].index - whole->index : 0, owner[i]);
    return runs;
}

static void cut_chunks(sharding *s, size_t u, size_t *count)
{
    size_t elements = s->p->units[u].count;
    size_t blocks = (elements + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
    size_t chunk = (blocks + s->ranks - 1) / s->ranks * PARAMETER_BLOCK;
    for (size_t r = 0; r < s->ranks; r++) put_run(s, count, minimum(r * chunk, elements), r);
}

static void cut_units(sharding *s, const size_t *owner)
{
    size_t count = 0;
    for (size_t u = 0; u < s->p->unit_count; u++) {
        s->unit_runs[u] = count;
        if (!cut_whole(s, u, &count, owner)) cut_chunks(s, u, &count);
        put_run(s, &count, s->p->units[u].count, s->ranks);
    }
    s->unit_runs[s->p->unit_count] = count;
}

/* The parts of a unit's tensors that lie in a run of this rank's. */
static void slice_run(sharding *s, size_t u, size_t run)
{
    const unit *whole = &s->p->units[u];
    size_t begin = whole->index + sharding_first(s, u, run);
    size_t end = whole->index + sharding_first(s, u, run + 1);
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

status sharding_open_dealt(sharding *s, const parameters *p, size_t ranks, size_t rank,
                           const size_t *owner)
{
    size_t runs = p->unit_count * (ranks + 1) + p->tensor_count;
    *s = (sharding){.p = p, .ranks = ranks, .rank = rank};
    s->unit_runs = calloc(p->unit_count + 1, sizeof *s->unit_runs);
    s->first = calloc(runs, sizeof *s->first);
    s->owner = calloc(runs, sizeof *s->owner);
    s->owned = calloc(p->tensor_count, sizeof *s->owned);
    s->unit_slices = calloc(p->unit_count + 1, sizeof *s->unit_slices);
    if (!s->unit_runs || !s->first || !s->owner || !s->owned || !s->unit_slices) {
        sharding_close(s);
        return fail(STATUS_NOMEM, "memory for the sharding of %zu tensors", p->tensor_count);
    }
    cut_units(s, owner);
    for (size_t u = 0; u < p->unit_count; u++) {
        for (size_t run = 0; run < sharding_runs(s, u); run++)
            if (sharding_owner(s, u, run) == rank) slice_run(s, u, run);
        s->unit_slices[u + 1] = s->owned_count;
    }
    return STATUS_OK;
}

status sharding_open(sharding *s, const parameters *p, size_t ranks, size_t rank)
{
    return sharding_open_dealt(s, p, ranks, rank, NULL);
}

void sharding_close(sharding *s)
{
    free(s->unit_runs);
    free(s->first);
    free(s->owner);
    free(s->owned);
    free(s->unit_slices);
    *s = (sharding){0};
}
