/* Reading the files that a tokenizer comes in. Tokens are written in characters that stand for
 * bytes. */
#include "base/utf8.h"
#include "io/files/file.h"
#include "io/files/foreign.h"
#include "io/files/json_text.h"
#include "io/tokens/tokenizer_parts.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_SIZE = 4096, TOKEN_BYTES = 4096, SHOWN = 60 };

/* A file while it is read. */
typedef struct {
    const char *path;
    tokenizer *t;
    json_t *ids;  /* token as written: id */
    size_t merge; /* being read, from 1, or the line in a file of lines */
    const char *unit;
} reading;

/* ---- characters ---- */

/* The next character of a text that is known to be UTF-8. */
static uint32_t next_character(const char **text, const char *end)
{
    const unsigned char *p = (const unsigned char *)*text;
    size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    uint32_t character = n == 1 ? *p : *p & (0x7fU >> n);
    for (size_t i = 1; i < n && p + i < (const unsigned char *)end; i++)
        character = character << 6 | (p[i] & 0x3fU);
    *text += n;
    return character;
}

/* The bytes that a written token stands for; -1 when it has other characters or is too long. */
static int read_token(unsigned char *bytes, const char *text, size_t size)
{
    const char *end = text + size;
    int count = 0;
    while (text < end) {
        int byte = tokenizer_byte_of(next_character(&text, end));
        if (byte < 0 || count == TOKEN_BYTES) return -1;
        bytes[count++] = (unsigned char)byte;
    }
    return count;
}

/* ---- vocabulary ---- */

typedef struct {
    const char *text; /* NULL: no token has this id */
    size_t size;
    bool plain; /* its bytes as they are: an added token */
} written_token;

static status place_token(reading *r, written_token *by_id, size_t *count, const char *text,
                          size_t size, const json_t *id, bool plain)
{
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= TOKENS_MAX)
        return fail(STATUS_INPUT, "%s: token '%.*s': a whole id from 0 to %d expected", r->path,
                    SHOWN, text, TOKENS_MAX - 1);
    if (by_id[value].text)
        return fail(STATUS_INPUT,
                    "%s: token '%.*s': id %d of its own expected, that of '%.*s' found", r->path,
                    SHOWN, text, (int)value, SHOWN, by_id[value].text);
    by_id[value] = (written_token){text, size, plain};
    if ((size_t)value >= *count) *count = (size_t)value + 1;
    return STATUS_OK;
}

static status place_vocabulary(reading *r, written_token *by_id, size_t *count)
{
    const char *text;
    json_t *id;
    json_object_foreach(r->ids, text, id)
    {
        status result = place_token(r, by_id, count, text, strlen(text), id, false);
        if (result) return result;
    }
    return STATUS_OK;
}

/* Whether a token stands there already: in the vocabulary, or by another file's word. */
static bool is_placed(const reading *r, const written_token *by_id, const char *text,
                      const json_t *id)
{
    const json_t *there = json_object_get(r->ids, text);
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (there && json_equal((json_t *)id, (json_t *)there)) return true;
    return value >= 0 && value < TOKENS_MAX && by_id[value].plain &&
           strcmp(by_id[value].text, text) == 0;
}

/* Tokens that stand beside the vocabulary, or in it again. */
static status place_added(reading *r, const added_tokens *added, written_token *by_id,
                          size_t *count)
{
    size_t i;
    json_t *one;
    json_array_foreach(added->tokens, i, one)
    {
        const char *text = json_string_value(json_object_get(one, "content"));
        const json_t *id = json_object_get(one, "id");
        if (!text)
            return fail(STATUS_INPUT, "%s: %sentry %zu: content expected, none found", added->path,
                        added->key, i + 1);
        if (!json_is_true(json_object_get(one, "special")))
            return fail(STATUS_INPUT,
                        "%s: %sentry %zu: '%.*s' is found in text before GPT-2's pattern, special "
                        "tokens alone expected",
                        added->path, added->key, i + 1, SHOWN, text);
        if (is_placed(r, by_id, text, id)) continue;
        status result = place_token(r, by_id, count, text, strlen(text), id, true);
        if (result) return result;
    }
    return STATUS_OK;
}

static status add_tokens(reading *r, const written_token *by_id, size_t count)
{
    unsigned char bytes[TOKEN_BYTES];
    bool seen[BYTES] = {false};
    for (size_t i = 0; i < count; i++) {
        const written_token *w = &by_id[i];
        if (!w->text)
            return fail(STATUS_INPUT, "%s: tokens up to id %zu found, none with id %zu", r->path,
                        count - 1, i);
        int size =
            w->plain && w->size <= TOKEN_BYTES ? (int)w->size : read_token(bytes, w->text, w->size);
        if (size <= 0)
            return fail(STATUS_INPUT,
                        "%s: token '%.*s' (id %zu): up to %d characters of GPT-2's 256 that stand "
                        "for bytes expected",
                        r->path, SHOWN, w->text, i, TOKEN_BYTES);
        if (size == 1) seen[w->plain ? (unsigned char)*w->text : bytes[0]] = true;
        status result = tokenizer_add_token(r->t, w->plain ? w->text : (char *)bytes, (size_t)size);
        if (result) return result;
    }
    for (int byte = 0; byte < BYTES; byte++)
        if (!seen[byte])
            return fail(STATUS_INPUT, "%s: a token for each of 256 bytes expected, none for 0x%02x",
                        r->path, (unsigned)byte);
    return STATUS_OK;
}

