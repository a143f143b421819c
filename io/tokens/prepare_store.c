/* The state is saved behind the tokens that it counts, and moving files into place can be done
 * again from any point: so a kill anywhere is as if nothing had happened. */
#include "io/tokens/prepare_store.h"

#include "io/files/data_file.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/runs/output.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SHARDS = 999999 /* six digits: sorted names are the order */, SAVE_SECONDS = 5 };

static void join(char *path, const char *directory, const char *name)
{
    snprintf(path, STORE_PATH, "%s/%s", directory, name);
}

static void name_part(char *path, const store *s, uint64_t shard)
{
    snprintf(path, STORE_PATH, "%s/tokens_%06" PRIu64, s->path, shard + 1);
}

static status failed(const char *what, const char *path)
{
    return fail(STATUS_IO, "%s %s: %s", what, path, strerror(errno));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- state ---- */

/* What an earlier command left, unless it was another one or the state is torn. */
static bool read_state(store *s)
{
    char path[STORE_PATH];
    long long tokens, text, offset, line;
    const char *command;
    int placing;
    join(path, s->path, "state.json");
    json_t *root;
    if (json_text_read(&root, path, 0)) status_clear();
    char expected[32];
    snprintf(expected, sizeof expected, "%016" PRIx64, s->command);
    bool found = root &&
                 json_unpack(root, "{s:s, s:b, s:I, s:I, s:I, s:I}", "command", &command, "placing",
                             &placing, "tokens", &tokens, "text", &text, "offset", &offset, "line",
                             &line) == 0 &&
                 strcmp(command, expected) == 0;
    if (found) {
        s->placing = placing;
        s->tokens = (uint64_t)tokens;
        s->place = (text_place){(uint64_t)text, (uint64_t)offset, (uint64_t)line};
    }
    json_decref(root);
    return found;
}

static status write_state(store *s)
{
    char path[STORE_PATH];
    join(path, s->path, "state.json");
    s->saved = true;
    s->saved_shard = s->tokens / s->o->shard_tokens;
    s->saved_seconds = now();
    return json_text_write(
        path,
        json_pack("{so sb sI sI sI sI}", "command", json_sprintf("%016" PRIx64, s->command),
                  "placing", s->placing, "tokens", (json_int_t)s->tokens, "text",
                  (json_int_t)s->place.text, "offset", (json_int_t)s->place.offset, "line",
                  (json_int_t)s->place.line),
        0);
}

static status close_part(store *s)
{
    if (!s->out) return STATUS_OK;
    char path[STORE_PATH];
    name_part(path, s, (s->tokens - 1) / s->o->shard_tokens);
    bool whole = fflush(s->out) == 0 && fsync(fileno(s->out)) == 0;
    status result = whole ? STATUS_OK : failed("write", path);
    fclose(s->out);
    s->out = NULL;
    return result;
}

static status begin(store *s)
{
    struct stat info;
    char path[STORE_PATH];
    if (!read_state(s)) {
        join(path, s->path, "state.json");
        if (s->o->say && stat(path, &info) == 0)
            s->o->say("what another command or other texts left unfinished is not used");
        s->place = (text_place){.line = 1};
        s->saved_seconds = now();
        return unlink(path) == 0 || errno == ENOENT ? STATUS_OK : failed("remove", path);
    }
    s->saved = true;
    s->saved_shard = s->tokens / s->o->shard_tokens;
    s->saved_seconds = now();
    if (s->o->say && s->tokens > 0) {
        char sentence[64];
        snprintf(sentence, sizeof sentence, "goes on after %" PRIu64 " tokens", s->tokens);
        s->o->say(sentence);
    }
    return STATUS_OK;
}

/* Where the tokens and what belongs to them go. */
static bool takes(const char *name)
{
    static const char *const names[] = {"train.bin", "val.bin", "meta.json", "vocab.json",
                                        "merges.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return strncmp(name, "train_", 6) == 0 || strncmp(name, "prepare.partial/", 16) == 0;
}

status store_open(store *s, const prepare_options *o, uint64_t command)
{
    char path[STORE_PATH];
    *s = (store){.o = o, .command = command, .place = {.line = 1}};
    join(s->path, o->directory, "prepare.partial");
    s->made = access(o->directory, F_OK) != 0;
    status result = output_check_directory(o->directory, o->texts, o->count, takes);
    if (!result) result = file_make_directories(s->path);
    join(path, s->path, ".lock");
    if (!result) result = lock_take(&s->lock, path, o->directory, "another prepare");
    return result ? result : begin(s);
}

void store_close(store *s, bool discard)
{
    if (s->out) fclose(s->out);
    s->out = NULL;
    if (discard) file_remove_tree(s->path);
    if (discard && s->made) rmdir(s->o->directory);
    lock_release(&s->lock);
}

/* ---- tokens ---- */

/* Open the shard of the next token, at that token: what lies behind it was not saved. */
static status open_part(store *s)
{
    char path[STORE_PATH];
    uint64_t within = s->tokens % s->o->shard_tokens;
    name_part(path, s, s->tokens / s->o->shard_tokens);
    if (within == 0) return file_create_stream(&s->out, path);
    int fd;
    errno = data_file_join(&fd, path);
    if (errno) return failed("open", path);
    bool cut = ftruncate(fd, (off_t)(within * sizeof(uint16_t))) == 0;
    if (cut && (s->out = fdopen(fd, "ab"))) return STATUS_OK;
    status result = failed("cut", path);
    close(fd);
    return result;
}

status store_append(store *s, const uint16_t *tokens, size_t count)
{
    while (count > 0) {
        status result = s->out ? STATUS_OK : open_part(s);
        if (result) return result;
        uint64_t left = s->o->shard_tokens - s->tokens % s->o->shard_tokens;
        size_t n = count < left ? count : (size_t)left;
        if (fwrite(tokens, sizeof *tokens, n, s->out) != n) return failed("write", s->path);
        s->tokens += n;
        tokens += n;
        count -= n;
        if (n == left && (result = close_part(s))) return result;
    }
    return STATUS_OK;
}

bool store_is_due(const store *s)
{
    return s->tokens / s->o->shard_tokens > s->saved_shard ||
           now() - s->saved_seconds > SAVE_SECONDS;
}

status store_save(store *s, const text_place *place)
{
    status result = close_part(s);
    s->place = *place;
    return result ? result : write_state(s);
}

/* ---- into place ---- */

static void name_shard(char *path, const store *s, uint64_t shards, uint64_t shard)
{
    if (shards == 1)
        join(path, s->o->directory, "train.bin");
    else
        snprintf(path, STORE_PATH, "%s/train_%06" PRIu64 ".bin", s->o->directory, shard + 1);
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

static status check_shards(const store *s, uint64_t shards)
{
    char path[STORE_PATH];
    if (shards > MAX_SHARDS)
        return fail(STATUS_INPUT,
                    "%s: %" PRIu64 " shards of %" PRIu64
                    " tokens found, at most %d shards expected",
                    s->o->directory, shards, s->o->shard_tokens, MAX_SHARDS);
    join(path, s->o->directory, "train.bin");
    status result = shards > 1 ? refuse_leftover(path) : STATUS_OK;
    snprintf(path, sizeof path, "%s/train_%06" PRIu64 ".bin", s->o->directory,
             shards > 1 ? shards + 1 : 1);
    return result ? result : refuse_leftover(path);
}

static status copy_tokens(FILE *out, const char *to, const char *from, uint64_t first)
{
    enum { CHUNK = 1 << 20 };
    status result = STATUS_OK;
    size_t n = 1;
    char *bytes = malloc(CHUNK);
    FILE *in = NULL;
    result = bytes ? file_open_stream(&in, NULL, from, "a file of tokens")
                   : fail(STATUS_NOMEM, "memory to copy tokens");
    if (!result && fseeko(in, (off_t)(first * sizeof(uint16_t)), SEEK_SET) != 0)
        result = failed("read", from);
    while (!result && n > 0) {
        n = fread(bytes, 1, CHUNK, in);
        if (ferror(in)) result = failed("read", from);
        if (fwrite(bytes, 1, n, out) != n) result = failed("write", to);
    }
    if (in) fclose(in);
    free(bytes);
    return result;
}

/* Tokens `train` and on, of all shards, into a file beside them. */
static status write_valid(const store *s, uint64_t train)
{
    char to[STORE_PATH], from[STORE_PATH];
    join(to, s->path, "val.bin");
    FILE *out;
    status result = file_create_stream(&out, to);
    if (result) return result;
    for (uint64_t at = train; !result && at < s->tokens;) {
        uint64_t shard = at / s->o->shard_tokens;
        name_part(from, s, shard);
        result = copy_tokens(out, to, from, at % s->o->shard_tokens);
        at = (shard + 1) * s->o->shard_tokens;
    }
    if (!result && (fflush(out) != 0 || fsync(fileno(out)) != 0)) result = failed("write", to);
    fclose(out);
    return result;
}

static status move(const char *from, const char *to)
{
    if (rename(from, to) == 0 || errno == ENOENT) return STATUS_OK; /* moved before a kill */
    return failed("rename", from);
}

/* The tokens of a shard that are for training; the rest is in val.bin. */
static status move_shard(const store *s, uint64_t shards, uint64_t shard, uint64_t train)
{
    char from[STORE_PATH], to[STORE_PATH];
    uint64_t first = shard * s->o->shard_tokens, count = train - first;
    if (count > s->o->shard_tokens) count = s->o->shard_tokens;
    name_part(from, s, shard);
    name_shard(to, s, shards, shard);
    if (access(from, F_OK) != 0) return STATUS_OK;
    if (truncate(from, (off_t)(count * sizeof(uint16_t))) != 0) return failed("cut", from);
    return move(from, to);
}

static status write_meta(const store *s, const tokenizer *t, uint64_t train)
{
    char path[STORE_PATH];
    join(path, s->o->directory, "meta.json");
    json_t *meta = json_pack("{sI ss}", "vocab_size", (json_int_t)(t ? tokenizer_count(t) : 256),
                             "tokenizer", t ? "bpe" : "bytes");
    if (t && tokenizer_end_of_text(t) >= 0)
        json_text_set(&meta, "end_of_text", json_integer(tokenizer_end_of_text(t)));
    json_text_join(&meta, json_pack("{sI sI}", "train_tokens", (json_int_t)train, "valid_tokens",
                                    (json_int_t)(s->tokens - train)));
    return json_text_write(path, meta, 0);
}

/* With tokens that are bytes, the tokenizer of an earlier call goes; one that was read here stays
 * as it is. */
static status write_tokenizer(const store *s, const tokenizer *t)
{
    char path[STORE_PATH];
    if (t && s->o->tokenizer && file_inside(NULL, 0, s->o->tokenizer, s->o->directory))
        return STATUS_OK;
    if (t) return tokenizer_write(t, s->o->directory);
    join(path, s->o->directory, "vocab.json");
    status result = file_remove_tree(path);
    join(path, s->o->directory, "merges.txt");
    return result ? result : file_remove_tree(path);
}

static status prepare_store_place(store *s, const tokenizer *t, uint64_t shards, uint64_t train)
{
    char from[STORE_PATH], to[STORE_PATH];
    status result = STATUS_OK;
    for (uint64_t i = 0; !result && i < shards; i++) result = move_shard(s, shards, i, train);
    join(from, s->path, "val.bin");
    join(to, s->o->directory, "val.bin");
    if (!result) result = move(from, to);
    if (!result) result = write_tokenizer(s, t);
    if (!result) result = write_meta(s, t, train);
    return result ? result : file_sync_directory(s->o->directory);
}

/* A shard that is shorter than a window would be refused by what reads it. */
static void tell_of_rest(const store *s, uint64_t train, uint64_t shards)
{
    enum { LONGEST = 1024 /* GPT-2's window */ };
    uint64_t last = train - (shards - 1) * s->o->shard_tokens;
    char sentence[200];
    if (shards < 2 || last > LONGEST || !s->o->say) return;
    snprintf(sentence, sizeof sentence,
             "the last shard has %" PRIu64 " tokens, of which a job with batch.length %" PRIu64
             " or more makes no window: it will be refused (another --shard-tokens avoids it)",
             last, last);
    s->o->say(sentence);
}

status store_publish(store *s, const tokenizer *t, bool *refused)
{
    uint64_t valid = (uint64_t)((double)s->tokens * s->o->valid), train = s->tokens - valid;
    uint64_t shards = train > 0 ? 1 + (train - 1) / s->o->shard_tokens : 0;
    status result = STATUS_OK;
    if (valid < 2 || train < 2)
        return fail(STATUS_INPUT,
                    "%s: %" PRIu64 " tokens for training and %" PRIu64
                    " for validation found, at least 2 of each expected",
                    s->o->texts[0], train, valid);
    if (!s->placing) {
        result = check_shards(s, shards);
        *refused = result == STATUS_INPUT;
        if (!result) result = write_valid(s, train);
        s->placing = true;
        if (!result) result = write_state(s);
    }
    if (!result) tell_of_rest(s, train, shards);
    return result ? result : prepare_store_place(s, t, shards, train);
}
