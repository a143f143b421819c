/* Learning a BPE. Each distinct piece is kept once, with its count, as a linked list of tokens;
 * each pair knows the places where it stood, so that a merge costs what it changes. Of a pair's
 * counts those in the heap may be too high: it is looked at again when it comes first. */
#include "io/tokens/tokenizer_parts.h"
#include "runtime/free_memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { NOWHERE = UINT32_MAX, LARGE_BYTES = 1 << 26 };

/* ---- a table of byte strings, each with a number ---- */

typedef struct {
    size_t first, size; /* in bytes */
    uint64_t hash, count;
} counted;

struct piece_counts {
    unsigned char *bytes;
    counted *pieces;
    uint32_t *slots; /* piece + 1, 0 where it is empty */
    size_t size, capacity, pieces_count, pieces_capacity, slot_count;
};

piece_counts *piece_counts_open(void)
{
    return calloc(1, sizeof(piece_counts));
}

void piece_counts_close(piece_counts **c)
{
    if (!*c) return;
    free((*c)->bytes);
    free((*c)->pieces);
    free((*c)->slots);
    free(*c);
    *c = NULL;
}

/* Whether this host and this process have so many bytes; little is not asked for. */
static bool has_room(size_t bytes)
{
    char ignored[512];
    return bytes < LARGE_BYTES || free_memory_has((double)bytes, 1, ignored, sizeof ignored);
}

/* Make room for `more` elements behind count; false without memory. */
static bool grow(void **array, size_t *capacity, size_t count, size_t more, size_t bytes)
{
    if (*capacity - count >= more) return true;
    size_t larger = 2 * *capacity + more, total;
    if (__builtin_mul_overflow(larger, bytes, &total) || !has_room(total)) return false;
    void *moved = realloc(*array, total);
    if (!moved) return false;
    *array = moved;
    *capacity = larger;
    return true;
}

