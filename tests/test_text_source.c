/* Texts as blocks: what bounds them, and lines of JSON as others write them. */
#include "folder_fixture.h"
#include "io/tokens/text_source.h"
#include "io/tokens/tokenizer_parts.h"

#include <string.h>

TestSuite(text_source, .init = open_folder, .fini = close_folder);

static text_source *open_source(const char *name)
{
    static char path[128];
    static const char *paths[] = {path};
    text_source *s;
    snprintf(path, sizeof path, "%s", path_of(name));
    cr_assert_eq(text_source_open(&s, paths, 1, true), STATUS_OK, "%s", status_message());
    return s;
}

/* Blocks are the text's bytes in order, and none is longer than a piece and a character. */
static void expect_bounded(const char *text, size_t size, size_t first)
{
    size_t at = 0;
    write_file("long.txt", text, size);
    text_source *s = open_source("long.txt");
    text_block b = {0};
    for (;;) {
        cr_assert_eq(text_source_next(s, &b), STATUS_OK, "%s", status_message());
        if (b.size == 0) break;
        if (at == 0) cr_expect_eq(b.size, first, "%zu bytes", b.size);
        cr_expect_leq(b.size, TOKENIZER_PIECE + 4);
        cr_assert(at + b.size <= size && memcmp(text + at, b.bytes, b.size) == 0);
        at += b.size;
    }
    cr_expect_eq(at, size);
    text_block_close(&b);
    text_source_close(&s);
}

/* Nothing is torn: neither a character, nor what is none. */
Test(text_source, stretches_without_a_place_to_cut)
{
    enum { SIZE = 5 << 19 };
    char *text = malloc(SIZE);
    memset(text, 0, SIZE);
    expect_bounded(text, SIZE, TOKENIZER_PIECE);
    memset(text, 0x80, SIZE);
    expect_bounded(text, SIZE, TOKENIZER_PIECE);
    for (size_t i = 0; i < SIZE; i++) text[i] = "\xe4\xb8\x80"[i % 3];
    expect_bounded(text, SIZE, TOKENIZER_PIECE / 3 * 3);
    memset(text, 'a', SIZE);
    memcpy(text + TOKENIZER_PIECE - 9, ", then", 6); /* a place to cut, so the piece is whole */
    expect_bounded(text, SIZE, TOKENIZER_PIECE - 8);
    free(text);
}

Test(text_source, a_line_that_is_too_long)
{
    char *text = malloc((1 << 26) + 20);
    memset(text, 'a', (1 << 26) + 20);
    text[9] = '\n';
    write_file("long.jsonl", text, (1 << 26) + 20);
    free(text);
    text_source *s = open_source("long.jsonl");
    text_block b = {0};
    cr_assert_eq(text_source_next(s, &b), STATUS_OK);
    cr_expect_eq(b.size, 10);
    cr_expect_eq(text_source_next(s, &b), STATUS_INPUT);
    cr_expect(strstr(status_message(), "long.jsonl:2: a line of more than 67108864 bytes found (it "
                                       "begins at byte 10)"),
              "%s", status_message());
    text_block_close(&b);
    text_source_close(&s);
}

Test(text_source, names_of_lines)
{
    static const char *const names[] = {"a.jsonl", "a.JSONL", "a.NdJson", "a.txt"};
    for (size_t i = 0; i < 4; i++) {
        text_block b = {0};
        write_file(names[i], "{\"text\": 1}\n", 12);
        text_source *s = open_source(names[i]);
        cr_assert_eq(text_source_next(s, &b), STATUS_OK);
        cr_expect_eq(b.lines, i < 3, "%s", names[i]);
        text_block_close(&b);
        text_source_close(&s);
    }
}

