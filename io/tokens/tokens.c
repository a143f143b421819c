/* Token shards are mapped, not read; which window comes when is a function of (seed, q). */
#include "io/tokens/tokens.h"

#include "base/activity.h"
#include "io/files/file.h"
#include "io/files/foreign.h"
#include "io/files/json_text.h"
#include "kernels/noise.h"

#include <assert.h>
#include <endian.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As tokens, both magic numbers begin with a value above 55000: no raw file of GPT-2's vocabulary
 * is taken for one with a header. */
enum { LLMC_HEADER = 1024, LLMC_MAGIC = 20240520, LLMC_MAGIC_WIDE = 20240801, LLMC_VERSION = 1 };
enum { ROUNDS = 4, SHIFT_ROUND = 15 };

typedef struct {
    char *path;
    file_mapping map;
    const uint16_t *values;
    uint64_t count;
    uint64_t first_window; /* of all shards' */
} shard;

struct tokens {
    shard *shards;
    size_t shard_count;
    size_t length, vocab_size;
    uint64_t count, windows;
    char *said_by; /* directory whose meta.json says what tokens are, NULL: none does */
    bool bytes;    /* it says: bytes; else the tokenizer beside it */
};

static int32_t header_word(const shard *s, size_t index)
{
    uint32_t word;
    memcpy(&word, (const char *)s->map.data + index * sizeof word, sizeof word);
    return (int32_t)le32toh(word);
}

static status read_llmc(shard *s)
{
    if (s->map.bytes < LLMC_HEADER)
        return fail(STATUS_INPUT, "%s: header: %zu bytes found, %d expected", s->path, s->map.bytes,
                    LLMC_HEADER);
    int32_t version = header_word(s, 1), count = header_word(s, 2);
    if (version != LLMC_VERSION)
        return fail(STATUS_INPUT, "%s: header: version %d found, %d expected", s->path, version,
                    LLMC_VERSION);
    size_t bytes = s->map.bytes - LLMC_HEADER;
    if (count < 0 || (size_t)count * sizeof(uint16_t) != bytes)
        return fail(STATUS_INPUT, "%s: header: %d tokens promised, %zu bytes of tokens found",
                    s->path, count, bytes);
    s->values = (const uint16_t *)(const void *)((const char *)s->map.data + LLMC_HEADER);
    s->count = (uint64_t)count;
    return STATUS_OK;
}

static status open_shard(shard *s)
{
    status result = file_map(&s->map, s->path, "a token file");
    if (!result) result = foreign_refuse(s->path);
    if (result) return result;
    int32_t magic = s->map.bytes >= sizeof(uint32_t) ? header_word(s, 0) : 0;
    if (magic == LLMC_MAGIC) return read_llmc(s);
    if (magic == LLMC_MAGIC_WIDE)
        return fail(STATUS_INPUT, "%s: header: magic %d (4-byte tokens) found, %d expected",
                    s->path, magic, LLMC_MAGIC);
    if (s->map.bytes % sizeof(uint16_t))
        return fail(STATUS_INPUT, "%s: %zu bytes found, whole 2-byte tokens expected", s->path,
                    s->map.bytes);
    s->values = s->map.data;
    s->count = s->map.bytes / sizeof(uint16_t);
    return STATUS_OK;
}

tokens_meaning tokens_means(const tokens *t, const char *of)
{
    return (tokens_meaning){.of = of, .directory = t->bytes ? NULL : t->said_by, .bytes = t->bytes};
}

/* What a meta.json says of the tokens beside it: it has to be what others say. */
static status note_meaning(tokens *t, const char *meta, const char *kind)
{
    char directory[4096];
    size_t length = strlen(meta) - strlen("meta.json");
    snprintf(directory, sizeof directory, "%.*s", length ? (int)length : 1, length ? meta : ".");
    tokens_meaning found = {.of = meta, .bytes = kind && strcmp(kind, "bytes") == 0};
    if (kind && strcmp(kind, "bpe") == 0) found.directory = directory;
    if (!found.bytes && !found.directory) return STATUS_OK;
    if (t->said_by) {
        const tokens_meaning first = tokens_means(t, t->said_by);
        return strcmp(t->said_by, directory) == 0 ? STATUS_OK : tokenizer_compare(&found, &first);
    }
    t->bytes = found.bytes;
    t->said_by = strdup(directory);
    return t->said_by ? STATUS_OK : fail(STATUS_NOMEM, "memory for a path");
}

/* meta.json beside the shards, where there is one. */
static status check_meta(tokens *t, const char *shard_path)
{
    char path[4096];
    snprintf(path, sizeof path - 16, "%s", shard_path);
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "meta.json");
    if (access(path, F_OK) != 0) return STATUS_OK;
    json_t *meta;
    status result = json_text_read(&meta, path, 0);
    if (result) return result;
    json_t *size = json_object_get(meta, "vocab_size");
    const char *kind = json_string_value(json_object_get(meta, "tokenizer"));
    json_int_t found = json_is_integer(size) ? json_integer_value(size) : -1;
    result = note_meaning(t, path, kind);
    json_decref(meta);
    if (result) return result;
    if (found < 1)
        return fail(STATUS_INPUT, "%s: vocab_size: a whole number from 1 expected", path);
    if ((size_t)found > t->vocab_size)
        return fail(STATUS_INPUT, "%s: vocab_size %lld found, at most the model's %zu expected",
                    path, (long long)found, t->vocab_size);
    return STATUS_OK;
}

