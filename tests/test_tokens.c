/* Token files: formats, windows, order, and everything that can be wrong with them. */
#include "folder_fixture.h"
#include "io/tokens/prepare.h"
#include "io/tokens/tokens.h"

#include <Random123/philox.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(tokens, .init = open_folder, .fini = close_folder);

static void write_tokens(const char *name, size_t count, uint16_t first)
{
    uint16_t *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (uint16_t)(first + i);
    write_file(name, values, count * sizeof *values);
    free(values);
}

Test(tokens, windows_and_targets)
{
    tokens *t = NULL;
    uint16_t in[4], out[4];
    write_tokens("a_1.bin", 13, 0);  /* (13 - 1) / 4 = 3 windows */
    write_tokens("a_2.bin", 8, 100); /* 1 window */
    cr_assert_eq(tokens_open(&t, path_of("a_*.bin"), 4, 1000), STATUS_OK, "%s", status_message());
    cr_expect_eq(tokens_count(t), 21);
    cr_expect_eq(tokens_windows(t), 4);
    cr_assert_eq(tokens_window(t, 2, in, out), STATUS_OK);
    for (uint16_t i = 0; i < 4; i++) {
        cr_expect_eq(in[i], 8 + i);
        cr_expect_eq(out[i], 9 + i);
    }
    cr_assert_eq(tokens_window(t, 3, in, out), STATUS_OK);
    cr_expect_eq(in[0], 100);
    cr_expect_eq(out[3], 104);
    tokens_close(&t);
}

Test(tokens, llmc_header)
{
    tokens *t = NULL;
    uint16_t in[4], out[4];
    struct {
        int32_t header[256];
        uint16_t values[9];
    } file = {.header = {20240520, 1, 9}, .values = {5, 6, 7, 8, 9, 10, 11, 12, 13}};
    write_file("llmc.bin", &file, 1024 + 18);
    cr_assert_eq(tokens_open(&t, path_of("llmc.bin"), 4, 50), STATUS_OK, "%s", status_message());
    cr_expect_eq(tokens_windows(t), 2);
    cr_assert_eq(tokens_window(t, 1, in, out), STATUS_OK);
    cr_expect_eq(in[0], 9);
    cr_expect_eq(out[3], 13);
    tokens_close(&t);
}

static uint32_t word(uint64_t seed, uint32_t c0, uint32_t round, uint32_t epoch)
{
    philox4x32_ctr_t counter = {{c0, 3U << 24 | round, epoch, 0}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key).v[0];
}

/* docs/data.md's Feistel network, written again. */
static uint64_t permute_again(uint64_t seed, uint32_t epoch, uint64_t p, uint64_t W)
{
    uint32_t b = 1;
    while ((1ULL << (2 * b)) < W) b++;
    do {
        uint64_t L = p >> b, R = p % (1ULL << b);
        for (uint32_t round = 0; round < 4; round++) {
            uint64_t F = word(seed, (uint32_t)R, round, epoch) % (1ULL << b), old = L;
            L = R;
            R = old ^ F;
        }
        p = (L << b) | R;
    } while (p >= W);
    return p;
}

Test(tokens, permutation_is_a_bijection)
{
    for (uint64_t W = 1; W <= 300; W++) {
        char seen[300] = {0};
        for (uint64_t p = 0; p < W; p++) {
            uint64_t v = tokens_permute(1337, 3, p, W);
            cr_assert_lt(v, W);
            cr_assert_not(seen[v], "window %llu twice", (unsigned long long)v);
            cr_assert_eq(v, permute_again(1337, 3, p, W));
            seen[v] = 1;
        }
    }
}

Test(tokens, items_are_shifted_windows_in_keyed_order)
{
    enum { T = 8, COUNT = 100, W = 12 };
    tokens *t = NULL;
    uint16_t in[T], out[T];
    write_tokens("x.bin", COUNT, 0);
    cr_assert_eq(tokens_open(&t, path_of("x.bin"), T, 1000), STATUS_OK);
    for (uint64_t q = 0; q < 5 * W; q++) {
        uint32_t epoch = (uint32_t)(q / W);
        uint64_t o = epoch ? word(9, 0, 15, epoch) % T : 0;
        uint64_t start = o + permute_again(9, epoch, q % W, W) * T;
        cr_assert_eq(tokens_item(t, 9, q, true, in, out), STATUS_OK);
        for (uint64_t i = 0; i < T; i++) {
            cr_expect_eq(in[i], (start + i) % COUNT);
            cr_expect_eq(out[i], (start + i + 1) % COUNT);
        }
        cr_assert_eq(tokens_item(t, 9, q, false, in, out), STATUS_OK);
        cr_expect_eq(in[0] % T, 0);
    }
    tokens_close(&t);
}

