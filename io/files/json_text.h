/** Texts as JSON has them. */
#ifndef VARIO_IO_FILES_JSON_TEXT_H
#define VARIO_IO_FILES_JSON_TEXT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct json_t;
struct json_error_t;

/** Parse JSON, of others too: behind a byte order mark, with numbers that no integer of 64 bits
 * (they become reals) or no double holds, and with NaN and Infinity, as Python writes them. What is
 * no number here becomes an empty object, which no reader takes for one.
 * @param flags  jansson's
 * @return NULL, and what is wrong in *error */
struct json_t *json_text_load(const char *text, size_t size, size_t flags,
                              struct json_error_t *error);

enum { JSON_TEXT_MAX = 1 << 28 /**< bytes of a file */ };

/** Read a file of at most JSON_TEXT_MAX bytes; the caller drops *root.
 * @param flags  jansson's
 * @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM (*root is then NULL) */
status json_text_read(struct json_t **root, const char *path, size_t flags);

/** The same; anything but an object is refused too. */
status json_text_read_object(struct json_t **root, const char *path, size_t flags);

/** Set a member of an object: NaN is no number and left out, infinity is null. */
void json_text_put(struct json_t *o, const char *key, double value);

/** Print a value as json_dumps has it. What a terminal would obey, DEL and the controls of C1, is
 * escaped too (below U+0020 JSON does so itself).
 * @return false for want of memory, or where the stream failed */
bool json_text_dump(FILE *out, const struct json_t *value, size_t flags);

/** Print a line of a verb's result: an object of a run's name or path, and members that are JSON.
 */
void json_text_print_run(FILE *out, const char *run, const char *members);

/** Print a text in quotes, escaped; what is no UTF-8 as U+FFFD. */
void json_text_print(FILE *out, const char *text);

/** Print any bytes so, a NUL as U+FFFD, too. */
void json_text_print_bytes(FILE *out, const char *bytes, size_t size);

#endif