static status open_shards(tokens *t, const glob_t *found)
{
    t->shards = calloc(found->gl_pathc, sizeof *t->shards);
    if (!t->shards) return fail(STATUS_NOMEM, "memory for %zu shards", found->gl_pathc);
    for (size_t i = 0; i < found->gl_pathc; i++) {
        shard *s = &t->shards[t->shard_count++];
        s->path = strdup(found->gl_pathv[i]);
        status result = s->path ? open_shard(s) : fail(STATUS_NOMEM, "memory for a path");
        if (!result) result = check_meta(t, s->path);
        if (result) return result;
        if (s->count <= t->length)
            return fail(STATUS_INPUT,
                        "%s: %llu tokens found, a window of %zu and one more expected in every "
                        "shard",
                        s->path, (unsigned long long)s->count, t->length);
        s->first_window = t->windows;
        t->count += s->count;
        t->windows += (s->count - 1) / t->length;
    }
    return STATUS_OK;
}

status tokens_open(tokens **out, const char *pattern, size_t length, size_t vocab_size)
{
    assert(length > 0);
    *out = NULL;
    tokens *t = calloc(1, sizeof *t);
    if (!t) return fail(STATUS_NOMEM, "memory for tokens");
    *t = (tokens){.length = length, .vocab_size = vocab_size};
    glob_t found = {0};
    status result = file_find(&found, pattern, "a token file");
    if (!result) result = open_shards(t, &found);
    globfree(&found);
    if (result) tokens_close(&t);
    *out = t;
    return result;
}

void tokens_close(tokens **out)
{
    tokens *t = *out;
    if (!t) return;
    for (size_t i = 0; i < t->shard_count; i++) {
        file_unmap(&t->shards[i].map);
        free(t->shards[i].path);
    }
    free(t->shards);
    free(t->said_by);
    free(t);
    *out = NULL;
}

uint64_t tokens_count(const tokens *t)
{
    return t->count;
}

uint64_t tokens_windows(const tokens *t)
{
    return t->windows;
}

static uint32_t data_word(uint64_t seed, uint32_t c0, uint32_t round, uint64_t epoch)
{
    uint32_t out[4];
    uint32_t counter[4] = {c0, (uint32_t)STREAM_DATA << 24 | round, (uint32_t)epoch, 0};
    noise_words(out, seed, counter);
    return out[0];
}

uint64_t tokens_permute(uint64_t seed, uint64_t epoch, uint64_t position, uint64_t windows)
{
    unsigned b = 1;
    while (b < 31 && (1ULL << 2 * b) < windows) b++;
    uint64_t mask = (1ULL << b) - 1;
    do {
        uint64_t left = position >> b, right = position & mask;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            uint64_t next = left ^ (data_word(seed, (uint32_t)right, round, epoch) & mask);
            left = right;
            right = next;
        }
        position = left << b | right;
    } while (position >= windows);
    return position;
}

uint64_t tokens_shift(uint64_t seed, uint64_t epoch, size_t length)
{
    return epoch == 0 ? 0 : data_word(seed, 0, SHIFT_ROUND, epoch) % length;
}

static const shard *shard_of(const tokens *t, uint64_t window)
{
    size_t low = 0, high = t->shard_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (t->shards[middle].first_window <= window)
            low = middle;
        else
            high = middle;
    }
    return &t->shards[low];
}

static status copy_window(const tokens *t, uint64_t window, uint64_t offset, uint16_t *inputs,
                          uint16_t *targets)
{
    const shard *s = shard_of(t, window);
    uint64_t start = offset + (window - s->first_window) * t->length;
    activity_file(ACTIVITY_READS, "reads", s->path);
    for (size_t i = 0; i <= t->length; i++) {
        uint64_t at = (start + i) % s->count;
        uint16_t value = le16toh(s->values[at]);
        if (value >= t->vocab_size)
            return fail(STATUS_INPUT, "%s: token %llu is %u, below the vocabulary's %zu expected",
                        s->path, (unsigned long long)at, value, t->vocab_size);
        if (i < t->length) inputs[i] = value;
        if (i > 0) targets[i - 1] = value;
    }
    activity_done(0);
    return STATUS_OK;
}

status tokens_item(const tokens *t, uint64_t seed, uint64_t q, bool shift, uint16_t *inputs,
                   uint16_t *targets)
{
    uint64_t epoch = q / t->windows;
    uint64_t window = tokens_permute(seed, epoch, q % t->windows, t->windows);
    return copy_window(t, window, shift ? tokens_shift(seed, epoch, t->length) : 0, inputs,
                       targets);
}

status tokens_window(const tokens *t, uint64_t v, uint16_t *inputs, uint16_t *targets)
{
    return copy_window(t, v, 0, inputs, targets);
}