static void expect_refused(const char *pattern, size_t T, size_t vocab, const char *part)
{
    tokens *t = NULL;
    status result = tokens_open(&t, path_of(pattern), T, vocab);
    cr_expect_eq(result, STATUS_INPUT, "%s accepted", pattern);
    cr_expect_null(t);
    bool named = strpbrk(pattern, "?[") || strstr(status_message(), pattern);
    cr_expect(named && strstr(status_message(), part), "'%s' names neither '%s' nor '%s'",
              status_message(), pattern, part);
    status_clear();
}

/* A file with llm.c's header and `bytes` bytes in all, those after the three words 0. */
static void write_llmc(const char *name, int32_t magic, int32_t version, int32_t count,
                       size_t bytes)
{
    int32_t file[300] = {magic, version, count};
    cr_assert_leq(bytes, sizeof file);
    write_file(name, file, bytes);
}

Test(tokens, bad_files_are_named)
{
    write_file("empty.bin", "", 0);
    write_file("one.bin", "a", 1);
    write_file("odd.bin", "abc", 3);
    write_tokens("short.bin", 4, 0);
    write_tokens("many_1.bin", 20, 0);
    write_tokens("many_2.bin", 4, 0);
    write_tokens("set_1.bin", 20, 0);
    write_file("set_2.bin", "abc", 3);
    write_llmc("promise.bin", 20240520, 1, 100, 1024);
    write_llmc("more.bin", 20240520, 1, 10, 1024 + 22);
    write_llmc("cut_tokens.bin", 20240520, 1, 10, 1024 + 19);
    write_llmc("negative.bin", 20240520, 1, -4, 1024);
    write_llmc("few.bin", 20240520, 1, 3, 1024 + 6);
    write_llmc("version.bin", 20240520, 2, 10, 1024 + 20);
    write_llmc("version_0.bin", 20240520, 0, 10, 1024 + 20);
    write_llmc("cut.bin", 20240520, 1, 0, 12);
    write_llmc("magic_alone.bin", 20240520, 1, 0, 4);
    write_llmc("cut_header.bin", 20240520, 1, 0, 1023);
    write_llmc("wide.bin", 20240801, 7, 10, 1024 + 40);
    mkdir(path_of("folder.bin"), 0777);
    cr_assert_eq(mkfifo(path_of("pipe.bin"), 0666), 0);
    cr_assert_eq(symlink("nowhere", path_of("dangling.bin")), 0);
    expect_refused("absent.bin", 4, 100, "no file");
    expect_refused("absent_*.bin", 4, 100, "no file");
    expect_refused("below/absent.bin", 4, 100, "no file");
    expect_refused("empty.bin", 4, 100, "empty");
    expect_refused("one.bin", 4, 100, "1 bytes");
    expect_refused("odd.bin", 4, 100, "3 bytes");
    expect_refused("short.bin", 4, 100, "4 tokens");
    expect_refused("many_[12].bin", 4, 100, "many_2.bin: 4 tokens found, a window of 4 and one");
    expect_refused("set_2.bin", 4, 100, "3 bytes");
    expect_refused("promise.bin", 4, 100, "100 tokens promised");
    expect_refused("more.bin", 4, 100, "10 tokens promised, 22 bytes");
    expect_refused("cut_tokens.bin", 4, 100, "10 tokens promised, 19 bytes");
    expect_refused("negative.bin", 4, 100, "-4 tokens promised");
    expect_refused("few.bin", 4, 100, "3 tokens");
    expect_refused("version.bin", 4, 100, "version 2");
    expect_refused("version_0.bin", 4, 100, "version 0");
    expect_refused("cut.bin", 4, 100, "12 bytes");
    expect_refused("magic_alone.bin", 4, 100, "4 bytes");
    expect_refused("cut_header.bin", 4, 100, "1023 bytes");
    expect_refused("wide.bin", 4, 100, "4-byte tokens");
    expect_refused("folder.bin", 4, 100, "no regular file");
    expect_refused("pipe.bin", 4, 100, "no regular file");
    expect_refused("dangling.bin", 4, 100, "No such file");
}