static bool grow_slots(piece_counts *c)
{
    if (2 * c->pieces_count < c->slot_count) return true;
    size_t larger = c->slot_count ? 2 * c->slot_count : 1024;
    uint32_t *slots = calloc(larger, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < c->pieces_count; i++) {
        size_t at = c->pieces[i].hash & (larger - 1);
        while (slots[at]) at = (at + 1) & (larger - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->slot_count = larger;
    return true;
}

/* The piece of these bytes, or the slot where it belongs. */
static counted *find_piece(const piece_counts *c, const void *bytes, size_t size, uint64_t hash,
                           size_t *slot)
{
    size_t at = hash & (c->slot_count - 1);
    for (; c->slots[at]; at = (at + 1) & (c->slot_count - 1)) {
        counted *piece = &c->pieces[c->slots[at] - 1];
        if (piece->hash == hash && piece->size == size &&
            memcmp(c->bytes + piece->first, bytes, size) == 0)
            return piece;
    }
    *slot = at;
    return NULL;
}

static bool add_count(piece_counts *c, const void *bytes, size_t size, uint64_t count)
{
    uint64_t hash = XXH3_64bits(bytes, size);
    size_t slot;
    if (!grow_slots(c)) return false;
    counted *piece = find_piece(c, bytes, size, hash, &slot);
    if (piece) {
        piece->count += count;
        return true;
    }
    if (c->pieces_count == NOWHERE - 1 ||
        !grow((void **)&c->bytes, &c->capacity, c->size, size, 1) ||
        !grow((void **)&c->pieces, &c->pieces_capacity, c->pieces_count, 1, sizeof *c->pieces))
        return false;
    memcpy(c->bytes + c->size, bytes, size);
    c->pieces[c->pieces_count++] = (counted){c->size, size, hash, count};
    c->size += size;
    c->slots[slot] = (uint32_t)c->pieces_count;
    return true;
}

bool piece_counts_add(piece_counts *c, encoder *e, const void *text, size_t size)
{
    splitter s = encoder_split(e, text, size);
    for (size_t begin = 0, n; (n = splitter_next(&s)) > 0; begin = s.at)
        if (!add_count(c, s.text + begin, n, 1)) return false;
    return *s.error == 0;
}

bool piece_counts_merge(piece_counts *c, const piece_counts *from)
{
    for (size_t i = 0; i < from->pieces_count; i++) {
        const counted *piece = &from->pieces[i];
        if (!add_count(c, from->bytes + piece->first, piece->size, piece->count)) return false;
    }
    return true;
}

/* ---- pairs ---- */

typedef struct {
    uint32_t key;
    uint32_t step; /* the last that brought places */
    uint64_t count;
    uint32_t *places;
    size_t place_count, place_capacity;
} pair;

typedef struct {
    uint64_t count;
    uint32_t key, pair;
} candidate;

typedef struct {
    tokenizer *t;
    const piece_counts *counts;
    piece_counts *known; /* bytes of all tokens */
    /* [length] of all pieces */
    uint16_t *tokens;
    uint32_t *before, *after, *owner;
    size_t length;
    pair *pairs;
    uint32_t *slots; /* pair + 1, 0 where it is empty */
    size_t pair_count, pair_capacity, slot_count;
    candidate *heap;
    size_t heap_count, heap_capacity;
    uint32_t *fresh; /* pairs that the step brought */
    size_t fresh_count, fresh_capacity;
    uint32_t step;
} learning;

static size_t pair_slot(const learning *l, uint32_t key)
{
    size_t at = (key * 0x9e3779b97f4a7c15U >> 20) & (l->slot_count - 1);
    while (l->slots[at] && l->pairs[l->slots[at] - 1].key != key)
        at = (at + 1) & (l->slot_count - 1);
    return at;
}

static bool grow_pairs(learning *l)
{
    if (!grow((void **)&l->pairs, &l->pair_capacity, l->pair_count, 1, sizeof *l->pairs))
        return false;
    if (2 * l->pair_count < l->slot_count) return true;
    free(l->slots);
    l->slot_count = l->slot_count ? 2 * l->slot_count : 1 << 16;
    l->slots = calloc(l->slot_count, sizeof *l->slots);
    if (!l->slots) return false;
    for (size_t i = 0; i < l->pair_count; i++)
        l->slots[pair_slot(l, l->pairs[i].key)] = (uint32_t)i + 1;
    return true;
}

static uint64_t weight(const learning *l, uint32_t place)
{
    return l->counts->pieces[l->owner[place]].count;
}

/* A pair begins at a place. */
static bool add_place(learning *l, uint32_t place)
{
    uint32_t key = pair_key(l->tokens[place], l->tokens[l->after[place]]);
    if (!grow_pairs(l)) return false;
    size_t slot = pair_slot(l, key);
    if (!l->slots[slot]) {
        l->pairs[l->pair_count++] = (pair){.key = key, .step = NOWHERE};
        l->slots[slot] = (uint32_t)l->pair_count;
    }
    pair *p = &l->pairs[l->slots[slot] - 1];
    if (p->step != l->step) {
        p->step = l->step;
        if (!grow((void **)&l->fresh, &l->fresh_capacity, l->fresh_count, 1, sizeof *l->fresh))
            return false;
        l->fresh[l->fresh_count++] = l->slots[slot] - 1;
    }
    if (!grow((void **)&p->places, &p->place_capacity, p->place_count, 1, sizeof *p->places))
        return false;
    p->places[p->place_count++] = place;
    p->count += weight(l, place);
    return true;
}

static void remove_place(learning *l, uint32_t place)
{
    uint32_t key = pair_key(l->tokens[place], l->tokens[l->after[place]]);
    l->pairs[l->slots[pair_slot(l, key)] - 1].count -= weight(l, place);
}

/* ---- the heap: most frequent first, then the lower key ---- */

static bool is_better(const candidate *a, const candidate *b)
{
    return a->count > b->count || (a->count == b->count && a->key < b->key);
}

static bool push(learning *l, uint32_t index)
{
    candidate moved = {l->pairs[index].count, l->pairs[index].key, index};
    if (moved.count < 2) return true;
    if (!grow((void **)&l->heap, &l->heap_capacity, l->heap_count, 1, sizeof *l->heap))
        return false;
    size_t i = l->heap_count++;
    for (; i > 0 && is_better(&moved, &l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = moved;
    return true;
}

static candidate pop(learning *l)
{
    candidate first = l->heap[0], moved = l->heap[--l->heap_count];
    size_t i = 0;
    for (size_t child = 1; child < l->heap_count; child = 2 * i + 1) {
        if (child + 1 < l->heap_count && is_better(&l->heap[child + 1], &l->heap[child])) child++;
        if (!is_better(&l->heap[child], &moved)) break;
        l->heap[i] = l->heap[child];
        i = child;
    }
    if (l->heap_count > 0) l->heap[i] = moved;
    return first;
}

static bool push_fresh(learning *l)
{
    for (size_t i = 0; i < l->fresh_count; i++)
        if (!push(l, l->fresh[i])) return false;
    l->fresh_count = 0;
    return true;
}

/* ---- merges ---- */

static bool merge_place(learning *l, uint32_t place, uint32_t key, uint16_t merged)
{
    uint32_t next = l->after[place];
    if (next == NOWHERE || pair_key(l->tokens[place], l->tokens[next]) != key) return true;
    uint32_t before = l->before[place], after = l->after[next];
    if (before != NOWHERE) remove_place(l, before);
    if (after != NOWHERE) remove_place(l, next);
    remove_place(l, place);
    l->tokens[place] = merged;
    l->after[place] = after;
    l->after[next] = NOWHERE; /* no pair begins there any more */
    if (after != NOWHERE) l->before[after] = place;
    return (before == NOWHERE || add_place(l, before)) && (after == NOWHERE || add_place(l, place));
}

static bool merge_pair(learning *l, uint32_t index, uint16_t merged)
{
    uint32_t key = l->pairs[index].key;
    uint32_t *places = l->pairs[index].places;
    size_t count = l->pairs[index].place_count;
    l->pairs[index].places = NULL;
    l->pairs[index].place_count = l->pairs[index].place_capacity = 0;
    l->step++;
    bool fits = true;
    for (size_t i = 0; fits && i < count; i++) fits = merge_place(l, places[i], key, merged);
    free(places);
    return fits && push_fresh(l);
}

/* The bytes of a pair become the next token, unless they are one. */
static status add_merge(learning *l, uint32_t index, bool *added)
{
    uint32_t key = l->pairs[index].key;
    size_t left, right, slot;
    const unsigned char *a = token_at(l->t, key >> 16, &left);
    const unsigned char *b = token_at(l->t, key & 0xffff, &right);
    unsigned char *both = malloc(left + right);
    status result = both ? STATUS_OK : fail(STATUS_NOMEM, "memory to learn a token");
    if (!result) {
        memcpy(both, a, left);
        memcpy(both + left, b, right);
        uint64_t hash = XXH3_64bits(both, left + right);
        *added = !find_piece(l->known, both, left + right, hash, &slot);
        if (*added) {
            uint16_t merged = (uint16_t)l->t->tokens.count;
            result = tokenizer_add_token(l->t, both, left + right);
            if (!result) tokenizer_add_merge(l->t, (uint16_t)(key >> 16), (uint16_t)key, merged);
            if (!result &&
                (!add_count(l->known, both, left + right, 1) || !merge_pair(l, index, merged)))
                result = fail(STATUS_NOMEM, "memory to learn token %u", merged);
        }
    }
    free(both);
    return result;
}

static status run_merges(learning *l, size_t size)
{
    while (l->t->tokens.count < size - 1) {
        if (l->heap_count == 0)
            return fail(STATUS_INPUT,
                        "the texts' pairs that occur twice give %zu tokens, %zu expected: more "
                        "text or a smaller vocabulary",
                        l->t->tokens.count + 1, size);
        candidate best = pop(l);
        bool added;
        status result = STATUS_OK;
        if (best.count == l->pairs[best.pair].count)
            result = add_merge(l, best.pair, &added);
        else if (!push(l, best.pair))
            result = fail(STATUS_NOMEM, "memory to learn tokens");
        if (result) return result;
    }
    return STATUS_OK;
}

/* ---- from counts to a tokenizer ---- */

static bool fill(learning *l)
{
    const piece_counts *c = l->counts;
    l->length = c->size;
    if (!has_room((l->length + 1) * (sizeof *l->tokens + 3 * sizeof *l->owner))) return false;
    l->tokens = malloc((l->length + 1) * sizeof *l->tokens);
    l->before = malloc((l->length + 1) * sizeof *l->before);
    l->after = malloc((l->length + 1) * sizeof *l->after);
    l->owner = malloc((l->length + 1) * sizeof *l->owner);
    if (!l->tokens || !l->before || !l->after || !l->owner || l->length >= NOWHERE) return false;
    for (size_t i = 0; i < c->pieces_count; i++)
        for (size_t n = 0; n < c->pieces[i].size; n++) {
            size_t at = c->pieces[i].first + n;
            l->tokens[at] = l->t->of_byte[c->bytes[at]];
            l->owner[at] = (uint32_t)i;
            l->before[at] = n > 0 ? (uint32_t)at - 1 : NOWHERE;
            l->after[at] = n + 1 < c->pieces[i].size ? (uint32_t)at + 1 : NOWHERE;
        }
    for (uint32_t at = 0; at < l->length; at++)
        if (l->after[at] != NOWHERE && !add_place(l, at)) return false;
    return push_fresh(l);
}

static status add_bytes(learning *l)
{
    for (size_t i = 0; i < BYTES; i++) {
        unsigned char byte = tokenizer_byte(i);
        status result = tokenizer_add_token(l->t, &byte, 1);
        if (result) return result;
        if (!add_count(l->known, &byte, 1, 1)) return fail(STATUS_NOMEM, "memory to learn tokens");
    }
    return STATUS_OK;
}

static void close_learning(learning *l)
{
    for (size_t i = 0; i < l->pair_count; i++) free(l->pairs[i].places);
    free(l->tokens);
    free(l->before);
    free(l->after);
    free(l->owner);
    free(l->pairs);
    free(l->slots);
    free(l->heap);
    free(l->fresh);
    piece_counts_close(&l->known);
}

status tokenizer_learn(tokenizer **out, const piece_counts *counts, size_t size)
{
    learning l = {.counts = counts, .known = piece_counts_open()};
    status result = l.known ? STATUS_OK : fail(STATUS_NOMEM, "memory to learn tokens");
    if (!result) result = tokenizer_new(&l.t, size, size);
    if (!result) result = add_bytes(&l);
    if (!result && counts && !fill(&l))
        result = fail(STATUS_NOMEM, "memory to learn tokens from %zu bytes of different pieces",
                      counts->size);
    if (!result && counts) result = run_merges(&l, size);
    if (!result) result = tokenizer_add_token(l.t, "<|endoftext|>", 13);
    close_learning(&l);
    if (result) tokenizer_close(&l.t);
    *out = l.t;
    return result;
}
