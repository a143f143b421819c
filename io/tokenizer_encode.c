/* Merging: again and again the pair of the lowest rank, everywhere in the piece from left to right.
 * Short pieces find it by looking at all ranks, long ones keep a heap of (rank, place), so that n
 * bytes take O(n log n). The tokens of pieces of up to 15 bytes are remembered. */
#include "io/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_BYTES = 15, KEPT_TOKENS = 7, CACHE_BITS = 15, SHORT_BYTES = 96 };

typedef struct {
    uint64_t key[2]; /* the bytes, zeros, in the last byte how many; all zero: nothing kept */
    uint16_t tokens[KEPT_TOKENS], count;
} kept_piece;

/* A token of a long piece, in a doubly linked list. */
typedef struct {
    uint32_t before, after; /* places; NOWHERE at the ends */
    uint16_t token;
    bool gone; /* merged into the one before */
} node;

enum { NOWHERE = UINT32_MAX };

struct encoder {
    const tokenizer *t;
    pcre2_match_data *match;
    kept_piece *cache;
    node *nodes;
    uint64_t *heap;   /* rank << 32 | place, smallest first */
    uint32_t *places; /* of the rank being merged */
    size_t capacity, heap_count;
};

status encoder_open(encoder **out, const tokenizer *t)
{
    encoder *e = *out = calloc(1, sizeof *e);
    if (!e) return fail(STATUS_NOMEM, "memory to encode text");
    e->t = t;
    e->match = pcre2_match_data_create(1, NULL);
    e->cache = aligned_alloc(64, sizeof *e->cache << CACHE_BITS);
    if (e->match && e->cache) {
        memset(e->cache, 0, sizeof *e->cache << CACHE_BITS);
        return STATUS_OK;
    }
    encoder_close(out);
    return fail(STATUS_NOMEM, "memory to encode text");
}

void encoder_close(encoder **out)
{
    encoder *e = *out;
    if (!e) return;
    pcre2_match_data_free(e->match);
    free(e->cache);
    free(e->nodes);
    free(e->heap);
    free(e->places);
    free(e);
    *out = NULL;
}

bool token_list_reserve(token_list *out, size_t more)
{
    if (out->capacity - out->count >= more) return true;
    size_t capacity = 2 * out->capacity + more + 1024;
    uint16_t *larger = realloc(out->values, capacity * sizeof *larger);
    if (!larger) return false;
    out->values = larger;
    out->capacity = capacity;
    return true;
}

/* Merge every place of one rank; returns how many tokens are left. ranks[i] is that of i and i + 1.
 */
static size_t merge_rank(const tokenizer *t, uint16_t *tokens, uint32_t *ranks, size_t count,
                         uint32_t rank)
{
    for (size_t i = 0; i + 1 < count; i++) {
        if (ranks[i] != rank) continue;
        tokens[i] = t->merged[rank];
        count--;
        memmove(tokens + i + 1, tokens + i + 2, (count - i - 1) * sizeof *tokens);
        memmove(ranks + i + 1, ranks + i + 2, (count - i - 1) * sizeof *ranks);
        ranks[i] = i + 1 < count ? pair_rank(t, tokens[i], tokens[i + 1]) : RANK_NONE;
        if (i > 0) ranks[i - 1] = pair_rank(t, tokens[i - 1], tokens[i]);
    }
    return count;
}

static size_t merge_short(const tokenizer *t, const unsigned char *piece, size_t size,
                          uint16_t *tokens)
{
    uint32_t ranks[SHORT_BYTES + 1];
    size_t count = size;
    for (size_t i = 0; i < size; i++) tokens[i] = t->of_byte[piece[i]];
    for (size_t i = 0; i + 1 < size; i++) ranks[i] = pair_rank(t, tokens[i], tokens[i + 1]);
    ranks[size - 1] = RANK_NONE;
    for (;;) {
        uint32_t least = RANK_NONE;
        for (size_t i = 0; i < count; i++) least = ranks[i] < least ? ranks[i] : least;
        if (least == RANK_NONE) return count;
        count = merge_rank(t, tokens, ranks, count, least);
    }
}

static bool long_room(encoder *e, size_t size)
{
    if (size <= e->capacity) return true;
    if (size >= NOWHERE / 2) return false;
    free(e->nodes);
    free(e->heap);
    free(e->places);
    e->nodes = malloc(size * sizeof *e->nodes);
    /* A merge takes an entry away and brings two at most, and there are fewer than `size`. */
    e->heap = malloc(2 * size * sizeof *e->heap);
    e->places = malloc(size * sizeof *e->places);
    e->capacity = e->nodes && e->heap && e->places ? size : 0;
    return e->capacity > 0;
}

