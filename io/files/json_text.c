/* Jansson knows what to escape, but for what a terminal obeys. */
#include "io/files/json_text.h"

#include "base/utf8.h"
#include "io/files/file.h"
#include "io/files/foreign.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In place of a number, in as many bytes. */
static void blank(char *at, size_t size)
{
    memset(at, ' ', size);
    memcpy(at, "{}", 2);
}

/* A number that jansson does not take becomes one that it takes, or none. */
static void tame_number(char *at, size_t size)
{
    size_t digits = strspn(at + (*at == '-'), "0123456789") + (*at == '-');
    errno = 0;
    (void)strtoll(at, NULL, 10);
    if (digits == size && errno == ERANGE) memcpy(at + size - 2, "e2", 2);
    if (isinf(strtod(at, NULL))) blank(at, size);
}

static void tame_word(char *at, size_t size)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i]) == size && memcmp(at, words[i], size) == 0) blank(at, size);
}

/* Outside of strings; nothing is moved, so that places stay. */
static void tame(char *text)
{
    for (char *at = text; *at;) {
        if (*at == '"') {
            for (at++; *at && *at != '"'; at++) at += *at == '\\' && at[1];
            at += *at == '"';
            continue;
        }
        size_t size = strcspn(at, " \t\r\n,:[]{}\"");
        if (size > 2) tame_word(at, size);
        if (size > 2 && strspn(at, "+-.0123456789eE") >= size) tame_number(at, size);
        at += size ? size : 1;
    }
}

json_t *json_text_load(const char *text, size_t size, size_t flags, json_error_t *error)
{
    size_t mark = utf8_mark(text, size);
    json_t *root = json_loadb(text + mark, size - mark, flags, error);
    if (root || memchr(text, '\0', size)) return root;
    char *copy = strndup(text + mark, size - mark);
    if (!copy) return NULL;
    tame(copy);
    root = json_loadb(copy, size - mark, flags, error);
    free(copy);
    return root;
}

status json_text_read(json_t **root, const char *path, size_t flags)
{
    char *text;
    size_t size;
    json_error_t error;
    *root = NULL;
    status result = file_read_text(&text, &size, path, JSON_TEXT_MAX);
    if (result) return result;
    *root = json_text_load(text, size, flags, &error);
    free(text);
    if (*root) return STATUS_OK;
    result = foreign_refuse(path);
    return result ? result
                  : fail(STATUS_INPUT, "%s:%d:%d: JSON expected: %s", path, error.line,
                         error.column, error.text);
}

status json_text_read_object(json_t **root, const char *path, size_t flags)
{
    status result = json_text_read(root, path, flags);
    if (result || json_is_object(*root)) return result;
    json_decref(*root);
    *root = NULL;
    return fail(STATUS_INPUT, "%s: a JSON object expected, something else found", path);
}

json_t *json_text_string(const char *text)
{
    return json_text_bytes(text, strlen(text));
}

json_t *json_text_bytes(const char *bytes, size_t size)
{
    char *text = NULL;
    size_t length = 0;
    FILE *clean = open_memstream(&text, &length);
    for (size_t at = 0; clean && at < size;) {
        const unsigned char *rest = (const unsigned char *)bytes + at;
        size_t good = utf8_valid(rest, size - at);
        for (size_t i = 0; i < good; i++)
            rest[i] ? fputc(rest[i], clean) : fputs("\xef\xbf\xbd", clean);
        at += good;
        if (at == size) break;
        at += utf8_invalid(rest + good, size - at);
        fputs("\xef\xbf\xbd", clean);
    }
    json_t *value = clean && fclose(clean) == 0 ? json_string(text) : NULL;
    free(text);
    return value;
}

json_t *json_text_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_text_count(uint64_t count)
{
    return count > INT64_MAX ? json_sprintf("%" PRIu64, count) : json_integer((json_int_t)count);
}

/* What a call could not do makes all of it worth nothing. */
static void drop(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

void json_text_set(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value)) drop(object);
}

void json_text_put(json_t **object, const char *key, double value)
{
    if (!isnan(value)) json_text_set(object, key, json_text_number(value));
}

void json_text_add(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value)) drop(array);
}

void json_text_join(json_t **object, json_t *members)
{
    if (json_object_update(*object, members)) drop(object);
    json_decref(members);
}

char *json_text_make(json_t *value, size_t flags)
{
    if (!(flags & JSON_REAL_PRECISION(31))) flags |= JSON_REAL_PRECISION(17);
    char *text = NULL, *dumped = value ? json_dumps(value, flags | JSON_ENCODE_ANY) : NULL;
    size_t size = 0;
    FILE *out = dumped ? open_memstream(&text, &size) : NULL;
    for (const unsigned char *c = (const unsigned char *)dumped; out && *c; c++) {
        bool second = c[0] == 0xc2 && c[1] < 0xa0; /* U+0080 to U+009F */
        if (second) c++;
        second || *c == 0x7f ? fprintf(out, "\\u%04x", *c) : fputc(*c, out);
    }
    if (out) fputc('\n', out);
    bool whole = out && fclose(out) == 0;
    free(dumped);
    json_decref(value);
    if (whole) return text;
    free(text);
    return NULL;
}

status json_text_print(FILE *out, json_t *value, size_t flags)
{
    char *text = json_text_make(value, flags);
    status result = STATUS_OK;
    if (!text)
        result = fail(STATUS_NOMEM, "memory for the result as JSON");
    else if (fputs(text, out) == EOF)
        result = fail(STATUS_IO, "the result cannot be printed");
    free(text);
    return result;
}

status json_text_print_run(FILE *out, const char *run, json_t *members)
{
    json_t *line = json_pack("{so}", "run", json_text_string(run));
    json_text_join(&line, members);
    return json_text_print(out, line, 0);
}

status json_text_write(const char *path, json_t *value, size_t flags)
{
    char *text = json_text_make(value, flags);
    status result = text ? file_write_atomic(path, text, strlen(text))
                         : fail(STATUS_NOMEM, "memory to write %s", path);
    free(text);
    return result;
}
