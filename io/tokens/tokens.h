/** Token files: memory-mapped shards, windows, and the order in which training visits them. */
#ifndef VARIO_IO_TOKENS_TOKENS_H
#define VARIO_IO_TOKENS_TOKENS_H

#include "io/tokens/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tokens tokens;

/** Open every shard that a pattern names, in sorted order; not collective.
 *
 * Formats: raw little-endian uint16 (nanoGPT) and llm.c's (1024-byte header of int32: magic
 * 20240520, version 1, number of tokens; then uint16).
 *
 * @param pattern     the name of a file that is there, else a glob; no match is STATUS_INPUT
 * @param length      T: tokens of a window; a shard of n tokens holds (n - 1) / T windows; a shard
 *                    without any is STATUS_INPUT
 * @param vocab_size  a meta.json beside the shards with a larger vocab_size is STATUS_INPUT, and so
 *                    are shards of two tokenizers
 */
status tokens_open(tokens **t, const char *pattern, size_t length, size_t vocab_size);
void tokens_close(tokens **t);

uint64_t tokens_count(const tokens *t);   /**< of all shards */
uint64_t tokens_windows(const tokens *t); /**< W of all shards */

/** What the meta.json beside the shards says of the tokens: that they are bytes, or that vocab.json
 * and merges.txt in its directory made them.
 * @param of  kept: names them in messages */
tokens_meaning tokens_means(const tokens *t, const char *of);

/** The window that position p of epoch e holds: the keyed Feistel permutation of 0..W-1. */
uint64_t tokens_permute(uint64_t seed, uint64_t epoch, uint64_t position, uint64_t windows);

/** Offset of epoch e's windows: 0 in epoch 0, else Philox modulo T. */
uint64_t tokens_shift(uint64_t seed, uint64_t epoch, size_t length);

/** Training item q: window pi_e(q mod W) of epoch e = q div W, shifted when `shift`.
 *
 * @param inputs   [T] out
 * @param targets  [T] out: the tokens one later
 * @return STATUS_OK or STATUS_INPUT: a token at or above vocab_size, naming file, position, value
 */
status tokens_item(const tokens *t, uint64_t seed, uint64_t q, bool shift, uint16_t *inputs,
                   uint16_t *targets);

/** Window v in file order, unshifted, for validation. v < tokens_windows. */
status tokens_window(const tokens *t, uint64_t v, uint16_t *inputs, uint16_t *targets);

#endif
