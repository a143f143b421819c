/* The tokenizer against a slow one in Python (fixtures/make_tokenizer_fixture.py), on any bytes,
 * and every file that is not one. */
#include "folder_fixture.h"
#include "io/tokens/text_source.h"
#include "io/tokens/tokenizer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const char *name;
    size_t size, repeats, tokens;
    uint64_t hash;    /* FNV-1a over little-endian tokens */
    const char *unit; /* [size] NULL: tokenizer.txt */
} encoded_case;

#include "fixtures/tokenizer.inc"

enum { CASES = sizeof encoded_cases / sizeof encoded_cases[0] };

static tokenizer *t;
static encoder *e;

static void open_fixture(void)
{
    open_folder();
    cr_assert_eq(tokenizer_open(&t, TEST_DATA "/tokenizer"), STATUS_OK, "%s", status_message());
    cr_assert_eq(encoder_open(&e, t), STATUS_OK);
}

static void close_fixture(void)
{
    encoder_close(&e);
    tokenizer_close(&t);
    close_folder();
}

TestSuite(tokenizer, .init = open_fixture, .fini = close_fixture);

static uint64_t hash_of(const token_list *l)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (size_t i = 0; i < l->count; i++)
        for (int shift = 0; shift <= 8; shift += 8)
            hash = (hash ^ ((uint32_t)l->values[i] >> shift & 255U)) * 0x100000001b3U;
    return hash;
}

static void expect_decoded(const token_list *l, const char *text, size_t size, const char *name)
{
    size_t at = 0;
    for (size_t i = 0; i < l->count; i++) {
        size_t n;
        const void *bytes = tokenizer_bytes(t, l->values[i], &n);
        cr_assert(at + n <= size && memcmp(text + at, bytes, n) == 0, "%s: token %zu", name, i);
        at += n;
    }
    cr_assert_eq(at, size, "%s: %zu bytes of %zu", name, at, size);
}

/* The caller frees it. */
static char *text_of(const encoded_case *c, size_t *size)
{
    char *whole = NULL, *text;
    size_t unit = c->size;
    if (!c->unit)
        cr_assert_eq(file_read_text(&whole, &unit, TEST_DATA "/tokenizer.txt", 1 << 20), STATUS_OK);
    *size = unit * c->repeats;
    text = malloc(*size + 1);
    for (size_t i = 0; i < c->repeats; i++) memcpy(text + i * unit, whole ? whole : c->unit, unit);
    free(whole);
    return text;
}

/* Twice: the second time short pieces come from the cache. */
Test(tokenizer, gives_the_tokens_of_the_reference)
{
    token_list l = {0};
    for (size_t i = 0; i < 2 * CASES; i++) {
        const encoded_case *c = &encoded_cases[i % CASES];
        size_t size;
        char *text = text_of(c, &size);
        l.count = 0;
        cr_assert(encoder_append(e, text, size, &l));
        expect_decoded(&l, text, size, c->name);
        cr_expect_eq(l.count, c->tokens, "%s: %zu tokens, %zu expected", c->name, l.count,
                     c->tokens);
        cr_expect_eq(hash_of(&l), c->hash, "%s: other tokens", c->name);
        free(text);
    }
    free(l.values);
}

static uint32_t state = 1;

static uint32_t draw(void)
{
    state = state * 1664525U + 1013904223U;
    return state >> 8;
}

/* Mixtures of characters, halves of characters, white space and bytes. */
static size_t draw_text(char *text, size_t max)
{
    static const char *const parts[] = {"a",    "the",  " ",    "\n",   "é",      "中", "🙂",
                                        "\xe4", "\xb8", "\xf0", "\xff", "\u3000", "'s", "1"};
    size_t size = 0, wanted = draw() % max;
    while (size < wanted) {
        const char *part = parts[draw() % (sizeof parts / sizeof parts[0])];
        size_t n = strlen(part);
        memcpy(text + size, part, n);
        size += n;
        if (draw() % 8 == 0) text[size++] = (char)draw();
    }
    return size;
}

Test(tokenizer, gives_any_bytes_back)
{
    static char text[1000];
    token_list l = {0};
    for (int i = 0; i < 3000; i++) {
        size_t size = draw_text(text, i % 2 ? 40 : 900);
        l.count = 0;
        cr_assert(encoder_append(e, text, size, &l));
        expect_decoded(&l, text, size, "random text");
    }
    free(l.values);
}