static status read_vocabulary(reading *r, const char *directory, size_t merges)
{
    size_t count = 0;
    added_tokens added[ADDED_FILES];
    written_token *by_id = calloc(TOKENS_MAX, sizeof *by_id);
    if (!by_id) return fail(STATUS_NOMEM, "memory to read %s", r->path);
    status result = added_tokens_read(added, directory);
    if (!result) result = place_vocabulary(r, by_id, &count);
    for (int f = 0; !result && f < ADDED_FILES; f++)
        result = place_added(r, &added[f], by_id, &count);
    if (!result) result = tokenizer_new(&r->t, count, merges);
    if (!result) result = add_tokens(r, by_id, count);
    added_tokens_close(added);
    free(by_id);
    return result;
}

/* ---- merges ---- */

static status find_token(const reading *r, const char *text, size_t size, uint16_t *token)
{
    const json_t *id = json_object_getn(r->ids, text, size);
    if (!id)
        return fail(STATUS_INPUT, "%s: %s %zu: '%.*s' found, a token of the vocabulary expected",
                    r->path, r->unit, r->merge, (int)(size < SHOWN ? size : SHOWN), text);
    *token = (uint16_t)json_integer_value(id);
    return STATUS_OK;
}

static status read_merge(reading *r, const char *left, size_t left_size, const char *right,
                         size_t right_size)
{
    char both[4 * TOKEN_BYTES];
    uint16_t a = 0, b = 0, merged = 0;
    if (left_size + right_size > sizeof both)
        return fail(STATUS_INPUT, "%s: %s %zu: tokens of at most %d bytes expected", r->path,
                    r->unit, r->merge, TOKEN_BYTES);
    memcpy(both, left, left_size);
    memcpy(both + left_size, right, right_size);
    status result = find_token(r, left, left_size, &a);
    if (!result) result = find_token(r, right, right_size, &b);
    if (!result) result = find_token(r, both, left_size + right_size, &merged);
    if (result || tokenizer_add_merge(r->t, a, b, merged)) return result;
    return fail(STATUS_INPUT, "%s: %s %zu: '%.*s %.*s' found again, each merge once expected",
                r->path, r->unit, r->merge, (int)left_size, left, (int)right_size, right);
}

/* "left right", apart by one space. */
static status read_merge_text(reading *r, const char *text, size_t size)
{
    const char *space = memchr(text, ' ', size);
    size_t left = space ? (size_t)(space - text) : 0, right = space ? size - left - 1 : 0;
    if (left == 0 || right == 0 || memchr(space + 1, ' ', right))
        return fail(STATUS_INPUT, "%s: %s %zu: '%.*s' found, two tokens apart by a space expected",
                    r->path, r->unit, r->merge, (int)(size < SHOWN ? size : SHOWN), text);
    return read_merge(r, text, left, space + 1, right);
}

static status read_merge_lines(reading *r, const char *text, size_t size)
{
    const char *end = text + size;
    status result = STATUS_OK;
    for (r->merge = 1; !result && text < end; r->merge++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        size_t length = (size_t)(stop - text);
        if (length > 0 && text[length - 1] == '\r') length--;
        bool version = r->merge == 1 && length >= 8 && memcmp(text, "#version", 8) == 0;
        if (!version && length > 0) result = read_merge_text(r, text, length);
        text = stop + 1;
    }
    return result;
}

static status read_merge_array(reading *r, const json_t *merges)
{
    size_t i;
    json_t *one;
    json_array_foreach(merges, i, one)
    {
        const json_t *left = json_array_get(one, 0), *right = json_array_get(one, 1);
        status result;
        r->merge = i + 1;
        if (json_is_string(one))
            result = read_merge_text(r, json_string_value(one), json_string_length(one));
        else if (json_is_string(left) && json_is_string(right))
            result = read_merge(r, json_string_value(left), json_string_length(left),
                                json_string_value(right), json_string_length(right));
        else
            result = fail(STATUS_INPUT, "%s: merge %zu: two tokens expected", r->path, r->merge);
        if (result) return result;
    }
    return STATUS_OK;
}

/* ---- files ---- */

static size_t count_lines(const char *text, size_t size)
{
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    return lines;
}

