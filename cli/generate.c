/* vario generate: text that follows a prompt, from the mean or from posterior samples. */
#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/checkpoints/checkpoint.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/runs/job_of_run.h"
#include "io/tokens/tokenizer.h"
#include "posterior/sampling.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *prompt;
    uint64_t count, top_k, seed, samples;
    double temperature, top_p;
    bool keep, quiet;
} arguments;

/* What the run's tokens mean. */
typedef struct {
    tokenizer *tokenizer; /* rank 0 only; NULL: bytes */
    size_t vocabulary;    /* tokens that mean something */
    token_list prompt;
} language;

/* A text in the making: its last tokens are the trainer's inputs. */
typedef struct {
    trainer *r;
    const arguments *a;
    const language *l;
    size_t length;       /* tokens that the model sees */
    gpt2_cache **caches; /* one for each sample in use: other weights, other keys and values */
    size_t cache_count;
    float *logits;
} text;

static status open_text(text *t, trainer *r, const arguments *a, const language *l)
{
    size_t vocabulary = r->job->model.gpt2.vocab_size;
    *t = (text){.r = r, .a = a, .l = l, .cache_count = 1};
    if (a->samples > 1 && a->count > 1)
        t->cache_count = a->samples < a->count ? a->samples : a->count;
    double caches = (double)t->cache_count * (double)gpt2_cache_bytes(model_gpt2(r->model));
    status result = free_memory_check(r->rounds.c->world, caches,
                                      "%s: %zu caches of keys and values of %zu tokens",
                                      r->job->name, t->cache_count, r->job->batch.length);
    if (result) return result;
    t->caches = calloc(t->cache_count, sizeof(gpt2_cache *));
    t->logits = malloc(vocabulary * sizeof *t->logits);
    if (!t->caches || !t->logits)
        result =
            fail(STATUS_NOMEM, "memory for %zu caches and %zu logits", t->cache_count, vocabulary);
    for (size_t i = 0; !result && i < t->cache_count; i++)
        result = gpt2_cache_open(&t->caches[i], model_gpt2(r->model));
    return agree(r->rounds.c->world, result);
}

static void close_text(text *t)
{
    for (size_t i = 0; t->caches && i < t->cache_count; i++) gpt2_cache_close(&t->caches[i]);
    free(t->caches);
    free(t->logits);
}

/* Logits of the token after the text: the mean of probabilities over samples would need them all at
 * once, so each token is drawn with one posterior sample, its number mod `samples`. */
static void next_logits(text *t, uint64_t drawn)
{
    trainer *r = t->r;
    uint64_t sample = t->a->samples ? drawn % t->a->samples : 0;
    noise_key keys[r->rounds.c->size];
    for (int i = 0; i < r->rounds.c->size; i++)
        keys[i] = (noise_key){
            .seed = r->job->seed, .stream = STREAM_POSTERIOR, .sample = (uint32_t)sample};
    weights_begin(&r->weights, &(weights_round){.active = (size_t)r->rounds.c->size,
                                                .keys = keys,
                                                .sampled = t->a->samples > 0});
    gpt2_decode(model_gpt2(r->model), &r->hooks, t->caches[sample], r->batch.tokens, t->length,
                t->logits);
    weights_end(&r->weights);
}

/* Positions count from the window's start, so what is dropped shifts them all and the caches are
 * void. Dropping half of a full window at once makes that rare. */
static void append(text *t, uint16_t token)
{
    uint16_t *seen = t->r->batch.tokens;
    size_t window = t->r->job->batch.length, kept = window / 2;
    if (t->length == window) {
        memmove(seen, seen + window - kept, kept * sizeof *seen);
        t->length = kept;
        for (size_t i = 0; i < t->cache_count; i++) gpt2_cache_clear(t->caches[i]);
    }
    seen[t->length++] = token;
}

static double uniform(uint64_t seed, uint64_t drawn)
{
    uint32_t out[4];
    uint32_t counter[4] = {(uint32_t)drawn, (uint32_t)STREAM_TEXT << 24, 0, 0};
    noise_words(out, seed, counter);
    return ((double)out[0] + 0.5) / 4294967296.0;
}

/* What does not fit into the window is not seen. */
static void take_prompt(text *t)
{
    const token_list *prompt = &t->l->prompt;
    size_t window = t->r->job->batch.length;
    t->length = prompt->count < window ? prompt->count : window;
    memcpy(t->r->batch.tokens, prompt->values + prompt->count - t->length,
           t->length * sizeof *prompt->values);
}

