/** JSON of others and of our own. */
#ifndef VARIO_IO_FILES_JSON_TEXT_H
#define VARIO_IO_FILES_JSON_TEXT_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>
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

/** A text as a string, and any bytes: what is no UTF-8, or NUL, becomes U+FFFD.
 * @return NULL without memory */
struct json_t *json_text_string(const char *text);
struct json_t *json_text_bytes(const char *bytes, size_t size);

/** A number; NaN and infinity are null. */
struct json_t *json_text_number(double value);

/** An integer or, above 2^63 - 1, where JSON's readers know none, a string of its digits. */
struct json_t *json_text_count(uint64_t count);

/* Below, a value that is handed over is dropped. Where one is NULL or memory runs out, *object or
 * *array is dropped too and becomes NULL, and stays it: who makes text of it notices. */

/** Set a member of an object. */
void json_text_set(struct json_t **object, const char *key, struct json_t *value);

/** Set a number; NaN is left out. */
void json_text_put(struct json_t **object, const char *key, double value);

/** Append to an array. */
void json_text_add(struct json_t **array, struct json_t *value);

/** Set all members of another object. */
void json_text_join(struct json_t **object, struct json_t *members);

/** A value as text, with the end of a line. What a terminal would obey, DEL and the controls of C1,
 * is escaped too (below U+0020 JSON does so itself).
 * @param value  may be NULL, for want of memory
 * @param flags  jansson's; reals have 17 digits unless they say otherwise
 * @return NULL without memory; the caller frees it */
char *json_text_make(struct json_t *value, size_t flags);

/** Print that. @return STATUS_OK, STATUS_NOMEM (value NULL too) or STATUS_IO */
status json_text_print(FILE *out, struct json_t *value, size_t flags);

/** Print a line of a verb's result: an object of a run's name or path, and members. */
status json_text_print_run(FILE *out, const char *run, struct json_t *members);

/** Write it into a file, by file_write_atomic. @return STATUS_OK, STATUS_NOMEM or STATUS_IO */
status json_text_write(const char *path, struct json_t *value, size_t flags);

#endif
