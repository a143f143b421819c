/** Texts to token files, by all threads, in a way that goes on where it was killed. */
#ifndef VARIO_IO_TOKENS_PREPARE_H
#define VARIO_IO_TOKENS_PREPARE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *const *texts; /**< [count] paths (io/tokens/text_source.h) */
    size_t count;
    const char *directory; /**< made when absent */
    double valid;          /**< fraction in (0, 1) of the tokens, the last, that goes to val.bin */
    uint64_t shard_tokens; /**< more make train_000001.bin and on */
    const char *tokenizer; /**< of tokenizer_open; NULL: bytes are tokens */
    uint64_t learn;        /**< learn a tokenizer of so many tokens instead; 0: none */
    const char *key;       /**< of the text in lines of JSON */
    int threads;           /**< 0: all; they change nothing but the time */
    void (*say)(const char *sentence); /**< what the user may want to know, NULL: nothing */
} prepare_options;

/** Make train.bin, val.bin and meta.json, and with a tokenizer vocab.json and merges.txt.
 *
 * With a tokenizer a document, that is a text file or a line of JSON, ends in <|endoftext|> where
 * the vocabulary has it; without one texts follow each other. What is made lies in
 * directory/prepare.partial until it is whole; the same call goes on from there, another begins
 * anew.
 *
 * @return STATUS_OK; STATUS_INPUT (a text, a tokenizer or the directory is not as expected);
 *         STATUS_IO or STATUS_NOMEM
 */
status prepare_tokens(const prepare_options *o);

#endif
