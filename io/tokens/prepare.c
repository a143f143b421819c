/* Blocks of text are read by one thread while the others work on those read before, and what they
 * make is taken in the order of the texts: the bytes do not depend on how many they are. */
#include "io/tokens/prepare.h"

#include "base/threads.h"
#include "base/utf8.h"
#include "io/tokens/prepare_store.h"

#include <endian.h>
#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    PARTS_A_THREAD = 4,
    FEWEST_BYTES = 20,
    PART_BYTES = 1 << 20 /* of a batch, for each of its parts, unless one has more */
};

/* A block and what was made of it. */
typedef struct {
    text_block block;
    token_list out;
    status result;
    uint64_t line; /* that failed */
    char sentence[STATUS_MESSAGE_SIZE];
} part;

/* Blocks that are worked on at once, and what is wrong behind them. */
typedef struct {
    part *parts;
    size_t count;
    status behind;
    char sentence[STATUS_MESSAGE_SIZE];
} batch_of_parts;

/* What a thread works with. */
typedef struct {
    encoder *encoder;
    piece_counts *counts; /* NULL: it makes tokens */
} worker;

typedef struct {
    const prepare_options *o;
    int threads;
    size_t capacity; /* parts of a batch */
    text_source *source;
    tokenizer *tokenizer; /* NULL: bytes */
    worker *workers;      /* [threads] */
    batch_of_parts now, next;
    store store;
    bool refused;
} preparation;

/* ---- one block, by any thread ---- */

static bool append_bytes(token_list *out, const unsigned char *text, size_t size)
{
    if (!token_list_reserve(out, size)) return false;
    for (size_t i = 0; i < size; i++) out->values[out->count++] = htole16(text[i]);
    return true;
}

/* Why nothing was appended: STATUS_NOMEM, in whose sentence the file is enough. */
static status append_failed(const worker *w, char *sentence)
{
    const char *why = w->encoder ? encoder_error(w->encoder) : NULL;
    if (why) snprintf(sentence, STATUS_MESSAGE_SIZE, "1: it cannot be split into words: %s", why);
    return STATUS_NOMEM;
}

static bool append_text(const preparation *p, const worker *w, token_list *out, const char *text,
                        size_t size, bool ends)
{
    if (w->counts) return piece_counts_add(w->counts, w->encoder, text, size);
    size_t first = out->count;
    if (!encoder_append(w->encoder, text, size, out)) return false;
    int end = tokenizer_end_of_text(p->tokenizer);
    if (ends && size > 0 && end >= 0) {
        if (!token_list_reserve(out, 1)) return false;
        out->values[out->count++] = (uint16_t)end;
    }
    for (size_t i = first; i < out->count; i++) out->values[i] = htole16(out->values[i]);
    return true;
}

static bool is_blank(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!memchr(" \t\r", line[i], 3)) return false;
    return true;
}

static status append_line(const preparation *p, const worker *w, part *at, const char *line,
                          size_t size)
{
    char *text;
    size_t text_size;
    if (is_blank(line, size)) return STATUS_OK;
    status result = text_from_json(&text, &text_size, line, size, p->o->key, at->sentence);
    if (!result && !(p->tokenizer ? append_text(p, w, &at->out, text, text_size, true)
                                  : append_bytes(&at->out, (unsigned char *)text, text_size)))
        result = append_failed(w, at->sentence);
    free(text);
    return result;
}

static void work_lines(const preparation *p, const worker *w, part *at)
{
    const char *line = at->block.bytes, *end = line + at->block.size;
    if (at->block.place.offset == 0) line += utf8_mark(line, at->block.size);
    for (at->line = at->block.place.line; !at->result && line < end; at->line++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        at->result = append_line(p, w, at, line, (size_t)(stop - line));
        if (at->result) break;
        line = stop + 1;
    }
}

static void work(const preparation *p, const worker *w, part *at)
{
    const text_block *b = &at->block;
    at->result = STATUS_OK;
    at->sentence[0] = '\0';
    at->out.count = 0;
    if (b->lines)
        work_lines(p, w, at);
    else if (!(p->tokenizer ? append_text(p, w, &at->out, b->bytes, b->size, b->ends)
                            : append_bytes(&at->out, (unsigned char *)b->bytes, b->size))) {
        at->line = b->place.line;
        at->result = append_failed(w, at->sentence);
    }
}