static status read_pair(reading *r, const char *directory, const char *vocabulary,
                        const char *merges)
{
    char *text = NULL;
    size_t size = 0;
    r->path = vocabulary;
    status result = json_text_read_object(&r->ids, vocabulary, JSON_REJECT_DUPLICATES);
    if (!result) result = file_read_text(&text, &size, merges, TOKENIZER_FILE);
    if (!result) result = foreign_refuse(merges);
    if (!result && utf8_valid((unsigned char *)text, size) < size)
        result = fail(STATUS_INPUT, "%s: byte %zu: UTF-8 expected", merges,
                      utf8_valid((unsigned char *)text, size));
    if (!result) result = read_vocabulary(r, directory, count_lines(text, size));
    r->path = merges;
    r->unit = "line";
    if (!result) result = read_merge_lines(r, text, size);
    free(text);
    return result;
}

/* A setting that would change tokens must be absent, null, false, 0 or empty. */
static status check_off(const reading *r, const json_t *in, const char *of, const char *key)
{
    const json_t *value = json_object_get(in, key);
    if (!value || json_is_null(value) || json_is_false(value) ||
        (json_is_number(value) && json_number_value(value) == 0.0) ||
        (json_is_string(value) && json_string_length(value) == 0))
        return STATUS_OK;
    return fail(STATUS_INPUT, "%s: %s%s: found set, none expected of GPT-2's tokenizer", r->path,
                of, key);
}

static status check_kind(const reading *r, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    const json_t *before = json_object_get(root, "pre_tokenizer");
    const char *kind = json_string_value(json_object_get(model, "type"));
    const char *split = json_string_value(json_object_get(before, "type"));
    if (!json_is_object(json_object_get(model, "vocab")) ||
        !json_is_array(json_object_get(model, "merges")) || (kind && strcmp(kind, "BPE") != 0))
        return fail(STATUS_INPUT, "%s: model: BPE with vocab and merges expected, %s found",
                    r->path, kind ? kind : "something else");
    bool merged = json_array_size(json_object_get(model, "merges")) > 0; /* else none is split */
    if (!split || strcmp(split, "ByteLevel") != 0 ||
        (merged && json_is_false(json_object_get(before, "use_regex"))))
        return fail(STATUS_INPUT,
                    "%s: pre_tokenizer: ByteLevel with GPT-2's pattern expected, %s found", r->path,
                    split ? split : "none");
    static const char *const off[] = {"dropout",       "unk_token",     "continuing_subword_prefix",
                                      "byte_fallback", "ignore_merges", "end_of_word_suffix"};
    status result = check_off(r, root, "", "normalizer");
    if (!result) result = check_off(r, before, "pre_tokenizer.", "add_prefix_space");
    for (size_t i = 0; !result && i < sizeof off / sizeof off[0]; i++)
        result = check_off(r, model, "model.", off[i]);
    return result;
}

static status read_whole(reading *r, const char *directory, const char *path)
{
    json_t *root = NULL;
    r->path = path;
    r->unit = "merge";
    status result = json_text_read_object(&root, path, JSON_REJECT_DUPLICATES);
    if (!result) result = check_kind(r, root);
    if (!result) {
        const json_t *model = json_object_get(root, "model");
        const json_t *merges = json_object_get(model, "merges");
        r->ids = json_incref(json_object_get(model, "vocab"));
        result = read_vocabulary(r, directory, json_array_size(merges));
        if (!result) result = read_merge_array(r, merges);
    }
    json_decref(root);
    return result;
}

static status read_form(reading *r, const char *directory, const tokenizer_form *form)
{
    char first[PATH_SIZE], second[PATH_SIZE];
    snprintf(first, sizeof first, "%s/%s", directory, form->first);
    if (!form->second) return read_whole(r, directory, first);
    snprintf(second, sizeof second, "%s/%s", directory, form->second);
    return read_pair(r, directory, first, second);
}

/* The form that a file is the first of, in the directory that it is in. */
static const tokenizer_form *form_of_file(const char *path, char directory[PATH_SIZE])
{
    snprintf(directory, PATH_SIZE, "%s", path);
    char *slash = strrchr(directory, '/');
    const char *name = slash ? path + (slash - directory) + 1 : path;
    if (slash)
        *slash = '\0';
    else
        strcpy(directory, ".");
    for (size_t i = 0; i < TOKENIZER_FORMS; i++)
        if (strcmp(name, tokenizer_forms[i].first) == 0) return &tokenizer_forms[i];
    return NULL;
}

static status read_any(reading *r, const char *path)
{
    char directory[PATH_SIZE];
    struct stat info;
    if (stat(path, &info) != 0) return fail(STATUS_INPUT, "%s: %s", path, strerror(errno));
    bool folder = S_ISDIR(info.st_mode);
    const tokenizer_form *form = folder ? tokenizer_find(path) : form_of_file(path, directory);
    if (form) return read_form(r, folder ? path : directory, form);
    return fail(STATUS_INPUT,
                "%s: vocab.json and merges.txt, encoder.json and vocab.bpe, or tokenizer.json "
                "expected, none found",
                path);
}

status tokenizer_open(tokenizer **t, const char *path)
{
    reading r = {0};
    status result = read_any(&r, path);
    json_decref(r.ids);
    if (result) tokenizer_close(&r.t);
    *t = r.t;
    return result;
}
