/* Text to byte-level token files. Nothing appears under its name until it is whole. */
#include "io/file.h"
#include "io/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_SHARDS = 999999 /* six digits: sorted names are the order */ };

typedef struct {
    const char *const *texts;
    size_t count;
    size_t text; /* being read */
    FILE *in;
    uint64_t total; /* bytes of all texts */
} source;

static status measure(source *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct stat info;
        if (stat(s->texts[i], &info) != 0)
            return fail(STATUS_INPUT, "%s: %s", s->texts[i], strerror(errno));
        if (!S_ISREG(info.st_mode))
            return fail(STATUS_INPUT, "%s: a text file expected, no regular file found",
                        s->texts[i]);
        s->total += (uint64_t)info.st_size;
    }
    if (s->total < 20)
        return fail(STATUS_INPUT, "%s: %llu bytes of text found, at least 20 expected", s->texts[0],
                    (unsigned long long)s->total);
    return STATUS_OK;
}

/* The next bytes over all texts; fewer than asked for only where a text was cut meanwhile. */
static status read_bytes(source *s, unsigned char *bytes, size_t wanted)
{
    for (size_t got = 0; got < wanted;) {
        if (!s->in) {
            if (s->text == s->count)
                return fail(STATUS_IO, "%s: the texts became shorter while they were read",
                            s->texts[0]);
            s->in = fopen(s->texts[s->text], "rb");
            if (!s->in) return fail(STATUS_INPUT, "%s: %s", s->texts[s->text], strerror(errno));
        }
        size_t n = fread(bytes + got, 1, wanted - got, s->in);
        if (ferror(s->in))
            return fail(STATUS_IO, "read %s: %s", s->texts[s->text], strerror(errno));
        got += n;
        if (n == 0) {
            fclose(s->in);
            s->in = NULL;
            s->text++;
        }
    }
    return STATUS_OK;
}

static status copy_tokens(source *s, FILE *out, const char *path, uint64_t count)
{
    enum { CHUNK = 1 << 16 };
    unsigned char *bytes = malloc(3 * CHUNK);
    if (!bytes) return fail(STATUS_NOMEM, "memory to read text");
    unsigned char *pairs = bytes + CHUNK; /* little-endian uint16 */
    status result = STATUS_OK;
    while (!result && count > 0) {
        size_t n = count < CHUNK ? (size_t)count : CHUNK;
        result = read_bytes(s, bytes, n);
        for (size_t i = 0; i < n; i++) {
            pairs[2 * i] = bytes[i];
            pairs[2 * i + 1] = 0;
        }
        if (!result && fwrite(pairs, 2, n, out) != n)
            result = fail(STATUS_IO, "write %s: %s", path, strerror(errno));
        count -= n;
    }
    free(bytes);
    return result;
}

static status write_tokens(source *s, const char *path, uint64_t count)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    FILE *out = fopen(temporary, "wb");
    if (!out) return fail(STATUS_IO, "create %s: %s", temporary, strerror(errno));
    status result = copy_tokens(s, out, path, count);
    if (!result && (fflush(out) != 0 || fsync(fileno(out)) != 0))
        result = fail(STATUS_IO, "write %s: %s", path, strerror(errno));
    fclose(out);
    if (!result && rename(temporary, path) != 0)
        result = fail(STATUS_IO, "rename %s: %s", temporary, strerror(errno));
    if (result) unlink(temporary);
    return result;
}

/* A file that an earlier prepare left and this one does not replace: a pattern would name the new
 * shards and the old one. */
static status refuse_leftover(const char *path)
{
    if (access(path, F_OK) != 0) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: left by an earlier prepare, would be read with the new shards: expected to be "
                "removed, or another directory",
                path);
}

static status check_shards(const char *directory, uint64_t count, uint64_t shard_tokens)
{
    char path[4096];
    uint64_t shards = count <= shard_tokens ? 0 : 1 + (count - 1) / shard_tokens;
    if (shards > MOST_SHARDS)
        return fail(STATUS_INPUT,
                    "%s: %llu shards of %llu tokens found, at most %d shards expected", directory,
                    (unsigned long long)shards, (unsigned long long)shard_tokens, MOST_SHARDS);
    snprintf(path, sizeof path, "%s/train.bin", directory);
    status result = shards > 0 ? refuse_leftover(path) : STATUS_OK;
    snprintf(path, sizeof path, "%s/train_%06u.bin", directory, (unsigned)shards + 1);
    return result ? result : refuse_leftover(path);
}

static status write_train(source *s, const char *directory, uint64_t count, uint64_t shard_tokens)
{
    char path[4096];
    if (count <= shard_tokens) {
        snprintf(path, sizeof path, "%s/train.bin", directory);
        return write_tokens(s, path, count);
    }
    status result = STATUS_OK;
    for (unsigned i = 1; !result && count > 0; i++) {
        uint64_t n = count < shard_tokens ? count : shard_tokens;
        snprintf(path, sizeof path, "%s/train_%06u.bin", directory, i);
        result = write_tokens(s, path, n);
        count -= n;
    }
    return result;
}

static status write_meta(const char *directory, uint64_t train, uint64_t valid)
{
    char path[4096], text[256];
    snprintf(path, sizeof path, "%s/meta.json", directory);
    int n = snprintf(text, sizeof text,
                     "{\"vocab_size\": 256, \"tokenizer\": \"bytes\", \"train_tokens\": %llu, "
                     "\"valid_tokens\": %llu}\n",
                     (unsigned long long)train, (unsigned long long)valid);
    return file_write_atomic(path, text, (size_t)n);
}

status tokens_prepare(const char *const *texts, size_t count, const char *directory, double valid,
                      uint64_t shard_tokens)
{
    source s = {.texts = texts, .count = count};
    char path[4096];
    status result = measure(&s);
    uint64_t last = (uint64_t)((double)s.total * valid), train = s.total - last;
    if (!result && (last < 2 || train < 2))
        result = fail(STATUS_INPUT,
                      "%s: %llu tokens for training and %llu for validation found, at least 2 of "
                      "each expected",
                      texts[0], (unsigned long long)train, (unsigned long long)last);
    if (!result) result = check_shards(directory, train, shard_tokens);
    if (!result) result = file_make_directories(directory);
    if (!result) result = write_train(&s, directory, train, shard_tokens);
    snprintf(path, sizeof path, "%s/val.bin", directory);
    if (!result) result = write_tokens(&s, path, last);
    if (!result) result = write_meta(directory, train, last);
    if (!result) result = file_sync_directory(directory);
    if (s.in) fclose(s.in);
    return result;
}