/* A name that could be a pattern is that of the file first; a backslash is a character, too. */
Test(tokens, a_name_comes_before_a_pattern)
{
    static const char *const names[] = {"run[ab]/a.bin", "x*.bin", "y\\?.bin"};
    tokens *t = NULL;
    uint16_t in[4], out[4];
    mkdir(path_of("run[ab]"), 0777);
    mkdir(path_of("runa"), 0777);
    write_tokens("runa/a.bin", 9, 500);
    write_tokens("xx.bin", 9, 500);
    write_tokens("yz.bin", 9, 500);
    for (size_t i = 0; i < 3; i++) {
        write_tokens(names[i], 9, 7);
        cr_assert_eq(tokens_open(&t, path_of(names[i]), 4, 1000), STATUS_OK, "%s",
                     status_message());
        cr_expect_eq(tokens_count(t), 9, "%s", names[i]);
        cr_assert_eq(tokens_window(t, 0, in, out), STATUS_OK);
        cr_expect_eq(in[0], 7, "%s", names[i]);
        tokens_close(&t);
        unlink(path_of(names[i]));
    }
    cr_assert_eq(tokens_open(&t, path_of("run[ab]/a.bin"), 4, 1000), STATUS_OK);
    tokens_close(&t);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static const char *said_of(const char *pattern)
{
    tokens *t = NULL;
    cr_assert_eq(tokens_open(&t, path_of(pattern), 4, 1000), STATUS_OK, "%s", status_message());
    tokens_meaning found = tokens_means(t, "x");
    tokens_close(&t);
    return found.bytes ? "bytes" : found.directory ? "a tokenizer" : "nothing";
}

/* Shards of two tokenizers are no data set. */
Test(tokens, what_meta_says_of_tokens)
{
    static const char *const folders[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s/t.bin", folders[i]);
        mkdir(path_of(folders[i]), 0777);
        write_tokens(name, 9, 0);
    }
    write_text("b/meta.json", "{\"vocab_size\": 256, \"tokenizer\": \"bytes\"}");
    write_text("c/meta.json", "{\"vocab_size\": 256, \"tokenizer\": \"bytes\"}");
    cr_expect_str_eq(said_of("a/t.bin"), "nothing");
    cr_expect_str_eq(said_of("b/t.bin"), "bytes");
    cr_expect_str_eq(said_of("?/t.bin"), "bytes", "all that say something say the same");
    write_text("c/meta.json", "{\"vocab_size\": 700, \"tokenizer\": \"bpe\"}");
    write_text("c/vocab.json", "{");
    write_text("c/merges.txt", "");
    expect_refused("?/t.bin", 4, 1000, "c/meta.json's tokenizer cannot be compared");
    cr_assert_eq(file_remove_tree(path_of("b/meta.json")), STATUS_OK);
    cr_expect_str_eq(said_of("?/t.bin"), "a tokenizer");
}

Test(tokens, meta_is_checked)
{
    write_tokens("x.bin", 20, 0);
    write_file("meta.json", "{\"vocab_size\": 300}", 19);
    tokens *t = NULL;
    cr_expect_eq(tokens_open(&t, path_of("x.bin"), 4, 256), STATUS_INPUT);
    cr_expect(strstr(status_message(), "meta.json") && strstr(status_message(), "300"), "%s",
              status_message());
    status_clear();
    write_file("meta.json", "{\"vocab_size\": ", 15);
    cr_expect_eq(tokens_open(&t, path_of("x.bin"), 4, 256), STATUS_INPUT);
    cr_expect(strstr(status_message(), "meta.json:1:"), "%s", status_message());
    status_clear();
    cr_assert_eq(truncate(path_of("meta.json"), 1L << 32), 0);
    cr_expect_eq(tokens_open(&t, path_of("x.bin"), 4, 256), STATUS_INPUT);
    cr_expect(strstr(status_message(), "meta.json: 4294967296 bytes found, at most "), "%s",
              status_message());
    status_clear();
}

Test(tokens, a_pointer_is_no_token_file)
{
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    write_file("x.bin", pointer, sizeof pointer - 1);
    expect_refused("x.bin", 4, 60000, "x.bin: a Git LFS pointer found");
}

Test(tokens, token_beyond_the_vocabulary_is_named)
{
    tokens *t = NULL;
    uint16_t in[4], out[4];
    write_tokens("x.bin", 20, 90);
    cr_assert_eq(tokens_open(&t, path_of("x.bin"), 4, 100), STATUS_OK);
    cr_expect_eq(tokens_window(t, 0, in, out), STATUS_OK);
    cr_expect_eq(tokens_window(t, 2, in, out), STATUS_INPUT);
    cr_expect(strstr(status_message(), "x.bin") && strstr(status_message(), "token 10 is 100"),
              "%s", status_message());
    status_clear();
    tokens_close(&t);
}

static char heard[300]; /* last */

static void hear(const char *sentence)
{
    snprintf(heard, sizeof heard, "%s", sentence);
}

static status prepare(const char *const *texts, size_t count, const char *directory, double valid,
                      uint64_t shard_tokens)
{
    return prepare_tokens(&(prepare_options){.texts = texts,
                                             .count = count,
                                             .directory = directory,
                                             .valid = valid,
                                             .shard_tokens = shard_tokens,
                                             .key = "text",
                                             .say = hear});
}

Test(tokens, prepare_makes_bytes)
{
    tokens *t = NULL;
    uint16_t in[10], out[10];
    char text[200], first[128], second[128];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(255 - i);
    write_file("one.txt", text, 150);
    write_file("two.txt", text + 150, 50);
    snprintf(first, sizeof first, "%s", path_of("one.txt"));
    snprintf(second, sizeof second, "%s", path_of("two.txt"));
    const char *texts[] = {first, second};
    char data[128];
    snprintf(data, sizeof data, "%s", path_of("data/deep"));
    cr_assert_eq(prepare(texts, 2, data, 0.1, 1000), STATUS_OK, "%s", status_message());
    cr_assert_eq(tokens_open(&t, path_of("data/deep/train.bin"), 10, 256), STATUS_OK);
    cr_expect_eq(tokens_count(t), 180);
    cr_assert_eq(tokens_window(t, 15, in, out), STATUS_OK);
    cr_expect_eq(in[0], 105); /* byte 150 of both texts */
    tokens_close(&t);
    cr_assert_eq(tokens_open(&t, path_of("data/deep/val.bin"), 10, 256), STATUS_OK);
    cr_expect_eq(tokens_count(t), 20);
    tokens_close(&t);
}

Test(tokens, prepare_cuts_shards)
{
    tokens *t = NULL;
    char text[100], one[128], data[128];
    memset(text, 'x', sizeof text);
    write_file("one.txt", text, sizeof text);
    snprintf(one, sizeof one, "%s", path_of("one.txt"));
    snprintf(data, sizeof data, "%s", path_of("data"));
    const char *texts[] = {one};
    cr_assert_eq(prepare(texts, 1, data, 0.1, 40), STATUS_OK);
    cr_expect(strstr(heard, "the last shard has 10 tokens"), "%s", heard);
    cr_assert_eq(tokens_open(&t, path_of("data/train_*.bin"), 9, 256), STATUS_OK);
    cr_expect_eq(tokens_count(t), 90);
    cr_expect_eq(tokens_windows(t), 4 + 4 + 1);
    tokens_close(&t);
    cr_expect_eq(access(path_of("data/train_000003.bin"), F_OK), 0);
    cr_expect_neq(access(path_of("data/train_000004.bin"), F_OK), 0);
}

/* A pattern over the directory must not read what an earlier prepare wrote. */
Test(tokens, prepare_refuses_to_mix_with_earlier_shards)
{
    char text[100], one[128], data[128];
    memset(text, 'x', sizeof text);
    write_file("one.txt", text, sizeof text);
    snprintf(one, sizeof one, "%s", path_of("one.txt"));
    snprintf(data, sizeof data, "%s", path_of("data"));
    const char *texts[] = {one};
    cr_assert_eq(prepare(texts, 1, data, 0.1, 40), STATUS_OK);
    cr_expect_eq(prepare(texts, 1, data, 0.1, 30), STATUS_OK, "as many shards");
    cr_expect_eq(prepare(texts, 1, data, 0.1, 50), STATUS_INPUT, "fewer shards");
    cr_expect(strstr(status_message(), "train_000003.bin"), "%s", status_message());
    status_clear();
    cr_expect_eq(prepare(texts, 1, data, 0.1, 1000), STATUS_INPUT, "one file");
    cr_expect(strstr(status_message(), "train_000001.bin"), "%s", status_message());
    status_clear();
    snprintf(data, sizeof data, "%s", path_of("other"));
    cr_assert_eq(prepare(texts, 1, data, 0.1, 1000), STATUS_OK);
    cr_expect_eq(prepare(texts, 1, data, 0.1, 40), STATUS_INPUT, "shards beside one file");
    cr_expect(strstr(status_message(), "train.bin"), "%s", status_message());
    status_clear();
}
