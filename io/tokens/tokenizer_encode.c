/* Merging: again and again the pair of the lowest rank, everywhere in the piece from left to right.
 * Short pieces find it by looking at all ranks. Long ones keep a list of places for each rank and a
 * bit for each list that is not empty: every merge takes a bounded time, whatever the length. The
 * tokens of pieces of up to 15 bytes are remembered. */
#include "io/tokens/tokenizer_parts.h"

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

/* A place where a pair began, in the list of its rank. */
typedef struct {
    uint32_t place, next; /* NOWHERE: the last */
} waiting;

enum { NOWHERE = UINT32_MAX };

struct encoder {
    const tokenizer *t;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    int error; /* of the last text */
    char sentence[256];
    kept_piece *cache;
    node *nodes;
    waiting *list; /* [list_count] of all ranks */
    size_t capacity, list_count;
    uint32_t *first;         /* [merges] in list, NOWHERE: none waits */
    uint64_t *bits, *groups; /* a bit a rank, and one for each word of these */
    size_t group_count;
};

status encoder_open(encoder **out, const tokenizer *t)
{
    encoder *e = *out = calloc(1, sizeof *e);
    if (!e) return fail(STATUS_NOMEM, "memory to encode text");
    e->t = t;
    e->match = pcre2_match_data_create(1, NULL);
    e->limits = splitter_limits();
    e->cache = aligned_alloc(64, sizeof *e->cache << CACHE_BITS);
    e->group_count = t->merges / (64 * 64) + 1;
    e->groups = calloc(e->group_count, sizeof *e->groups);
    e->bits = calloc(64 * e->group_count, sizeof *e->bits);
    e->first = malloc((t->merges + 1) * sizeof *e->first);
    if (e->match && e->limits && e->cache && e->groups && e->bits && e->first) {
        memset(e->cache, 0, sizeof *e->cache << CACHE_BITS);
        memset(e->first, 0xff, (t->merges + 1) * sizeof *e->first);
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
    pcre2_match_context_free(e->limits);
    free(e->cache);
    free(e->nodes);
    free(e->list);
    free(e->first);
    free(e->bits);
    free(e->groups);
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
        uint32_t min = RANK_NONE;
        for (size_t i = 0; i < count; i++) min = ranks[i] < min ? ranks[i] : min;
        if (min == RANK_NONE) return count;
        count = merge_rank(t, tokens, ranks, count, min);
    }
}

static bool long_room(encoder *e, size_t size)
{
    if (size <= e->capacity) return true;
    if (size >= NOWHERE / 3) return false;
    free(e->nodes);
    free(e->list);
    e->nodes = malloc(size * sizeof *e->nodes);
    e->list = malloc(3 * size * sizeof *e->list); /* a merge brings two pairs at most */
    e->capacity = e->nodes && e->list ? size : 0;
    return e->capacity > 0;
}

/* A pair begins at a place. */
static void await(encoder *e, uint32_t place)
{
    const node *left = &e->nodes[place];
    uint32_t rank = pair_rank(e->t, left->token, e->nodes[left->after].token);
    if (rank == RANK_NONE) return;
    e->list[e->list_count] = (waiting){place, e->first[rank]};
    e->first[rank] = (uint32_t)e->list_count++;
    e->bits[rank / 64] |= 1ULL << rank % 64;
    e->groups[rank / 64 / 64] |= 1ULL << rank / 64 % 64;
}

/* Empty the list of the lowest rank that has one; its first entry, NOWHERE when there is none. */
static uint32_t take_lowest(encoder *e, uint32_t *rank)
{
    size_t group = 0;
    while (group < e->group_count && e->groups[group] == 0) group++;
    if (group == e->group_count) return NOWHERE;
    size_t word = 64 * group + (size_t)__builtin_ctzll(e->groups[group]);
    *rank = (uint32_t)(64 * word) + (uint32_t)__builtin_ctzll(e->bits[word]);
    e->bits[word] &= e->bits[word] - 1;
    if (e->bits[word] == 0) e->groups[group] &= e->groups[group] - 1;
    uint32_t first = e->first[*rank];
    e->first[*rank] = NOWHERE;
    return first;
}

