/* Bytes as a byte-level BPE without merges: the vocabulary names each byte by a printable character
 * (Radford et al., 2019), and its number is the byte's. */
#include "io/export_tokenizer.h"

#include "io/file.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, FILE_LIMIT = 256 << 20 };

static void join(char path[PATH_SIZE], const char *directory, const char *name)
{
    snprintf(path, PATH_SIZE, "%.3800s/%s", directory, name);
}

static bool has(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    join(path, directory, name);
    return access(path, F_OK) == 0;
}

static status copy(const char *into, const char *directory, const char *name)
{
    char path[PATH_SIZE], *text;
    size_t size;
    join(path, directory, name);
    status result = file_read_text(&text, &size, path, FILE_LIMIT);
    if (result) return result;
    join(path, into, name);
    result = file_write_atomic(path, text, size);
    free(text);
    return result;
}

static status copy_files(const char *into, const char *directory)
{
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json",   "vocab.json",
        "merges.txt",     "special_tokens_map.json", "added_tokens.json"};
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < sizeof names / sizeof *names; i++)
        if (has(directory, names[i])) result = copy(into, directory, names[i]);
    return result;
}

static bool has_bytes(const char *directory)
{
    char path[PATH_SIZE];
    join(path, directory, "meta.json");
    json_t *meta = json_load_file(path, 0, NULL);
    const char *tokenizer = json_string_value(json_object_get(meta, "tokenizer"));
    bool found = tokenizer && strcmp(tokenizer, "bytes") == 0;
    json_decref(meta);
    return found;
}

/* Of bytes that stand for no visible character of Latin-1, the n-th is named by U+0100 + n. */
static bool is_visible(int byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

static json_t *make_vocabulary(void)
{
    json_t *vocabulary = json_object();
    for (int byte = 0, hidden = 0; byte < 256; byte++) {
        unsigned code = (unsigned)(is_visible(byte) ? byte : 0x100 + hidden++);
        char name[3] = {(char)code};
        if (code >= 0x80) {
            name[0] = (char)(0xc0 | code >> 6);
            name[1] = (char)(0x80 | (code & 0x3f));
        }
        json_object_set_new(vocabulary, name, json_integer(byte));
    }
    return vocabulary;
}

static status write_json(const char *into, const char *name, json_t *root)
{
    char path[PATH_SIZE], *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    join(path, into, name);
    status result = text ? file_write_atomic(path, text, strlen(text))
                         : fail(STATUS_NOMEM, "memory to write %s", path);
    free(text);
    json_decref(root);
    return result;
}

static status write_bytes(const char *into)
{
    json_t *level = json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 1, "use_regex", 0);
    json_t *root =
        json_pack("{ss sn sn s[] sn sO sn sO s{ss sn sn sn sn sb so s[]}}", "version", "1.0",
                  "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", level,
                  "post_processor", "decoder", level, "model", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "vocab", make_vocabulary(), "merges");
    json_decref(level);
    status result = write_json(into, "tokenizer.json", root);
    if (result) return result;
    return write_json(into, "tokenizer_config.json",
                      json_pack("{ss}", "tokenizer_class", "PreTrainedTokenizerFast"));
}

status export_tokenizer(const char *into, const char *const *directories, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (has(directories[i], "tokenizer.json") || has(directories[i], "vocab.json"))
            return copy_files(into, directories[i]);
    for (size_t i = 0; i < count; i++)
        if (has_bytes(directories[i])) return write_bytes(into);
    return STATUS_OK;
}