/* Wherever a text may be cut its parts give the tokens of the whole. */
Test(tokenizer, may_be_cut)
{
    static char text[400];
    token_list whole = {0}, parts = {0};
    size_t cuts = 0;
    for (int i = 0; i < 2000; i++) {
        size_t size = draw_text(text, 60);
        whole.count = 0;
        cr_assert(encoder_append(e, text, size, &whole));
        for (size_t at = 1; at < size; at++) {
            if (!tokenizer_may_cut(text, at)) continue;
            cuts++;
            parts.count = 0;
            cr_assert(encoder_append(e, text, at, &parts));
            cr_assert(encoder_append(e, text + at, size - at, &parts));
            cr_assert(parts.count == whole.count && hash_of(&parts) == hash_of(&whole),
                      "text %d cut at %zu of %zu", i, at, size);
        }
    }
    cr_expect_gt(cuts, 1000);
    free(whole.values);
    free(parts.values);
}

static void expect_same_file(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    cr_assert_eq(file_read_text(&x, &n, a, 1 << 20), STATUS_OK, "%s", status_message());
    cr_assert_eq(file_read_text(&y, &m, b, 1 << 20), STATUS_OK, "%s", status_message());
    cr_expect(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

static void expect_fixture_written(const tokenizer *other)
{
    cr_assert_eq(tokenizer_write(other, folder), STATUS_OK, "%s", status_message());
    expect_same_file(path_of("vocab.json"), TEST_DATA "/tokenizer/vocab.json");
    expect_same_file(path_of("merges.txt"), TEST_DATA "/tokenizer/merges.txt");
}

Test(tokenizer, learns_what_the_reference_learns)
{
    tokenizer *splits = NULL, *learned = NULL;
    encoder *with = NULL;
    piece_counts *counts = piece_counts_open(), *half = piece_counts_open();
    char *text;
    size_t size, cut;
    cr_assert_eq(tokenizer_learn(&splits, NULL, 257), STATUS_OK);
    cr_assert_eq(encoder_open(&with, splits), STATUS_OK);
    cr_assert_eq(file_read_text(&text, &size, TEST_DATA "/tokenizer.txt", 1 << 20), STATUS_OK);
    for (cut = size / 2; !tokenizer_may_cut(text, cut);) cut++;
    cr_assert(piece_counts_add(half, with, text + cut, size - cut));
    cr_assert(piece_counts_add(counts, with, text, cut));
    cr_assert(piece_counts_merge(counts, half));
    cr_assert_eq(tokenizer_learn(&learned, counts, tokenizer_count(t)), STATUS_OK, "%s",
                 status_message());
    cr_expect_eq(tokenizer_digest(learned), tokenizer_digest(t));
    expect_fixture_written(learned);
    tokenizer_close(&learned);
    cr_expect_eq(tokenizer_learn(&learned, counts, 60000), STATUS_INPUT);
    cr_expect(strstr(status_message(), "60000 expected"), "%s", status_message());
    status_clear();
    cr_expect_null(learned);
    piece_counts_close(&counts);
    piece_counts_close(&half);
    encoder_close(&with);
    tokenizer_close(&splits);
    free(text);
}

/* ---- files ---- */

static void copy_as(const char *from, const char *to)
{
    char *text;
    size_t size;
    cr_assert_eq(file_read_text(&text, &size, from, 1 << 20), STATUS_OK);
    write_file(to, text, size);
    free(text);
}

/* tokenizer.json of the fixture, with settings of the model and others behind. */
static void write_whole(const char *model, const char *others, bool pairs)
{
    char *vocabulary, *merges;
    size_t n, m;
    cr_assert_eq(file_read_text(&vocabulary, &n, TEST_DATA "/tokenizer/vocab.json", 1 << 20),
                 STATUS_OK);
    cr_assert_eq(file_read_text(&merges, &m, TEST_DATA "/tokenizer/merges.txt", 1 << 20),
                 STATUS_OK);
    FILE *out = fopen(path_of("tokenizer.json"), "wb");
    fprintf(out, "{\"model\": {\"type\": \"BPE\", %s\"vocab\": %s, \"merges\": [", model,
            vocabulary);
    char *line = strtok(merges, "\n");
    for (bool first = true; (line = strtok(NULL, "\n")); first = false) {
        fputs(first ? "\"" : ", \"", out);
        if (pairs) fseek(out, -1, SEEK_CUR), fputs("[\"", out);
        for (; *line; line++) {
            if (*line == '"' || *line == '\\') fputc('\\', out);
            if (*line == ' ' && pairs)
                fputs("\", \"", out);
            else
                fputc(*line, out);
        }
        fputs(pairs ? "\"]" : "\"", out);
    }
    fprintf(out, "]}%s}", others);
    fclose(out);
    free(vocabulary);
    free(merges);
}

#define LEVEL ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}"
#define ADDED(id)                                                                                  \
    ", \"added_tokens\": [{\"id\": " id ", \"content\": \"<|endoftext|>\", \"special\": true}]"

static void expect_fixture(const char *path)
{
    tokenizer *other;
    cr_assert_eq(tokenizer_open(&other, path), STATUS_OK, "%s", status_message());
    cr_expect_eq(tokenizer_digest(other), tokenizer_digest(t), "%s", path);
    cr_expect_eq(tokenizer_end_of_text(other), (int)tokenizer_count(t) - 1);
    tokenizer_close(&other);
}

Test(tokenizer, every_form_is_the_same)
{
    expect_fixture_written(t);
    expect_fixture(path_of("vocab.json"));
    cr_assert_eq(tokenizer_remove(folder), STATUS_OK);
    copy_as(TEST_DATA "/tokenizer/vocab.json", "encoder.json");
    copy_as(TEST_DATA "/tokenizer/merges.txt", "vocab.bpe");
    expect_fixture(folder);
    cr_assert_eq(file_remove_tree(path_of("encoder.json")), STATUS_OK);
    for (int pairs = 0; pairs < 2; pairs++) {
        write_whole("\"dropout\": null, \"unk_token\": \"\", ", LEVEL ADDED("699"), pairs);
        expect_fixture(folder);
        expect_fixture(path_of("tokenizer.json"));
    }
}

/* What has no merges needs no pattern. */
Test(tokenizer, of_bytes)
{
    static const char text[] = "a b\n\xff\xc3\xa9";
    tokenizer *bytes;
    encoder *with;
    token_list l = {0};
    cr_assert_eq(tokenizer_write_bytes(folder), STATUS_OK, "%s", status_message());
    cr_assert_eq(tokenizer_open(&bytes, folder), STATUS_OK, "%s", status_message());
    cr_assert_eq(encoder_open(&with, bytes), STATUS_OK);
    cr_assert(encoder_append(with, text, sizeof text, &l));
    cr_assert_eq(l.count, sizeof text);
    for (size_t i = 0; i < l.count; i++) cr_expect_eq(l.values[i], (unsigned char)text[i]);
    free(l.values);
    encoder_close(&with);
    tokenizer_close(&bytes);
}

static bool alike(const char *a, const char *b)
{
    const tokens_meaning x = {.of = "one", .directory = a}, y = {.of = "other", .directory = b};
    bool same = tokenizer_compare(&x, &y) == STATUS_OK;
    status_clear();
    return same;
}

static void expect_compared(status code, const tokens_meaning *a, const tokens_meaning *b,
                            const char *part)
{
    cr_expect_eq(tokenizer_compare(a, b), code, "%s", part);
    cr_expect(strstr(status_message(), part), "%s not in: %s", part, status_message());
    status_clear();
}

/* Bytes are a tokenizer, too; of what nobody says anything is taken. */
Test(tokenizer, tokens_that_meet_are_compared)
{
    char own[80], bytes[80], foreign[80];
    snprintf(own, sizeof own, "%s", path_of("own"));
    snprintf(bytes, sizeof bytes, "%s", path_of("bytes"));
    snprintf(foreign, sizeof foreign, "%s", path_of("foreign"));
    const char *const runs[] = {NULL, folder, own, foreign, bytes};
    const tokens_meaning data = {.of = "d.bin", .bytes = true}, nobody = {.of = "x"};
    const tokens_meaning weights = {.of = "runs/a", .directory = own};
    const tokens_meaning of_bytes = {.of = "runs/b", .directory = bytes};
    const tokens_meaning unread = {.of = "runs/c", .directory = foreign};
    for (int i = 2; i < 5; i++) cr_assert_eq(file_make_directories(runs[i]), STATUS_OK);
    cr_assert_eq(tokenizer_write(t, own), STATUS_OK);
    cr_assert_eq(tokenizer_write_bytes(bytes), STATUS_OK);
    write_file("foreign/tokenizer.json", "{\"model\": {\"type\": \"WordPiece\"}}", 32);
    expect_compared(STATUS_OK, &weights, &weights, "");
    expect_compared(STATUS_OK, &unread, &unread, "");
    expect_compared(STATUS_OK, &nobody, &weights, "");
    expect_compared(STATUS_OK, &data, &nobody, "");
    expect_compared(STATUS_OK, &data, &of_bytes, "");
    expect_compared(STATUS_INPUT, &data, &weights,
                    "d.bin's tokenizer is another than that of runs/a (bytes: 256 tokens");
    expect_compared(STATUS_INPUT, &of_bytes, &weights, ": 700), the same expected");
    expect_compared(STATUS_INPUT, &unread, &weights, "cannot be compared with that of runs/a: ");
    cr_expect_eq(tokenizer_compare_runs(runs, 3), STATUS_OK, "%s", status_message());
    cr_expect_eq(tokenizer_compare_runs(runs + 4, 1), STATUS_OK);
    cr_expect_eq(tokenizer_compare_runs((const char *const[]){NULL, own, bytes}, 3), STATUS_INPUT);
    cr_expect(strstr(status_message(), "/bytes's tokenizer is another"), "%s", status_message());
}

/* All files of one go, whatever form the other is in. */
Test(tokenizer, a_copy_takes_the_place_of_another)
{
    char to[80];
    snprintf(to, sizeof to, "%s/to", folder);
    cr_assert_eq(file_make_directories(to), STATUS_OK);
    copy_as(TEST_DATA "/tokenizer/vocab.json", "encoder.json");
    copy_as(TEST_DATA "/tokenizer/merges.txt", "vocab.bpe");
    write_file("added_tokens.json", "{}", 2);
    cr_expect_not(tokenizer_exists(to));
    cr_assert_eq(tokenizer_copy(folder, to), STATUS_OK, "%s", status_message());
    expect_fixture(to);
    cr_expect(alike(folder, to));
    cr_assert_eq(tokenizer_remove(folder), STATUS_OK);
    cr_assert_eq(file_remove_tree(path_of("encoder.json")), STATUS_OK);
    cr_assert_eq(tokenizer_write_bytes(folder), STATUS_OK, "%s", status_message());
    cr_expect_not(alike(folder, to));
    cr_assert_eq(tokenizer_copy(folder, to), STATUS_OK, "%s", status_message());
    cr_expect(alike(folder, to));
    cr_expect_neq(access(path_of("to/vocab.json"), F_OK), 0);
    cr_expect_neq(access(path_of("to/added_tokens.json"), F_OK), 0);
    cr_assert_eq(tokenizer_copy(to, to), STATUS_OK);
    cr_expect(tokenizer_exists(to), "a copy onto itself");
    cr_expect_str_eq(status_message(), "");
}

static void expect_refused(const char *path, const char *part)
{
    tokenizer *other;
    cr_expect_eq(tokenizer_open(&other, path), STATUS_INPUT, "%s accepted: %s", path, part);
    cr_expect_null(other);
    cr_expect(strstr(status_message(), part), "%s not in: %s", part, status_message());
    status_clear();
}

static void refuse_vocabulary(const char *text, const char *part)
{
    write_file("vocab.json", text, strlen(text));
    expect_refused(folder, part);
}

static void refuse_merges(const char *text, size_t size, const char *part)
{
    write_file("merges.txt", text, size);
    expect_refused(folder, part);
}

Test(tokenizer, bad_files_are_named)
{
    expect_refused(path_of("absent"), "No such file");
    expect_refused(folder, "vocab.json and merges.txt");
    write_file("merges.txt", "", 0);
    expect_refused(folder, "vocab.json and merges.txt");
    expect_refused(path_of("merges.txt"), "vocab.json and merges.txt");
    refuse_vocabulary("", "vocab.json:");
    refuse_vocabulary("{\"a\": ", "vocab.json:1:");
    refuse_vocabulary("[1]", "JSON object");
    refuse_vocabulary("{\"a\": 0, \"a\": 1}", "vocab.json:1:");
    refuse_vocabulary("{\"a\": -1}", "'a': a whole id from 0 to 65535");
    refuse_vocabulary("{\"a\": 65536}", "'a': a whole id from 0 to 65535");
    refuse_vocabulary("{\"a\": \"0\"}", "'a': a whole id");
    refuse_vocabulary("{\"a\": 0, \"b\": 0}", "'b': id 0 of its own expected, that of 'a'");
    refuse_vocabulary("{\"a\": 0, \"b\": 2}", "none with id 1");
    refuse_vocabulary("{\"\": 0}", "'' (id 0)");
    refuse_vocabulary("{\"a b\": 0}", "'a b' (id 0)");
    refuse_vocabulary("{\"\u2581a\": 0}", "(id 0)");
    refuse_vocabulary("{\"a\": 0}", "none for 0x00");
    copy_as(TEST_DATA "/tokenizer/vocab.json", "vocab.json");
    refuse_merges("#version: 0.2\na b\n", 18, "merges.txt: line 2: 'ab' found");
    refuse_merges("Ġ Ġ\nt zzz\n", 12, "merges.txt: line 2: 'zzz' found");
    refuse_merges("t\n", 2, "line 1: 't' found, two tokens");
    refuse_merges("t h e\n", 6, "line 1: 't h e' found, two tokens");
    refuse_merges(" th\n", 4, "line 1: ' th' found, two tokens");
    refuse_merges("Ġ Ġ\nĠ Ġ\n", 12, "line 2: 'Ġ Ġ' found again");
    refuse_merges("h e\n\xff e\n", 8, "merges.txt: byte 4: UTF-8");
    cr_assert_eq(tokenizer_remove(folder), STATUS_OK);
    static const struct {
        const char *model, *others, *part;
    } wholes[] = {
        {"", "", "pre_tokenizer: ByteLevel with GPT-2's pattern expected, none"},
        {"", ", \"pre_tokenizer\": {\"type\": \"Whitespace\"}", "Whitespace found"},
        {"", ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}",
         "add_prefix_space"},
        {"\"byte_fallback\": true, ", LEVEL, "model.byte_fallback"},
        {"\"ignore_merges\": true, ", LEVEL, "model.ignore_merges"},
        {"\"dropout\": 0.1, ", LEVEL, "model.dropout"},
        {"\"end_of_word_suffix\": \"</w>\", ", LEVEL, "model.end_of_word_suffix"},
        {"", LEVEL ", \"normalizer\": {\"type\": \"NFC\"}", "normalizer"},
        {"", LEVEL ADDED("5"), "id 5 of its own"},
        {"", LEVEL ", \"added_tokens\": [{\"id\": 700}]", "entry 1: content"},
        {"", LEVEL ", \"added_tokens\": [{\"id\": 700, \"content\": \"  \", \"special\": false}]",
         "entry 1: '  ' is found in text"},
        {"", ", \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"use_regex\": false}",
         "GPT-2's pattern expected"},
    };
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        write_whole(wholes[i].model, wholes[i].others, false);
        expect_refused(folder, wholes[i].part);
    }
    write_file("tokenizer.json", "{\"model\": {\"type\": \"WordPiece\"}}", 32);
    expect_refused(folder, "model: BPE");
}