static void fill_long(encoder *e, const unsigned char *piece, size_t size)
{
    for (size_t i = 0; i < size; i++)
        e->nodes[i] = (node){.before = i > 0 ? (uint32_t)i - 1 : NOWHERE,
                             .after = i + 1 < size ? (uint32_t)i + 1 : NOWHERE,
                             .token = e->t->of_byte[piece[i]]};
    e->list_count = 0;
    for (size_t i = size - 1; i-- > 0;) await(e, (uint32_t)i); /* so that lists begin on the left */
}

/* Make one token of a place and the next, if they still are a pair of this rank. */
static bool merge_place(encoder *e, uint32_t place, uint32_t rank)
{
    node *left = &e->nodes[place], *right;
    if (left->gone || left->after == NOWHERE) return false;
    right = &e->nodes[left->after];
    if (pair_key(left->token, right->token) != e->t->pairs[rank]) return false;
    left->token = e->t->merged[rank];
    left->after = right->after;
    right->gone = true;
    if (left->after != NOWHERE) {
        e->nodes[left->after].before = place;
        await(e, place);
    }
    if (left->before != NOWHERE) await(e, left->before);
    return true;
}

/* Places of different tokens do not overlap, and their order does not matter. A row of the same
 * token is merged from where it begins. */
static void merge_place_or_row(encoder *e, uint32_t place, uint32_t rank)
{
    uint32_t token = e->t->pairs[rank] >> 16;
    const node *nodes = e->nodes;
    if (e->t->pairs[rank] != pair_key(token, token)) {
        merge_place(e, place, rank);
        return;
    }
    if (nodes[place].gone || nodes[place].token != token) return;
    while (nodes[place].before != NOWHERE && nodes[nodes[place].before].token == token)
        place = nodes[place].before;
    while (place != NOWHERE && merge_place(e, place, rank)) place = nodes[place].after;
}

static bool append_long(encoder *e, const unsigned char *piece, size_t size, token_list *out)
{
    uint32_t rank = 0;
    if (!long_room(e, size)) return false;
    fill_long(e, piece, size);
    for (uint32_t at; (at = take_lowest(e, &rank)) != NOWHERE;)
        for (; at != NOWHERE; at = e->list[at].next) merge_place_or_row(e, e->list[at].place, rank);
    for (uint32_t i = 0; i != NOWHERE; i = e->nodes[i].after)
        out->values[out->count++] = e->nodes[i].token;
    return true;
}

static kept_piece *find_kept(encoder *e, const unsigned char *piece, size_t size, uint64_t key[2])
{
    key[0] = key[1] = 0;
    memcpy(key, piece, size);
    ((unsigned char *)key)[KEPT_BYTES] = (unsigned char)size;
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

static bool append_part(encoder *e, const unsigned char *part, size_t size, token_list *out)
{
    if (size > SHORT_BYTES) return append_long(e, part, size, out);
    append_short(e, part, size, out);
    return true;
}

/* Nothing is merged over two bytes that no merge joins: what lies between such places is a piece of
 * its own, mostly a short one. */
bool encoder_append_piece(encoder *e, const unsigned char *piece, size_t size, token_list *out)
{
    if (!token_list_reserve(out, size + KEPT_TOKENS)) return false;
    size_t begin = 0;
    for (size_t i = 1; i < size && size > KEPT_BYTES; i++) {
        if (e->t->joins[piece[i - 1]][piece[i]]) continue;
        if (!append_part(e, piece + begin, i - begin, out)) return false;
        begin = i;
    }
    return append_part(e, piece + begin, size - begin, out);
}

splitter encoder_split(encoder *e, const void *text, size_t size)
{
    e->error = 0;
    return (splitter){.pattern = e->t->pattern,
                      .match = e->match,
                      .limits = e->limits,
                      .error = &e->error,
                      .text = text,
                      .size = size};
}

const char *encoder_error(encoder *e)
{
    if (e->error == 0) return NULL;
    pcre2_get_error_message(e->error, (PCRE2_UCHAR *)e->sentence, sizeof e->sentence);
    return e->sentence;
}

bool encoder_append(encoder *e, const void *text, size_t size, token_list *out)
{
    splitter s = encoder_split(e, text, size);
    for (size_t begin = 0, n; (n = splitter_next(&s)) > 0; begin = s.at)
        if (!encoder_append_piece(e, s.text + begin, n, out)) return false;
    return e->error == 0;
}

size_t encoder_count_pieces(encoder *e, const void *text, size_t size)
{
    splitter s = encoder_split(e, text, size);
    size_t count = 0;
    while (splitter_next(&s) > 0) count++;
    return count;
}