static void print_token(const language *l, size_t token, terminal_stream *out, FILE *kept)
{
    size_t size = 1;
    const char byte = (char)token;
    const void *bytes =
        l->tokenizer ? tokenizer_bytes(l->tokenizer, (uint16_t)token, &size) : &byte;
    terminal_write(out, bytes, size);
    fflush(stdout);
    if (kept) fwrite(bytes, 1, size, kept);
}

/* A line of samples.jsonl, which `vario report` shows. */
static status keep_text(const arguments *a, const char *run, uint64_t step, const char *made,
                        size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%.4000s/samples.jsonl", run);
    char *line = json_text_make(
        json_pack("{sI sf so sf so so so so}", "step", (json_int_t)step, "temperature",
                  a->temperature, "top_k", json_text_count(a->top_k), "top_p", a->top_p, "seed",
                  json_text_count(a->seed), "samples", json_text_count(a->samples), "prompt",
                  json_text_string(a->prompt), "text", json_text_bytes(made, size)),
        0);
    status result = line ? file_append_line(path, line, strlen(line) - 1) /* without its end */
                         : fail(STATUS_NOMEM, "memory to write %s", path);
    free(line);
    return result;
}

static status write_text(trainer *r, const arguments *a, const language *l, FILE *kept)
{
    text t;
    terminal_stream out;
    status result = open_text(&t, r, a, l);
    bool speaks = r->rounds.c->rank == 0;
    if (!result) take_prompt(&t);
    terminal_open(&out, stdout);
    if (!result && speaks) terminal_write(&out, a->prompt, strlen(a->prompt));
    for (uint64_t drawn = 0; !result && drawn < a->count; drawn++) {
        next_logits(&t, drawn);
        size_t token = sample_token(t.logits, l->vocabulary, a->temperature, a->top_k, a->top_p,
                                    uniform(a->seed, drawn));
        if (speaks) print_token(l, token, &out, kept);
        append(&t, (uint16_t)token);
    }
    terminal_close(&out);
    if (!result && speaks) putchar('\n');
    close_text(&t);
    return result;
}

/* Rank 0 keeps what it prints. */
static status write_kept(trainer *r, const arguments *a, const language *l, const char *run,
                         uint64_t step)
{
    char *made = NULL;
    size_t size = 0;
    bool keeps = a->keep && r->rounds.c->rank == 0;
    FILE *kept = keeps ? open_memstream(&made, &size) : NULL;
    status result = agree(r->rounds.c->world,
                          keeps && !kept ? fail(STATUS_NOMEM, "memory for a text") : STATUS_OK);
    if (!result) result = write_text(r, a, l, kept);
    if (kept && fclose(kept) != 0 && !result) result = fail(STATUS_NOMEM, "memory for a text");
    if (kept && !result) result = keep_text(a, run, step, made, size);
    free(made);
    return agree(r->rounds.c->world, result);
}

/* Texts are kept beside a run's checkpoints, not in one of them. */
static status check_folder(const char *run)
{
    if (job_run_exists(run)) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: --keep expects a run directory, no job.yaml found in it", run);
}

static status encode_bytes(language *l, const arguments *a, const job *j, const char *path)
{
    size_t vocabulary = j->model.gpt2.vocab_size, size = strlen(a->prompt);
    if (vocabulary > 256)
        return fail(
            STATUS_INPUT,
            "%s: vocab.json and merges.txt, tokenizer.json, or a byte-level model (vocab_size at "
            "most 256) expected, none and vocab_size %zu found",
            path, vocabulary);
    if (!token_list_reserve(&l->prompt, size)) return fail(STATUS_NOMEM, "memory for a prompt");
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)a->prompt[i];
        if (byte >= vocabulary)
            return fail(STATUS_INPUT,
                        "vario generate: --prompt: byte %u found at position %zu, bytes below the "
                        "run's vocab_size %zu expected",
                        byte, i, vocabulary);
        l->prompt.values[l->prompt.count++] = byte;
    }
    l->vocabulary = vocabulary;
    return STATUS_OK;
}

static status encode_text(language *l, const arguments *a, const job *j, const char *directory)
{
    encoder *e = NULL;
    status result = tokenizer_open(&l->tokenizer, directory);
    if (result) return result;
    l->vocabulary = tokenizer_count(l->tokenizer);
    if (l->vocabulary > j->model.gpt2.vocab_size)
        return fail(STATUS_INPUT, "%s: %zu tokens found, at most the run's vocab_size %zu expected",
                    directory, l->vocabulary, j->model.gpt2.vocab_size);
    result = encoder_open(&e, l->tokenizer);
    if (!result && !encoder_append(e, a->prompt, strlen(a->prompt), &l->prompt))
        result = fail(STATUS_NOMEM, "memory for a prompt");
    encoder_close(&e);
    return result;
}

