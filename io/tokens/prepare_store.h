/** Where `vario prepare` keeps tokens until all are there, and what it knows when it is killed. */
#ifndef VARIO_IO_TOKENS_PREPARE_STORE_H
#define VARIO_IO_TOKENS_PREPARE_STORE_H

#include "io/files/lock.h"
#include "io/tokens/prepare.h"
#include "io/tokens/text_source.h"
#include "io/tokens/tokenizer.h"

#include <stdbool.h>
#include <stdio.h>

enum { STORE_PATH = 4096 };

typedef struct {
    const prepare_options *o;
    char path[STORE_PATH]; /**< directory/prepare.partial */
    uint64_t command;      /**< hash of all that the tokens depend on */
    folder_lock *lock;
    bool made;        /**< the directory was absent */
    uint64_t tokens;  /**< so far */
    text_place place; /**< of the next block */
    bool saved;       /**< there is a state to go on from */
    bool placing;     /**< all tokens are there, files are being moved into place */
    FILE *out;        /**< the shard of the next token, NULL: not open */
    uint64_t saved_shard;
    double saved_seconds;
} store;

/** Lock the directory; go on from an earlier state of the same command, or begin with nothing.
 * store_close takes s either way. @return STATUS_OK, STATUS_INPUT, STATUS_IO */
status store_open(store *s, const prepare_options *o, uint64_t command);

/** @param discard  nothing can go on from what is there */
void store_close(store *s, bool discard);

/** Append tokens, little-endian. @return STATUS_OK or STATUS_IO */
status store_append(store *s, const uint16_t *tokens, size_t count);

/** Whether a shard was filled or some seconds went by since the last save. */
bool store_is_due(const store *s);

/** Make sure that work can go on from `place`. @return STATUS_OK or STATUS_IO */
status store_save(store *s, const text_place *place);

/** Cut off the validation part and move all files into place.
 * @param t       NULL: bytes
 * @param refused out: nothing was touched, for a file that is in the way
 * @return STATUS_OK, STATUS_INPUT (too few tokens, a file that is in the way) or STATUS_IO */
status store_publish(store *s, const tokenizer *t, bool *refused);

#endif
