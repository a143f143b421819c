/* A block ends at the last place where a text may be cut; what is behind begins the next one. */
#include "io/tokens/text_source.h"

#include "base/utf8.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/files/unpack.h"
#include "io/tokens/tokenizer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    BLOCK_BYTES = 1 << 19,
    LINE_BYTES = 1 << 26, /* of JSON, at most */
    CHARACTER_BYTES = 4   /* at max: to see where one ends */
};

struct text_source {
    const char *const *texts;
    size_t count;
    bool cut;
    uint64_t bytes, digest;
    unpacker *in;     /* NULL: the next file is not open */
    text_place place; /* of the next byte to hand out */
    char *rest;       /* [rest_size] read, not yet handed out */
    size_t rest_size, rest_capacity;
    bool lines; /* of the open file */
};

void text_block_close(text_block *b)
{
    free(b->bytes);
    *b = (text_block){0};
}

static bool ends_in(const char *name, size_t size, const char *ending)
{
    size_t n = strlen(ending);
    return size > n && strncasecmp(name + size - n, ending, n) == 0;
}

static bool is_lines(const char *name)
{
    static const char *const packed[] = {".gz", ".xz", ".zst", ".zstd"};
    size_t size = strlen(name);
    for (size_t i = 0; i < sizeof packed / sizeof packed[0]; i++)
        if (ends_in(name, size, packed[i])) {
            size -= strlen(packed[i]);
            break;
        }
    return ends_in(name, size, ".jsonl") || ends_in(name, size, ".ndjson");
}

static status measure(text_source *s)
{
    for (size_t i = 0; i < s->count; i++) {
        int fd;
        struct stat info;
        const char *name = s->texts[i];
        status result = file_open(&fd, NULL, name, "a text file");
        if (result) return result;
        fstat(fd, &info);
        close(fd);
        s->bytes += (uint64_t)info.st_size;
        int64_t facts[] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec,
                           (int64_t)info.st_mtim.tv_nsec};
        s->digest = XXH3_64bits_withSeed(name, strlen(name) + 1, s->digest);
        s->digest = XXH3_64bits_withSeed(facts, sizeof facts, s->digest);
    }
    return STATUS_OK;
}

status text_source_open(text_source **out, const char *const *texts, size_t count, bool cut)
{
    text_source *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(STATUS_NOMEM, "memory to read texts");
    *s = (text_source){.texts = texts, .count = count, .cut = cut, .place = {.line = 1}};
    status result = measure(s);
    if (result) text_source_close(out);
    return result;
}

void text_source_close(text_source **out)
{
    text_source *s = *out;
    if (!s) return;
    unpacker_close(&s->in);
    free(s->rest);
    free(s);
    *out = NULL;
}

uint64_t text_source_bytes(const text_source *s)
{
    return s->bytes;
}

const char *text_source_name(const text_source *s, uint64_t text)
{
    return s->texts[text];
}

uint64_t text_source_digest(const text_source *s)
{
    return s->digest;
}

static status open_text(text_source *s)
{
    const char *name = s->texts[s->place.text];
    s->lines = is_lines(name);
    return unpacker_open(&s->in, name, "a text file");
}

/* Read behind the rest until it has `wanted` bytes or the file ends. */
static status read_rest(text_source *s, size_t wanted, bool *ended)
{
    if (s->rest_capacity < wanted) {
        char *larger = realloc(s->rest, wanted);
        if (!larger)
            return fail(STATUS_NOMEM, "memory for %zu bytes of %s without a place to cut", wanted,
                        s->texts[s->place.text]);
        s->rest = larger;
        s->rest_capacity = wanted;
    }
    size_t missing = wanted > s->rest_size ? wanted - s->rest_size : 0, count;
    status result = unpacker_read(s->in, s->rest + s->rest_size, missing, &count);
    s->rest_size += count;
    *ended = count < missing;
    return result;
}

/* Bytes that are read for one block, at most. */
static size_t max_bytes(const text_source *s)
{
    return s->lines ? LINE_BYTES : TOKENIZER_PIECE + CHARACTER_BYTES;
}

/* Nowhere in so many bytes is a place to cut. */
static status force_cut(const text_source *s, size_t *cut)
{
    *cut = utf8_whole((const unsigned char *)s->rest, s->rest_size, TOKENIZER_PIECE);
    if (!s->lines) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s:%" PRIu64 ": a line of more than %d bytes found (it begins at byte %" PRIu64
                "), shorter ones expected",
                s->texts[s->place.text], s->place.line, LINE_BYTES, s->place.offset);
}