static void close_language(language *l)
{
    tokenizer_close(&l->tokenizer);
    free(l->prompt.values);
}

/* Rank 0 reads the run's tokenizer, all get the prompt; collective. */
static status open_language(language *l, session *s, const arguments *a, const job *j,
                            const char *path)
{
    char directory[4096];
    status result = STATUS_OK;
    *l = (language){0};
    if (s->c.rank == 0)
        result = tokenizer_of_run(directory, sizeof directory, path)
                     ? encode_text(l, a, j, directory)
                     : encode_bytes(l, a, j, path);
    result = agree(s->c.world, result);
    if (result) return result;
    uint64_t sizes[] = {l->vocabulary, l->prompt.count};
    MPI_Bcast(sizes, 2, MPI_UINT64_T, 0, s->c.world);
    l->vocabulary = (size_t)sizes[0];
    if (s->c.rank > 0 && !token_list_reserve(&l->prompt, (size_t)sizes[1]))
        result = fail(STATUS_NOMEM, "memory for a prompt");
    result = agree(s->c.world, result);
    if (result) return result;
    l->prompt.count = (size_t)sizes[1];
    MPI_Bcast(l->prompt.values, (int)sizes[1], MPI_UINT16_T, 0, s->c.world);
    return STATUS_OK;
}

static status check_arguments(const arguments *a)
{
    if (!*a->prompt)
        return fail(STATUS_INPUT, "vario generate: --prompt: at least one character expected");
    if (a->top_p > 1.0)
        return fail(STATUS_INPUT, "vario generate: --top-p: %g found, a share from 0 to 1 expected",
                    a->top_p);
    return STATUS_OK;
}

static status generate_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    const char *path = rest[0];
    job j;
    status result = session_read_run(s, &j, path);
    if (result) return result;
    if (j.model.kind != MODEL_GPT2)
        return fail(STATUS_INPUT, "%s: a run of a gpt2 expected, whose model alone writes text",
                    path);
    result = check_arguments(a);
    if (result) return result;
    if (a->samples > 0 && !job_has_posterior(&j))
        return fail(STATUS_INPUT,
                    "vario generate: --samples %" PRIu64
                    ": a posterior (ivon, evon, bbb or swag) expected, %s was trained without one",
                    a->samples, path);
    if (a->keep && s->c.rank == 0) result = check_folder(path);
    result = agree(s->c.world, result);
    if (result) return result;
    language l;
    result = open_language(&l, s, a, &j, path);
    j.batch.sequences = j.batch.parts = 1;
    j.batch.length = j.model.gpt2.block_size;
    if (!result) result = session_compute(s, j.parallel.threads, a->quiet);
    trainer r = {0};
    checkpoint_facts facts;
    dtype precision = precision_here(&j, s->bf16);
    if (!result) result = trainer_open(&r, &j, &s->c, precision, false);
    if (!result) result = trainer_read(&r, path, &facts);
    if (!result) result = write_kept(&r, a, &l, path, facts.steps);
    trainer_close(&r);
    close_language(&l);
    return result;
}

int generate_main(int argc, char **argv)
{
    arguments a = {.prompt = "\n", .count = 200, .temperature = 1.0, .top_p = 1.0};
    const option options[] = {
        {"--prompt", OPTION_TEXT, &a.prompt, "TEXT", "what the text begins with"},
        {"--tokens", OPTION_COUNT, &a.count, "N", "how many to draw (200)"},
        {"--temperature", OPTION_NUMBER, &a.temperature, "T",
         "divides the logits (1); 0 takes the likeliest"},
        {"--top-k", OPTION_COUNT, &a.top_k, "K", "only the K likeliest (0: all)"},
        {"--top-p", OPTION_NUMBER, &a.top_p, "P", "only the likeliest that make up P (1)"},
        {"--seed", OPTION_COUNT, &a.seed, "N", "the same seed draws the same text (0)"},
        {"--samples", OPTION_COUNT, &a.samples, "S",
         "draw each token with one of S posterior samples, in turn (0: the mean)"},
        {"--keep", OPTION_FLAG, &a.keep, NULL, "add the text to RUN/samples.jsonl, for its report"},
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {"generate",
                                "RUN --prompt TEXT",
                                "Write text with a run's newest checkpoint.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                1};
    return session_main(&table, argc, argv, generate_verb, &a);
}
