/* The files of a tokenizer in the directories that have one: vocab.json and merges.txt, OpenAI's
 * encoder.json and vocab.bpe, or tokenizer.json. */
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/tokens/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

const tokenizer_form tokenizer_forms[TOKENIZER_FORMS] = {
    {"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}, {"tokenizer.json", NULL}};

const char *const tokenizer_others[TOKENIZER_OTHERS] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};

static void join(char path[PATH_SIZE], const char *directory, const char *name)
{
    snprintf(path, PATH_SIZE, "%.3800s/%s", directory, name);
}

static bool is_there(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    join(path, directory, name);
    return access(path, F_OK) == 0;
}

const tokenizer_form *tokenizer_find(const char *directory)
{
    for (size_t i = 0; i < TOKENIZER_FORMS; i++) {
        const tokenizer_form *form = &tokenizer_forms[i];
        if (is_there(directory, form->first) &&
            (!form->second || is_there(directory, form->second)))
            return form;
    }
    return NULL;
}

bool tokenizer_exists(const char *directory)
{
    return tokenizer_find(directory) != NULL;
}

bool tokenizer_of_run(char *directory, size_t size, const char *run)
{
    snprintf(directory, size, "%s", run);
    if (tokenizer_exists(directory)) return true;
    snprintf(directory, size, "%s/..", run);
    return is_there(run, "state.json") && tokenizer_exists(directory);
}

/* ---- copying ---- */

static status copy(const char *from, const char *name, const char *to, const char *new_name)
{
    char path[PATH_SIZE], *text;
    size_t size;
    join(path, from, name);
    status result = file_read_text(&text, &size, path, TOKENIZER_FILE);
    if (result) return result;
    join(path, to, new_name);
    result = file_write_atomic(path, text, size);
    free(text);
    return result;
}

static status remove_one(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    join(path, directory, name);
    return file_remove_tree(path);
}

/* What `from` lacks is removed last, so that a copy that fails leaves what was there. */
status tokenizer_copy(const char *from, const char *to)
{
    if (file_same(from, to)) return STATUS_OK;
    const tokenizer_form *form = tokenizer_find(from), *pair = &tokenizer_forms[0];
    bool has_pair = form && form->second;
    status result = STATUS_OK;
    if (has_pair) {
        result = copy(from, form->first, to, pair->first);
        if (!result) result = copy(from, form->second, to, pair->second);
    }
    for (size_t i = 0; !result && i < TOKENIZER_OTHERS; i++)
        if (is_there(from, tokenizer_others[i]))
            result = copy(from, tokenizer_others[i], to, tokenizer_others[i]);
    if (!result && !has_pair) result = remove_one(to, pair->first);
    if (!result && !has_pair) result = remove_one(to, pair->second);
    for (size_t i = 0; !result && i < TOKENIZER_OTHERS; i++)
        if (!is_there(from, tokenizer_others[i])) result = remove_one(to, tokenizer_others[i]);
    return result;
}

status tokenizer_remove(const char *directory)
{
    status result = remove_one(directory, tokenizer_forms[0].first);
    if (!result) result = remove_one(directory, tokenizer_forms[0].second);
    for (size_t i = 0; !result && i < TOKENIZER_OTHERS; i++)
        result = remove_one(directory, tokenizer_others[i]);
    return result;
}

/* ---- writing ---- */

static void write_spelled(FILE *out, const tokenizer *t, size_t token)
{
    size_t size;
    const unsigned char *bytes = token_at(t, token, &size);
    for (size_t i = 0; i < size; i++) {
        char text[3];
        tokenizer_spell(text, bytes[i]);
        fputs(text, out);
    }
}

static void write_merges(FILE *out, const void *context)
{
    const tokenizer *t = context;
    fputs("#version: 0.2\n", out);
    for (size_t i = 0; i < t->merges; i++) {
        write_spelled(out, t, t->pairs[i] >> 16);
        fputc(' ', out);
        write_spelled(out, t, t->pairs[i] & 0xffff);
        fputc('\n', out);
    }
}

/* Token to id; NULL without memory. */
static json_t *make_vocabulary(const tokenizer *t)
{
    json_t *vocabulary = json_object();
    for (size_t i = 0; i < t->tokens.count; i++) {
        char *key = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&key, &size);
        if (out) write_spelled(out, t, i);
        bool whole = out && fclose(out) == 0;
        json_text_set(&vocabulary, whole ? key : NULL, json_integer((json_int_t)i));
        free(key);
    }
    return vocabulary;
}

static status write_json(const char *directory, const char *name, json_t *root, size_t flags)
{
    char path[PATH_SIZE];
    join(path, directory, name);
    return json_text_write(path, root, flags);
}

status tokenizer_write(const tokenizer *t, const char *directory)
{
    char path[PATH_SIZE];
    status result = write_json(directory, tokenizer_forms[0].first, make_vocabulary(t), 0);
    join(path, directory, tokenizer_forms[0].second);
    return result ? result : file_print_atomic(path, write_merges, t);
}

static json_t *make_bytes(void)
{
    json_t *vocabulary = json_object();
    for (int byte = 0; byte < BYTES; byte++) {
        char text[3];
        tokenizer_spell(text, (unsigned char)byte);
        json_text_set(&vocabulary, text, json_integer(byte));
    }
    return vocabulary;
}

/* A BPE without merges; as vocab.json and merges.txt transformers would add a token to it. */
status tokenizer_write_bytes(const char *directory)
{
    json_t *level = json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 1, "use_regex", 0);
    json_t *root = json_pack("{ss sn sn s[] sn sO sn sO s{ss sn sn sn sn sb so s[]}}", "version",
                             "1.0", "truncation", "padding", "added_tokens", "normalizer",
                             "pre_tokenizer", level, "post_processor", "decoder", level, "model",
                             "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
                             "end_of_word_suffix", "fuse_unk", 0, "vocab", make_bytes(), "merges");
    json_decref(level);
    status result = write_json(directory, "tokenizer.json", root, JSON_INDENT(1));
    if (result) return result;
    return write_json(directory, "tokenizer_config.json",
                      json_pack("{ss}", "tokenizer_class", "PreTrainedTokenizerFast"),
                      JSON_INDENT(1));
}
