/* The vocabulary: bytes of tokens, and a hash table from pairs of tokens to ranks of merges. */
#include "io/tokens/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static unsigned table_bits(size_t merges)
{
    unsigned bits = 8;
    while (((size_t)1 << bits) < 2 * merges + merges / 2) bits++;
    return bits;
}

status tokenizer_new(tokenizer **out, size_t tokens, size_t merges)
{
    tokenizer *t = *out = calloc(1, sizeof *t);
    if (!t) return fail(STATUS_NOMEM, "memory for a tokenizer");
    unsigned bits = table_bits(merges);
    size_t slot_bytes = sizeof *t->slots << bits;
    t->end_of_text = -1;
    t->slot_shift = 32 - bits;
    t->slots = aligned_alloc(64, slot_bytes);
    t->pairs = malloc((merges + 1) * sizeof *t->pairs);
    t->merged = malloc((merges + 1) * sizeof *t->merged);
    t->tokens.first = calloc(tokens + 1, sizeof *t->tokens.first);
    t->pattern = splitter_compile();
    if (t->slots && t->pairs && t->merged && t->tokens.first && t->pattern) {
        memset(t->slots, 0xff, slot_bytes);
        return STATUS_OK;
    }
    tokenizer_close(out);
    return fail(STATUS_NOMEM, "memory for a tokenizer of %zu tokens", tokens);
}

void tokenizer_close(tokenizer **out)
{
    tokenizer *t = *out;
    if (!t) return;
    pcre2_code_free(t->pattern);
    free(t->tokens.bytes);
    free(t->tokens.first);
    free(t->pairs);
    free(t->merged);
    free(t->slots);
    free(t);
    *out = NULL;
}

status tokenizer_add_token(tokenizer *t, const void *bytes, size_t size)
{
    token_bytes *all = &t->tokens;
    if (all->capacity - all->size < size) {
        size_t capacity = 2 * all->capacity + size + 4096;
        unsigned char *larger = capacity < UINT32_MAX ? realloc(all->bytes, capacity) : NULL;
        if (!larger) return fail(STATUS_NOMEM, "memory for the bytes of tokens");
        all->bytes = larger;
        all->capacity = capacity;
    }
    memcpy(all->bytes + all->size, bytes, size);
    all->size += size;
    all->first[++all->count] = (uint32_t)all->size;
    static const char end[] = "<|endoftext|>";
    if (size == sizeof end - 1 && memcmp(bytes, end, size) == 0)
        t->end_of_text = (int)all->count - 1;
    if (size == 1) t->of_byte[*(const unsigned char *)bytes] = (uint16_t)(all->count - 1);
    return STATUS_OK;
}

bool tokenizer_add_merge(tokenizer *t, uint16_t left, uint16_t right, uint16_t merged)
{
    uint32_t key = pair_key(left, right);
    if (pair_rank(t, left, right) != RANK_NONE) return false;
    size_t mask = ((size_t)1 << (32 - t->slot_shift)) - 1;
    size_t i = (key * 0x9e3779b1U) >> t->slot_shift;
    while (t->slots[i & mask] != UINT64_MAX) i++;
    t->slots[i & mask] = (uint64_t)key << 32 | t->merges;
    size_t size, unused;
    const unsigned char *end = token_at(t, left, &size), *begin = token_at(t, right, &unused);
    t->joins[end[size - 1]][*begin] = true;
    t->pairs[t->merges] = key;
    t->merged[t->merges++] = merged;
    return true;
}

size_t tokenizer_count(const tokenizer *t)
{
    return t->tokens.count;
}

int tokenizer_end_of_text(const tokenizer *t)
{
    return t->end_of_text;
}

const void *tokenizer_bytes(const tokenizer *t, uint16_t token, size_t *size)
{
    return token_at(t, token, size);
}

uint64_t tokenizer_digest(const tokenizer *t)
{
    uint64_t hash = XXH3_64bits(t->tokens.bytes, t->tokens.size);
    hash = XXH3_64bits_withSeed(t->tokens.first, (t->tokens.count + 1) * sizeof(uint32_t), hash);
    hash = XXH3_64bits_withSeed(t->pairs, t->merges * sizeof *t->pairs, hash);
    return XXH3_64bits_withSeed(t->merged, t->merges * sizeof *t->merged, hash);
}

/* GPT-2's order of bytes: those that print in Latin-1 first. In files the others are the characters
 * from U+0100 on. */
enum { PRINTED = 94 + 12 + 82 };

unsigned char tokenizer_byte(size_t place)
{
    if (place < 94) return (unsigned char)('!' + place);
    if (place < 106) return (unsigned char)(0xa1 + place - 94);
    if (place < PRINTED) return (unsigned char)(0xae + place - 106);
    size_t n = place - PRINTED; /* 0 to 32, 127 to 160, 173 */
    return (unsigned char)(n <= 32 ? n : n < 67 ? n - 33 + 127 : 173);
}

unsigned tokenizer_character(unsigned char byte)
{
    if (byte <= 32) return 0x100U + byte;
    if (byte < 127) return byte;
    if (byte <= 160) return 0x100U + 33 + byte - 127;
    return byte == 173 ? 0x100 + 67 : byte;
}

void tokenizer_spell(char text[3], unsigned char byte)
{
    unsigned character = tokenizer_character(byte);
    bool one = character < 0x80;
    text[0] = (char)(one ? character : 0xc0 | character >> 6);
    text[1] = (char)(one ? 0 : 0x80 | (character & 0x3f));
    text[2] = '\0';
}

int tokenizer_byte_of(uint32_t character)
{
    if (character >= 0x100 + 68) return -1;
    if (character >= 0x100) return tokenizer_byte(PRINTED + character - 0x100);
    return tokenizer_character((unsigned char)character) == character ? (int)character : -1;
}
