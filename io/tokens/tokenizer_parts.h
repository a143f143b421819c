/** What the files of the tokenizer share. */
#ifndef VARIO_IO_TOKENS_TOKENIZER_PARTS_H
#define VARIO_IO_TOKENS_TOKENIZER_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "io/tokens/tokenizer.h"

#include <jansson.h>
#include <pcre2.h>

enum { TOKENS_MAX = 65536, BYTES = 256 };
enum { RANK_NONE = UINT32_MAX };

/** Two adjacent tokens as one key. */
static inline uint32_t pair_key(uint32_t left, uint32_t right)
{
    return left << 16 | right;
}

/** Bytes of all tokens, one after the other. */
typedef struct {
    unsigned char *bytes;
    size_t size, capacity;
    uint32_t *first; /**< [count + 1] */
    size_t count;
} token_bytes;

struct tokenizer {
    token_bytes tokens;
    uint16_t of_byte[BYTES];
    int end_of_text;
    uint32_t *pairs;  /**< [merges] keys, by rank */
    uint16_t *merged; /**< [merges] what a pair becomes */
    size_t merges;
    uint64_t *slots; /**< hash table of key << 32 | rank, all ones where it is empty */
    unsigned slot_shift;
    bool joins[BYTES][BYTES]; /**< some merge has its left end in this byte, its right begin so */
    pcre2_code *pattern;
};

/** The files of a tokenizer in one form. */
typedef struct {
    const char *first, *second; /**< NULL: the first holds all */
} tokenizer_form;

enum { TOKENIZER_FORMS = 3, TOKENIZER_FILE = 1 << 28 /**< bytes of a file, at most */ };
extern const tokenizer_form tokenizer_forms[TOKENIZER_FORMS];

/** The first form whose files a directory has; NULL when there is none. */
const tokenizer_form *tokenizer_find(const char *directory);

/** Files that are a tokenizer's too: whole, or with settings that go with a pair. */
enum { TOKENIZER_OTHERS = 4 };
extern const char *const tokenizer_others[TOKENIZER_OTHERS];

/** Tokens that a file names beside the vocabulary. */
enum { ADDED_FILES = 3, ADDED_PATH = 4096 };
typedef struct {
    char path[ADDED_PATH];
    const char *key; /**< where in the file, in messages */
    json_t *tokens;  /**< array of objects: content, id, special; NULL: none */
} added_tokens;

/** Read the added tokens of a directory's tokenizer.json, tokenizer_config.json and
 * added_tokens.json, as far as they are there. added_tokens_close takes them, after a failure too.
 */
status added_tokens_read(added_tokens all[ADDED_FILES], const char *directory);
void added_tokens_close(added_tokens all[ADDED_FILES]);

/** Whether tokens are bytes, by their values. */
static inline bool tokenizer_is_bytes(const tokenizer *t)
{
    bool same = t->tokens.count == BYTES;
    for (size_t byte = 0; same && byte < BYTES; byte++) same = t->of_byte[byte] == byte;
    return same;
}

/** An empty tokenizer for so many merges. @return STATUS_OK or STATUS_NOMEM */
status tokenizer_new(tokenizer **t, size_t tokens, size_t merges);

/** Append a token, whose id is the count so far. @return STATUS_OK or STATUS_NOMEM */
status tokenizer_add_token(tokenizer *t, const void *bytes, size_t size);

/** Append a merge. @return false when the pair has one already */
bool tokenizer_add_merge(tokenizer *t, uint16_t left, uint16_t right, uint16_t merged);

/** Bytes of a token. */
static inline const unsigned char *token_at(const tokenizer *t, size_t token, size_t *size)
{
    *size = t->tokens.first[token + 1] - t->tokens.first[token];
    return t->tokens.bytes + t->tokens.first[token];
}

/** The rank of a pair, RANK_NONE when it is not merged. */
static inline uint32_t pair_rank(const tokenizer *t, uint32_t left, uint32_t right)
{
    uint32_t key = pair_key(left, right);
    size_t mask = ((size_t)1 << (32 - t->slot_shift)) - 1;
    for (size_t i = (key * 0x9e3779b1U) >> t->slot_shift;; i++) {
        uint64_t slot = t->slots[i & mask];
        if (slot >> 32 == key || slot == UINT64_MAX) return (uint32_t)slot;
    }
}

/** The byte at a place of GPT-2's order of bytes, and the character that stands for a byte in
 * files. */
unsigned char tokenizer_byte(size_t place);
unsigned tokenizer_character(unsigned char byte);

/** That character in UTF-8. @param text  out: ends in NUL */
void tokenizer_spell(char text[3], unsigned char byte);

/** The byte that a character of a file stands for, -1 for none. */
int tokenizer_byte_of(uint32_t character);

/** The pieces of a text, one after the other. */
typedef struct {
    const pcre2_code *pattern;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    int *error; /**< PCRE2's, 0 for none */
    const unsigned char *text;
    size_t size, at;
    size_t valid; /**< end of the well-formed stretch around `at` */
} splitter;

/** @return NULL without memory or JIT memory */
pcre2_code *splitter_compile(void);

/** Bounds on what a match takes, whatever PCRE2 was built with; NULL without memory. */
pcre2_match_context *splitter_limits(void);

/** Length of the next piece, which begins at text + at (then at moves on); 0 at the end, and with
 * *error set where PCRE2 fails. */
size_t splitter_next(splitter *s);

/** Merge one piece. */
bool encoder_append_piece(encoder *e, const unsigned char *piece, size_t size, token_list *out);

/** Begin to split a text with an encoder's memory. */
splitter encoder_split(encoder *e, const void *text, size_t size);

#endif