static void sift_down(uint64_t *heap, size_t count, size_t i)
{
    uint64_t moved = heap[i];
    for (size_t child = 2 * i + 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= moved) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void push(encoder *e, uint32_t place)
{
    const node *left = &e->nodes[place];
    uint32_t rank = pair_rank(e->t, left->token, e->nodes[left->after].token);
    if (rank == RANK_NONE) return;
    uint64_t entry = (uint64_t)rank << 32 | place;
    size_t i = e->heap_count++;
    for (; i > 0 && e->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = entry;
}

static uint64_t pop(encoder *e)
{
    uint64_t first = e->heap[0];
    e->heap[0] = e->heap[--e->heap_count];
    if (e->heap_count > 0) sift_down(e->heap, e->heap_count, 0);
    return first;
}

static void fill_long(encoder *e, const unsigned char *piece, size_t size)
{
    const tokenizer *t = e->t;
    for (size_t i = 0; i < size; i++)
        e->nodes[i] = (node){.before = i > 0 ? (uint32_t)i - 1 : NOWHERE,
                             .after = i + 1 < size ? (uint32_t)i + 1 : NOWHERE,
                             .token = t->of_byte[piece[i]]};
    e->heap_count = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        uint32_t rank = pair_rank(t, e->nodes[i].token, e->nodes[i + 1].token);
        if (rank != RANK_NONE) e->heap[e->heap_count++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = e->heap_count / 2; i-- > 0;) sift_down(e->heap, e->heap_count, i);
}

/* Make one token of a place and the next. */
static void merge_place(encoder *e, uint32_t place, uint32_t rank)
{
    node *left = &e->nodes[place], *right;
    if (left->gone || left->after == NOWHERE) return;
    right = &e->nodes[left->after];
    if (pair_rank(e->t, left->token, right->token) != rank) return; /* merged otherwise since */
    left->token = e->t->merged[rank];
    left->after = right->after;
    right->gone = true;
    if (left->after != NOWHERE) {
        e->nodes[left->after].before = place;
        push(e, place);
    }
    if (left->before != NOWHERE) push(e, left->before);
}

/* All places of a rank are taken out before the first is merged: a file may have merges that come
 * before what they are made of. */
static bool append_long(encoder *e, const unsigned char *piece, size_t size, token_list *out)
{
    if (!long_room(e, size)) return false;
    fill_long(e, piece, size);
    while (e->heap_count > 0) {
        uint32_t rank = (uint32_t)(e->heap[0] >> 32);
        size_t count = 0;
        while (e->heap_count > 0 && e->heap[0] >> 32 == rank) {
            uint32_t place = (uint32_t)pop(e);
            if (count == 0 || e->places[count - 1] != place) e->places[count++] = place;
        }
        for (size_t i = 0; i < count; i++) merge_place(e, e->places[i], rank);
    }
    for (uint32_t i = 0; i != NOWHERE; i = e->nodes[i].after)
        out->values[out->count++] = e->nodes[i].token;
    return true;
}

static kept_piece *find_kept(encoder *e, const unsigned char *piece, size_t size, uint64_t key[2])
{
    key[0] = key[1] = 0;
    memcpy(key, piece, size);
    key[1] |= (uint64_t)size << 56;
    uint64_t hash = (key[0] ^ key[1] * 0x9e3779b97f4a7c15U) * 0xd6e8feb86659fd93U;
    return &e->cache[hash >> (64 - CACHE_BITS)];
}

static void append_short(encoder *e, const unsigned char *piece, size_t size, token_list *out)
{
    uint16_t *tokens = out->values + out->count;
    size_t count;
    if (size > KEPT_BYTES) {
        out->count += merge_short(e->t, piece, size, tokens);
        return;
    }
    uint64_t key[2];
    kept_piece *kept = find_kept(e, piece, size, key);
    if (kept->key[0] == key[0] && kept->key[1] == key[1]) {
        memcpy(tokens, kept->tokens, sizeof kept->tokens);
        out->count += kept->count;
        return;
    }
    out->count += count = merge_short(e->t, piece, size, tokens);
    if (count > KEPT_TOKENS) return;
    memcpy(kept->key, key, sizeof kept->key);
    memcpy(kept->tokens, tokens, count * sizeof *tokens);
    kept->count = (uint16_t)count;
}

bool encoder_append_piece(encoder *e, const unsigned char *piece, size_t size, token_list *out)
{
    if (!token_list_reserve(out, size + KEPT_TOKENS)) return false;
    if (size > SHORT_BYTES) return append_long(e, piece, size, out);
    append_short(e, piece, size, out);
    return true;
}

splitter encoder_split(encoder *e, const void *text, size_t size)
{
    return (splitter){.pattern = e->t->pattern, .match = e->match, .text = text, .size = size};
}

bool encoder_append(encoder *e, const void *text, size_t size, token_list *out)
{
    splitter s = encoder_split(e, text, size);
    for (size_t begin = 0, n; (n = splitter_next(&s)) > 0; begin = s.at)
        if (!encoder_append_piece(e, s.text + begin, n, out)) return false;
    return true;
}

size_t encoder_count_pieces(encoder *e, const void *text, size_t size)
{
    splitter s = encoder_split(e, text, size);
    size_t count = 0;
    while (splitter_next(&s) > 0) count++;
    return count;
}