/* ---- batches ---- */

/* A long line's memory does not stay. */
static void shrink(part *at)
{
    if (at->block.capacity > PART_BYTES) text_block_close(&at->block);
    if (at->out.capacity <= 2 * PART_BYTES) return;
    free(at->out.values);
    at->out = (token_list){0};
}

static void read_batch(preparation *p, batch_of_parts *b)
{
    size_t bytes = 0;
    b->behind = STATUS_OK;
    for (b->count = 0; b->count < p->capacity && bytes <= p->capacity * PART_BYTES; b->count++) {
        part *at = &b->parts[b->count];
        shrink(at);
        b->behind = text_source_next(p->source, &at->block);
        if (b->behind || at->block.size == 0) break;
        bytes += at->block.size;
    }
    if (!b->behind) return;
    snprintf(b->sentence, sizeof b->sentence, "%s", status_message());
    status_clear(); /* what is wrong before it comes first */
}

/* The first failure in the order of the texts. */
static status check_part(const preparation *p, const part *at)
{
    const char *name = text_source_name(p->source, at->block.place.text);
    if (!at->result) return STATUS_OK;
    if (!*at->sentence) return fail(STATUS_NOMEM, "memory for the tokens of %s", name);
    return fail(at->result, "%s:%" PRIu64 ":%s", name, at->line, at->sentence);
}

static status take_batch(preparation *p)
{
    for (size_t i = 0; i < p->now.count; i++) {
        const part *at = &p->now.parts[i];
        status result = check_part(p, at);
        if (!result) result = store_append(&p->store, at->out.values, at->out.count);
        if (result) return result;
    }
    return p->now.behind ? fail(p->now.behind, "%s", p->now.sentence) : STATUS_OK;
}

/* Where the batch that is read next begins. */
static text_place next_place(const preparation *p)
{
    return p->next.count > 0 ? p->next.parts[0].block.place
                             : (text_place){.text = p->o->count, .line = 1};
}

/* Work on one batch while the next is read. */
static status run_batch(preparation *p)
{
#pragma omp parallel num_threads(p->threads)
#pragma omp single
    {
#pragma omp task
        if (!p->now.behind) read_batch(p, &p->next);
        for (size_t i = 0; i < p->now.count; i++) {
#pragma omp task firstprivate(i)
            work(p, &p->workers[omp_get_thread_num()], &p->now.parts[i]);
        }
    }
    return take_batch(p);
}

static status run_texts(preparation *p, bool saves)
{
    status result = STATUS_OK;
    read_batch(p, &p->now);
    while (!result && (p->now.count > 0 || p->now.behind)) {
        result = run_batch(p);
        text_place place = next_place(p);
        if (!result && saves && store_is_due(&p->store)) result = store_save(&p->store, &place);
        batch_of_parts done = p->now;
        p->now = p->next;
        p->next = done;
    }
    return result;
}

/* ---- tokenizer ---- */

static status open_workers(preparation *p, bool counts)
{
    p->workers = calloc((size_t)p->threads, sizeof *p->workers);
    if (!p->workers) return fail(STATUS_NOMEM, "memory for %d threads", p->threads);
    status result = STATUS_OK;
    for (int i = 0; !result && i < p->threads && p->tokenizer; i++) {
        result = encoder_open(&p->workers[i].encoder, p->tokenizer);
        if (!result && counts && !(p->workers[i].counts = piece_counts_open()))
            result = fail(STATUS_NOMEM, "memory to count words");
    }
    return result;
}

static void close_workers(preparation *p)
{
    for (int i = 0; p->workers && i < p->threads; i++) {
        encoder_close(&p->workers[i].encoder);
        piece_counts_close(&p->workers[i].counts);
    }
    free(p->workers);
    p->workers = NULL;
}

static status learn(preparation *p, tokenizer **learned)
{
    status result = run_texts(p, false);
    piece_counts *all = result ? NULL : p->workers[0].counts;
    for (int i = 1; !result && i < p->threads; i++)
        if (!piece_counts_merge(all, p->workers[i].counts))
            result = fail(STATUS_NOMEM, "memory to count words");
    return result ? result : tokenizer_learn(learned, all, (size_t)p->o->learn);
}

