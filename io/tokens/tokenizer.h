/** GPT-2's byte-level BPE: text to tokens and back, exact on any bytes (docs/data.md). */
#ifndef VARIO_IO_TOKENS_TOKENIZER_H
#define VARIO_IO_TOKENS_TOKENIZER_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tokenizer tokenizer; /**< read-only once it is open: threads share it */

/** Read a tokenizer; not collective.
 *
 * @param path  a directory with vocab.json and merges.txt, else encoder.json and vocab.bpe, else
 *              tokenizer.json; or the first file of one of these
 * @return STATUS_OK, STATUS_INPUT (naming file, place, found and expected) or STATUS_NOMEM; on
 *         failure *t is NULL
 */
status tokenizer_open(tokenizer **t, const char *path);
void tokenizer_close(tokenizer **t);

/** Tokens of the vocabulary: ids are below it; at most 65536. */
size_t tokenizer_count(const tokenizer *t);

/** The token that ends a document, <|endoftext|>; -1 when the vocabulary has none. */
int tokenizer_end_of_text(const tokenizer *t);

/** What a token stands for. @param token  below tokenizer_count
 * @param size  out: bytes */
const void *tokenizer_bytes(const tokenizer *t, uint16_t token, size_t *size);

/** A hash of vocabulary and merges: equal for equal tokenizers, whatever files they came from. */
uint64_t tokenizer_digest(const tokenizer *t);

/** Write vocab.json and merges.txt, as transformers' GPT2Tokenizer reads them. */
status tokenizer_write(const tokenizer *t, const char *directory);

/** Whether a directory has the files of a tokenizer, in a form that tokenizer_open reads; what is
 * in them is not looked at. */
bool tokenizer_exists(const char *directory);

/** What is known of tokens: those of weights, of a run or of data. */
typedef struct {
    const char *of;        /**< whose they are, in messages */
    const char *directory; /**< of their tokenizer's files; NULL: bytes, or nobody says */
    bool bytes;
} tokens_meaning;

/** Whether tokens of two mean the same; of what nobody says anything is taken. Reads the files of
 * both where these are not the same, byte for byte.
 * @return STATUS_OK, or STATUS_INPUT and a sentence that names both: another tokenizer, or one that
 *         cannot be read; STATUS_NOMEM */
status tokenizer_compare(const tokens_meaning *a, const tokens_meaning *b);

/** The same of runs, or checkpoints of them, that are to be used together: each against the first
 * of which anything is known; NULL entries are passed over. */
status tokenizer_compare_runs(const char *const *runs, size_t count);

/** Copy the files of a tokenizer, and those that transformers has beside them, in place of the ones
 * there; encoder.json and vocab.bpe become vocab.json and merges.txt.
 * @return STATUS_OK, STATUS_INPUT, STATUS_NOMEM or STATUS_IO */
status tokenizer_copy(const char *from, const char *to);

/** The directory that has the tokenizer of a run, or of the run whose checkpoint is given.
 * @return false when the run has none: its tokens are bytes, or nobody said what they are */
bool tokenizer_of_run(char *directory, size_t size, const char *run);

/** Remove what tokenizer_copy copies; what is absent is fine. */
status tokenizer_remove(const char *directory);

/** Write a tokenizer of bytes, whose tokens are their values, as transformers reads it. */
status tokenizer_write_bytes(const char *directory);

/** A growing row of tokens. The caller frees values. */
typedef struct {
    uint16_t *values;
    size_t count, capacity;
} token_list;

/** Make room for more tokens. @return false without memory */
bool token_list_reserve(token_list *out, size_t more);

/** One thread's scratch memory and its cache of short pieces. */
typedef struct encoder encoder;

/** @return STATUS_OK or STATUS_NOMEM (*e is then NULL) */
status encoder_open(encoder **e, const tokenizer *t);
void encoder_close(encoder **e);

enum {
    TOKENIZER_PIECE = 1 << 20 /**< bytes: a longer piece is cut (utf8_whole), so that a text of
                                   few different bytes takes no more memory than others */
};

/** Append the tokens of a text; any thread, its own encoder.
 *
 * Takes O(n log n) for a piece of n bytes, whatever is in it. Tokens like <|endoftext|> are never
 * made of text.
 *
 * @param text  [size] any bytes
 * @return false without memory, or as encoder_error says (`out` then ends anywhere): no message is
 * made, which would stay with the thread
 */
bool encoder_append(encoder *e, const void *text, size_t size, token_list *out);

/** Why the last text could not be split, in PCRE2's words; NULL where it could, and memory was
 * missing. Of piece_counts_add too. */
const char *encoder_error(encoder *e);

/** Pieces that a text is split into before anything is merged. */
size_t encoder_count_pieces(encoder *e, const void *text, size_t size);

/** Whether a text may be cut before its byte i, so that both parts give the tokens of the whole. */
bool tokenizer_may_cut(const void *text, size_t i);

/** Counts of pieces, to learn merges from. */
typedef struct piece_counts piece_counts;

/** @return NULL without memory */
piece_counts *piece_counts_open(void);
void piece_counts_close(piece_counts **c);

/** Count the pieces of a text; any thread, its own encoder and counts. @return false without
 * memory */
bool piece_counts_add(piece_counts *c, encoder *e, const void *text, size_t size);

/** Add one's counts to another's. @return false without memory */
bool piece_counts_merge(piece_counts *c, const piece_counts *from);

/** Learn a BPE: the same counts give the same tokenizer. Token 0 to 255 are bytes in GPT-2's order,
 * the last is <|endoftext|>, those between are merges of the most frequent pair, of equally
 * frequent ones that of the lower left, then of the lower right token; a pair whose bytes are a
 * token already is passed over.
 *
 * @param counts  NULL: no merges, to split with
 * @param size    tokens, 257 to 65536
 * @return STATUS_OK, STATUS_INPUT (too few pairs that occur twice) or STATUS_NOMEM
 */
status tokenizer_learn(tokenizer **t, const piece_counts *counts, size_t size);

#endif
