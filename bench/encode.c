/* Words are drawn by rank, 1/n of the n-th, with lengths and letters as in English. */
#include "bench/encode.h"

#include "io/files/file.h"
#include "io/tokens/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 5, TEXT_BYTES = 8 << 20, TEXT_MAX = 64 << 20, LEARN_BYTES = 1000000 };
enum { LEARN_TOKENS = 4096, WORDS = 20000, LONG_BYTES = 1000000 };

typedef struct {
    char *text, *unspaced; /* [size], [LONG_BYTES] */
    size_t size;
    tokenizer *learned, *given, *t; /* t: one of them */
    encoder *e;
    token_list out;
} encode_bench;

/* Of this thread: others may use the processors meanwhile. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

static size_t draw_word(char *word, uint32_t *state)
{
    static const char letters[] = "eeeeeettttaaaooiinnsshhrrddlluccmmffwyggpbbvk";
    size_t size = 1 + draw(state) % 5 + draw(state) % 6;
    for (size_t i = 0; i < size; i++) word[i] = letters[draw(state) % (sizeof letters - 1)];
    return size;
}

static bool draw_text(encode_bench *b)
{
    enum { WORD = 16 };
    uint32_t state = 7;
    char(*words)[WORD] = malloc(WORDS * sizeof *words);
    b->text = malloc(TEXT_BYTES + WORD + 2);
    if (!words || !b->text) {
        free(words);
        return false;
    }
    for (size_t i = 0; i < WORDS; i++) words[i][WORD - 1] = (char)draw_word(words[i], &state);
    while (b->size < TEXT_BYTES) {
        double u = (double)draw(&state) / (1 << 24);
        const char *word = words[(size_t)(pow(WORDS, u)) - 1];
        size_t n = (size_t)word[WORD - 1];
        memcpy(b->text + b->size, word, n);
        b->size += n;
        uint32_t kind = draw(&state) % 60;
        if (kind < 6) b->text[b->size++] = kind < 4 ? ',' : '.';
        b->text[b->size++] = kind == 5 ? '\n' : ' ';
    }
    free(words);
    return true;
}

static status learn(encode_bench *b, double *seconds)
{
    tokenizer *splits = NULL;
    encoder *e = NULL;
    double start = processor_seconds();
    size_t size = b->size < LEARN_BYTES ? b->size : LEARN_BYTES;
    piece_counts *counts = piece_counts_open();
    status result = tokenizer_learn(&splits, NULL, 257);
    if (!result) result = encoder_open(&e, splits);
    if (!result && (!counts || !piece_counts_add(counts, e, b->text, size)))
        result = fail(STATUS_NOMEM, "memory to count words");
    if (!result) result = tokenizer_learn(&b->learned, counts, LEARN_TOKENS);
    *seconds = processor_seconds() - start;
    piece_counts_close(&counts);
    encoder_close(&e);
    tokenizer_close(&splits);
    return result;
}

/* MB/s of a text in pieces of `part` bytes. */
static double encode_rate(encode_bench *b, const char *text, size_t size, size_t part)
{
    double rates[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        double start = processor_seconds();
        b->out.count = 0;
        for (size_t at = 0; at < size; at += part)
            if (!encoder_append(b->e, text + at, size - at < part ? size - at : part, &b->out))
                return NAN;
        rates[i] = 1e-6 * (double)size / (processor_seconds() - start);
    }
    return report_median(rates, REPEATS);
}

static double split_rate(encode_bench *b)
{
    double rates[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        double start = processor_seconds();
        if (encoder_count_pieces(b->e, b->text, b->size) == 0) return NAN;
        rates[i] = 1e-6 * (double)b->size / (processor_seconds() - start);
    }
    return report_median(rates, REPEATS);
}

static double decode_rate(encode_bench *b, char *to)
{
    double rates[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        double start = processor_seconds();
        size_t at = 0;
        for (size_t k = 0; k < b->out.count; k++) {
            size_t n;
            const void *bytes = tokenizer_bytes(b->t, b->out.values[k], &n);
            memcpy(to + at, bytes, n);
            at += n;
        }
        rates[i] = 1e-6 * (double)at / (processor_seconds() - start);
    }
    return report_median(rates, REPEATS);
}

static status add_rows(report *r, encode_bench *b, double seconds)
{
    char *copy = malloc(b->size);
    b->unspaced = malloc(LONG_BYTES);
    if (!copy || !b->unspaced) {
        free(copy);
        return fail(STATUS_NOMEM, "memory to encode");
    }
    for (size_t i = 0, at = 0; i < LONG_BYTES; at++) {
        char c = b->text[at % b->size];
        b->unspaced[i] = c;
        i += (c >= 'a' && c <= 'z') || at >= 8 * (size_t)LONG_BYTES;
    }
    char name[REPORT_TEXT];
    snprintf(name, sizeof name, "learn %d tokens of 1 MB", LEARN_TOKENS);
    report_add(r, name, seconds, "s", NAN);
    double split = split_rate(b), base = encode_rate(b, b->unspaced, LONG_BYTES, 10000);
    report_add(r, "split alone, 1 thread", split, "MB/s", NAN);
    report_add(r, "letters without a space, 10 kB at once", base, "MB/s", NAN);
    report_add(r, "100 kB at once; 10 kB", encode_rate(b, b->unspaced, LONG_BYTES, 100000), "MB/s",
               base);
    report_add(r, "1 MB at once; 10 kB", encode_rate(b, b->unspaced, LONG_BYTES, LONG_BYTES),
               "MB/s", base);
    snprintf(name, sizeof name, "encode, %zu tokens; split alone", tokenizer_count(b->t));
    report_add(r, name, encode_rate(b, b->text, b->size, b->size), "MB/s", split);
    double start = processor_seconds();
    memcpy(copy, b->text, b->size); /* touches its pages */
    start = processor_seconds();
    memcpy(copy, b->text, b->size);
    double bound = 1e-6 * (double)b->size / (processor_seconds() - start);
    report_add(r, "decode; memcpy", decode_rate(b, copy), "MB/s", bound);
    free(copy);
    return STATUS_OK;
}

status bench_encode(report *r, const char *text, const char *path)
{
    encode_bench b = {0};
    double seconds = NAN;
    status result = STATUS_OK;
    if (text)
        result = file_read_text(&b.text, &b.size, text, TEXT_MAX);
    else if (!draw_text(&b))
        result = fail(STATUS_NOMEM, "memory for a text");
    if (!result) result = learn(&b, &seconds);
    if (!result && path) result = tokenizer_open(&b.given, path);
    b.t = path ? b.given : b.learned;
    if (!result) result = encoder_open(&b.e, b.t);
    if (!result) result = add_rows(r, &b, seconds);
    encoder_close(&b.e);
    tokenizer_close(&b.learned);
    tokenizer_close(&b.given);
    free(b.out.values);
    free(b.unspaced);
    free(b.text);
    return result;
}