/* Learn a tokenizer, unless that was done before a kill, and keep it where that is found. */
static status learn_or_find(preparation *p)
{
    tokenizer *learned = NULL;
    if (p->store.saved) return tokenizer_open(&p->tokenizer, p->store.path);
    text_place start = p->store.place;
    status result = tokenizer_learn(&p->tokenizer, NULL, 257);
    if (!result) result = open_workers(p, true);
    if (!result) result = learn(p, &learned);
    close_workers(p);
    tokenizer_close(&p->tokenizer);
    p->tokenizer = learned;
    if (!result) result = tokenizer_write(learned, p->store.path);
    return result ? result : store_save(&p->store, &start);
}

/* ---- from beginning to end ---- */

static status open_batch(batch_of_parts *b, size_t capacity)
{
    b->parts = calloc(capacity, sizeof *b->parts);
    return b->parts ? STATUS_OK : fail(STATUS_NOMEM, "memory for %zu blocks of text", capacity);
}

static void close_batch(batch_of_parts *b, size_t capacity)
{
    for (size_t i = 0; b->parts && i < capacity; i++) {
        text_block_close(&b->parts[i].block);
        free(b->parts[i].out.values);
    }
    free(b->parts);
}

/* All that the tokens depend on. */
static uint64_t hash_command(const preparation *p)
{
    const prepare_options *o = p->o;
    uint64_t facts[] = {2 /* of this format */, text_source_digest(p->source), o->shard_tokens,
                        o->learn, p->tokenizer ? tokenizer_digest(p->tokenizer) : 0};
    uint64_t hash = XXH3_64bits(facts, sizeof facts);
    hash = XXH3_64bits_withSeed(&o->valid, sizeof o->valid, hash);
    return XXH3_64bits_withSeed(o->key, strlen(o->key), hash);
}

static status open_preparation(preparation *p)
{
    const prepare_options *o = p->o;
    p->threads = o->threads > 0 ? o->threads : omp_get_max_threads();
    p->capacity = (size_t)p->threads * PARTS_A_THREAD;
    status result = thread_trial_run(p->threads - 1);
    if (result) return result;
    result = text_source_open(&p->source, o->texts, o->count, o->tokenizer || o->learn > 0);
    if (!result && text_source_bytes(p->source) < FEWEST_BYTES)
        result = fail(STATUS_INPUT, "%s: %" PRIu64 " bytes of text found, at least %d expected",
                      o->texts[0], text_source_bytes(p->source), FEWEST_BYTES);
    if (!result && o->tokenizer) result = tokenizer_open(&p->tokenizer, o->tokenizer);
    if (!result) result = open_batch(&p->now, p->capacity);
    if (!result) result = open_batch(&p->next, p->capacity);
    return result;
}

static status encode(preparation *p)
{
    text_place end = {.text = p->o->count, .line = 1};
    status result = open_workers(p, false);
    if (!result) result = text_source_seek(p->source, &p->store.place);
    if (!result) result = run_texts(p, true);
    if (!result) result = store_save(&p->store, &end);
    return result;
}

static status prepare_run(preparation *p)
{
    status result = store_open(&p->store, p->o, hash_command(p));
    if (result) {
        store_close(&p->store, false); /* it may be another's */
        return result;
    }
    if (p->o->learn > 0) result = learn_or_find(p);
    if (!result && !p->store.placing) result = encode(p);
    if (!result) result = store_publish(&p->store, p->tokenizer, &p->refused);
    bool goes_on = result && (result != STATUS_INPUT || p->refused);
    store_close(&p->store, !goes_on);
    return result;
}

status prepare_tokens(const prepare_options *o)
{
    preparation p = {.o = o};
    status result = open_preparation(&p);
    if (!result) result = prepare_run(&p);
    close_workers(&p);
    close_batch(&p.now, p.capacity);
    close_batch(&p.next, p.capacity);
    tokenizer_close(&p.tokenizer);
    text_source_close(&p.source);
    return result;
}