static void expect_text(const char *line, const char *expected)
{
    char *text, sentence[STATUS_MESSAGE_SIZE];
    size_t size;
    status result = text_from_json(&text, &size, line, strlen(line), "text", sentence);
    cr_expect_eq(result, expected ? STATUS_OK : STATUS_INPUT, "%s", line);
    if (!result)
        cr_expect(expected && size == strlen(expected) && memcmp(text, expected, size) == 0, "%s",
                  line);
    free(text);
}

/* What Python and others write beside the text; the text itself must be one. */
Test(text_source, json_of_others)
{
    expect_text("{\"text\": \"a\", \"id\": 18446744073709551615}", "a");
    expect_text("{\"id\": -123456789012345678901234567890, \"text\": \"a\"}", "a");
    expect_text("{\"score\": NaN, \"text\": \"NaN\\\"NaN, 1e999\"}", "NaN\"NaN, 1e999");
    expect_text("{\"a\": [Infinity, -Infinity, 1e999, -1e400], \"text\": \"a\"}", "a");
    expect_text("\xef\xbb\xbf{\"text\": \"a\"}", "a");
    expect_text("{\"text\": NaN}", NULL);
    expect_text("{\"text\": \"a\", \"b\": nan}", NULL);
    expect_text("{\"text\": \"a\", \"b\": 99999999999999999999x}", NULL);
    expect_text("{\"text\": \"a\", \"b\": \"NaN", NULL);
    expect_text("{\"text\": \"a\\", NULL);
}

/* A piece longer than the bound is cut into pieces of that length. */
Test(text_source, long_pieces)
{
    enum { SIZE = (5 << 19) + 1 };
    tokenizer *t;
    encoder *e;
    char *text = malloc(SIZE);
    cr_assert_eq(tokenizer_learn(&t, NULL, 257), STATUS_OK);
    cr_assert_eq(encoder_open(&e, t), STATUS_OK);
    static const char *const fillings[] = {"a", "\xe4\xb8\x80", "\xff", " "};
    for (size_t f = 0; f < 4; f++) {
        token_list l = {0};
        for (size_t i = 0; i < SIZE; i++) text[i] = fillings[f][i % strlen(fillings[f])];
        cr_expect_geq(encoder_count_pieces(e, text, SIZE), 3);
        cr_expect_leq(encoder_count_pieces(e, text, SIZE), 6);
        cr_expect(encoder_append(e, text, SIZE, &l));
        cr_expect_eq(l.count, SIZE);
        cr_expect_null(encoder_error(e));
        free(l.values);
    }
    free(text);
    encoder_close(&e);
    tokenizer_close(&t);
}

/* What PCRE2 refuses is an error, whatever the build. */
Test(text_source, a_pattern_that_fails)
{
    static const char *const patterns[][2] = {
        {"zzz", "no match"}, {"(*LIMIT_MATCH=1)(*NO_START_OPT)(a+)+b", "match limit exceeded"}};
    for (size_t i = 0; i < 2; i++) {
        tokenizer *t;
        encoder *e;
        int error;
        size_t place;
        token_list l = {0};
        cr_assert_eq(tokenizer_learn(&t, NULL, 257), STATUS_OK);
        pcre2_code_free(t->pattern);
        t->pattern = pcre2_compile((PCRE2_SPTR)patterns[i][0], PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_ANCHORED, &error, &place, NULL);
        cr_assert(t->pattern);
        cr_assert_eq(encoder_open(&e, t), STATUS_OK);
        piece_counts *c = piece_counts_open();
        cr_expect_not(encoder_append(e, "aaaaaaaaaaaaaaaaaaaaaa", 22, &l));
        cr_expect_str_eq(encoder_error(e), patterns[i][1]);
        cr_expect_not(piece_counts_add(c, e, "aaaaaaaaaaaaaaaaaaaaaa", 22));
        cr_expect_str_eq(encoder_error(e), patterns[i][1]);
        cr_expect(encoder_append(e, "", 0, &l));
        cr_expect_null(encoder_error(e));
        piece_counts_close(&c);
        free(l.values);
        encoder_close(&e);
        tokenizer_close(&t);
    }
}