static void expect_count(size_t count)
{
    tokenizer *other;
    cr_assert_eq(tokenizer_open(&other, folder), STATUS_OK, "%s", status_message());
    cr_expect_eq(tokenizer_count(other), count);
    tokenizer_close(&other);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* transformers takes added tokens out of a text first, whatever file names them; here special ones
 * stay text, and no others are taken. */
Test(tokenizer, added_tokens_are_special_or_refused)
{
    copy_as(TEST_DATA "/tokenizer/vocab.json", "vocab.json");
    copy_as(TEST_DATA "/tokenizer/merges.txt", "merges.txt");
    write_text("added_tokens.json", "{\"<|endoftext|>\": 699}");
    expect_count(700);
    write_text("added_tokens.json", "{\"<tag>\": 700, \"<|endoftext|>\": 699}");
    expect_refused(folder, "added_tokens.json: entry 1: '<tag>' is found in text");
    expect_refused(path_of("vocab.json"), "'<tag>'");
    write_text("special_tokens_map.json",
               "{\"pad_token\": \"x\", \"additional_special_tokens\": [{\"content\": \"<tag>\"}]}");
    expect_count(701);
    write_text("special_tokens_map.json", "{}");
    write_text("tokenizer_config.json", "{\"added_tokens_decoder\": {\"700\": "
                                        "{\"content\": \"<tag>\", \"special\": true}}}");
    expect_count(701);
    cr_assert_eq(file_remove_tree(path_of("added_tokens.json")), STATUS_OK);
    expect_count(701);
    write_text("tokenizer_config.json", "{\"added_tokens_decoder\": {\"700\": "
                                        "{\"content\": \"<tag>\", \"special\": false}}}");
    expect_refused(folder, "tokenizer_config.json: added_tokens_decoder, entry 1: '<tag>'");
    write_text("tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"ten\": {\"content\": \"\"}}}");
    expect_refused(folder, "token '': a whole id");
    write_text("tokenizer_config.json", "{\"added_tokens_decoder\": [");
    expect_refused(folder, "tokenizer_config.json:1:");
    cr_assert_eq(file_remove_tree(path_of("tokenizer_config.json")), STATUS_OK);
    write_text("tokenizer.json",
               "{\"added_tokens\": [{\"id\": 700, \"content\": \"<tag>\", \"special\": false}]}");
    expect_refused(folder, "tokenizer.json: added_tokens, entry 1: '<tag>'");
}
