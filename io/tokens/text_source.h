/** Texts as a stream of blocks: plain or JSON-lines, as they are or packed by gzip, xz or zstd. */
#ifndef VARIO_IO_TOKENS_TEXT_SOURCE_H
#define VARIO_IO_TOKENS_TEXT_SOURCE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Where a block begins: blocks depend on nothing before it. */
typedef struct {
    uint64_t text;   /**< number of the file */
    uint64_t offset; /**< bytes, unpacked */
    uint64_t line;   /**< from 1 */
} text_place;

/** Part of a text, cut where tokens may be (tokenizer_may_cut), or some lines of JSON. */
typedef struct {
    char *bytes; /**< [size] owned by the block */
    size_t size, capacity;
    text_place place;
    bool lines; /**< of JSON, each a document */
    bool ends;  /**< the document's last part, when it is none of lines */
} text_block;

void text_block_close(text_block *b);

typedef struct text_source text_source;

/** Open texts; each must be a regular file. Names that end in .jsonl or .ndjson, with .gz, .xz,
 * .zst or .zstd behind or not, are lines of JSON; how a file is packed its first bytes tell.
 *
 * @param texts  [count] paths, which must outlive the source
 * @param cut    plain texts are cut where a tokenizer's pieces end; otherwise anywhere
 * @return STATUS_OK, STATUS_INPUT naming the file, or STATUS_NOMEM; on failure *s is NULL
 */
status text_source_open(text_source **s, const char *const *texts, size_t count, bool cut);
void text_source_close(text_source **s);

/** Bytes of all files as they lie on the disk. */
uint64_t text_source_bytes(const text_source *s);

const char *text_source_name(const text_source *s, uint64_t text);

/** A hash of names, sizes and times of the files. */
uint64_t text_source_digest(const text_source *s);

/** Go to the beginning of a block. @return STATUS_OK, or as text_source_next */
status text_source_seek(text_source *s, const text_place *place);

/** Read the next block; its size is 0 after the last.
 * @return STATUS_OK, STATUS_INPUT (torn or damaged file, naming it and the place), STATUS_NOMEM */
status text_source_next(text_source *s, text_block *b);

/** What JSON says of a line: the string of one key.
 *
 * Any thread: no message is made but in `sentence`.
 *
 * @param text      out: UTF-8, the caller frees it
 * @param sentence  [STATUS_MESSAGE_SIZE] out: on failure, what was found and expected
 */
status text_from_json(char **text, size_t *size, const char *line, size_t line_size,
                      const char *key, char *sentence);

#endif