/* The last place above `from` where the rest may be cut, 0 for none. */
static size_t find_cut(const text_source *s, size_t from)
{
    if (!s->lines && !s->cut) return s->rest_size;
    for (size_t i = s->rest_size; i-- > from + 1;) {
        if (s->lines && s->rest[i] == '\n') return i + 1;
        if (!s->lines && tokenizer_may_cut(s->rest, i)) return i;
    }
    return s->lines && from == 0 && s->rest_size > 0 && s->rest[0] == '\n' ? 1 : 0;
}

static status hand_out(text_source *s, text_block *b, size_t size, bool ended)
{
    if (b->capacity < size) {
        char *larger = realloc(b->bytes, size);
        if (!larger) return fail(STATUS_NOMEM, "memory for a block of text");
        b->bytes = larger;
        b->capacity = size;
    }
    memcpy(b->bytes, s->rest, size);
    memmove(s->rest, s->rest + size, s->rest_size - size);
    b->size = size;
    b->place = s->place;
    b->lines = s->lines;
    b->ends = ended;
    s->rest_size -= size;
    s->place.offset += size;
    if (s->lines)
        for (size_t i = 0; i < size; i++) s->place.line += b->bytes[i] == '\n';
    return STATUS_OK;
}

static void next_text(text_source *s)
{
    unpacker_close(&s->in);
    s->rest_size = 0;
    s->place = (text_place){.text = s->place.text + 1, .line = 1};
}

status text_source_next(text_source *s, text_block *b)
{
    b->size = 0;
    while (b->size == 0 && s->place.text < s->count) {
        status result = s->in ? STATUS_OK : open_text(s);
        bool ended = false;
        size_t cut = 0, looked = 0;
        while (!result && cut == 0 && !ended) {
            size_t wanted = s->rest_size + BLOCK_BYTES;
            if (looked > BLOCK_BYTES) wanted = 2 * looked;
            if (wanted > max_bytes(s)) wanted = max_bytes(s);
            result = read_rest(s, wanted, &ended);
            if (!result && !ended) cut = find_cut(s, looked);
            looked = s->rest_size;
            if (!result && !ended && cut == 0 && looked == max_bytes(s))
                result = force_cut(s, &cut);
        }
        if (!result && (ended || cut > 0))
            result = hand_out(s, b, ended ? s->rest_size : cut, ended);
        if (result) return result;
        if (ended) next_text(s);
    }
    return STATUS_OK;
}

status text_source_seek(text_source *s, const text_place *place)
{
    unpacker_close(&s->in);
    s->rest_size = 0;
    s->place = (text_place){.text = place->text, .line = 1};
    if (place->text >= s->count) return STATUS_OK;
    status result = open_text(s);
    while (!result && s->place.offset < place->offset) {
        uint64_t left = place->offset - s->place.offset;
        bool ended = false;
        result = read_rest(s, left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES, &ended);
        if (!result && ended && s->rest_size == 0)
            result = fail(STATUS_INPUT,
                          "%s: byte %" PRIu64 " of the unpacked file: more data expected, its end "
                          "found",
                          s->texts[s->place.text], s->place.offset);
        s->place.offset += s->rest_size;
        s->rest_size = 0;
    }
    s->place.line = place->line;
    return result;
}

status text_from_json(char **text, size_t *size, const char *line, size_t line_size,
                      const char *key, char *sentence)
{
    json_error_t error;
    json_t *root = json_text_load(line, line_size, JSON_ALLOW_NUL, &error);
    const json_t *value = json_object_get(root, key);
    status result = STATUS_OK;
    *text = NULL;
    *size = json_string_length(value);
    if (!root) {
        result = STATUS_INPUT;
        snprintf(sentence, STATUS_MESSAGE_SIZE, "%d: JSON expected: %s", error.position,
                 error.text);
    } else if (!json_is_string(value)) {
        result = STATUS_INPUT;
        snprintf(sentence, STATUS_MESSAGE_SIZE, "1: an object with a string '%.200s' expected, %s",
                 key, value ? "another value found" : "none found");
    } else if ((*text = malloc(*size + 1))) {
        memcpy(*text, json_string_value(value), *size);
    } else {
        result = STATUS_NOMEM;
        snprintf(sentence, STATUS_MESSAGE_SIZE, "1: memory for a text of %zu bytes", *size);
    }
    json_decref(root);
    return result;
}
