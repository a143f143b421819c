/* state.json ends with a checksum of the text before it. */
#include "io/checkpoints/checkpoint_state.h"

#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "io/files/json_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { STATE_LIMIT = 64 << 20, PATH_SIZE = 4096 };

static const char ending[] = ",\n\"checksum\": \"";

/* JSON's readers know integers up to 2^63; above, the digits are a string. */
static void print_count(FILE *out, const char *key, uint64_t count)
{
    const char *quote = count > INT64_MAX ? "\"" : "";
    fprintf(out, ",\n\"%s\": %s%" PRIu64 "%s", key, quote, count, quote);
}

static void print_sums(FILE *out, const parameters *p, const saved_array *arrays,
                       size_t array_count, const uint64_t *sums, uint64_t config)
{
    fprintf(out, ",\n\"checksums\": {\n \"config.json\": \"%016" PRIx64 "\"", config);
    for (size_t a = 0; a < array_count; a++) {
        const parameters *own = safetensors_tensors(&arrays[a], p);
        for (size_t i = 0; i < own->tensor_count; i++)
            fprintf(out, ",\n \"%s %s%s\": \"%016" PRIx64 "\"", arrays[a].file, arrays[a].prefix,
                    own->tensors[i].name, *sums++);
    }
    fprintf(out, "}");
}

static void print_prior(FILE *out, const checkpoint_prior *prior, const parameters *p)
{
    fprintf(out, ",\n\"lambda\": %.17g,\n\"delta\": {", prior->lambda);
    for (size_t i = 0; i < p->tensor_count; i++)
        fprintf(out, "%s\"%s\": %.17g", i ? ", " : "", p->tensors[i].name, prior->delta[i]);
    fprintf(out, "}");
}

static status write_state(const char *directory, const checkpoint_words *words,
                          const checkpoint_prior *prior, const checkpoint_facts *f,
                          const parameters *p, const saved_array *arrays, size_t array_count,
                          const uint64_t *sums, uint64_t config)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/state.json", directory);
    FILE *out = open_memstream(&text, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to write %s", path);
    fprintf(out, "{\"format\": 1");
    print_count(out, "steps", f->steps);
    print_count(out, "updates", f->updates);
    print_count(out, "skipped_in_row", f->skipped_in_row);
    print_count(out, "seed", f->seed);
    print_count(out, "item", f->item);
    if (f->loo_made > 0) {
        print_count(out, "loo_made", f->loo_made);
        print_count(out, "loo_waited", f->loo_waited);
        fprintf(out, ",\n\"loo_best\": %.17g", f->loo_best);
    }
    print_count(out, "threads", f->threads);
    print_count(out, "ranks", f->ranks);
    if (words->collects) print_count(out, "snapshots", f->snapshots);
    if (f->init) fprintf(out, ",\n\"init_checksum\": \"%016" PRIx64 "\"", f->init);
    fprintf(out, ",\n\"instruction_set\": ");
    json_text_print(out, f->instruction_set);
    fprintf(out, ",\n\"libraries\": ");
    json_text_print(out, f->libraries);
    print_prior(out, prior, p);
    fprintf(out, ",\n\"job\": ");
    json_text_print(out, words->job);
    print_sums(out, p, arrays, array_count, sums, config);
    if (fflush(out) == 0)
        fprintf(out, "%s%016" PRIx64 "\"}\n", ending, (uint64_t)XXH3_64bits(text, size));
    bool whole = !ferror(out);
    status result = fclose(out) == 0 && whole ? file_write_atomic(path, text, size)
                                              : fail(STATUS_NOMEM, "memory to write %s", path);
    free(text);
    return result;
}

status checkpoint_state_write(const char *directory, const checkpoint_words *words,
                              const checkpoint_prior *prior, const checkpoint_facts *facts,
                              const parameters *p, const saved_array *arrays, size_t array_count,
                              const uint64_t *sums)
{
    char path[PATH_SIZE];
    const size_t size = strlen(words->config);
    snprintf(path, sizeof path, "%s/config.json", directory);
    status result = file_write_atomic(path, words->config, size);
    return result ? result
                  : write_state(directory, words, prior, facts, p, arrays, array_count, sums,
                                XXH3_64bits(words->config, size));
}

/* The text's own checksum: altered or torn text does not match it. */
static status verify(const char *path, const char *text, size_t size)
{
    char expected[sizeof ending + 16 + 3]; /* the digits, quote, brace, newline */
    size_t tail = sizeof expected - 1;
    if (size > tail) {
        snprintf(expected, sizeof expected, "%s%016" PRIx64 "\"}\n", ending,
                 (uint64_t)XXH3_64bits(text, size - tail));
        if (memcmp(text + size - tail, expected, tail) == 0) return STATUS_OK;
    }
    return fail(STATUS_INPUT, "%s: altered or truncated: its checksum does not match its text",
                path);
}

static uint64_t count_of(json_t *root, const char *key)
{
    json_t *value = json_object_get(root, key);
    return json_is_string(value) ? strtoull(json_string_value(value), NULL, 10)
                                 : (uint64_t)json_integer_value(value);
}

static void copy_text(char *out, size_t size, json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));
    snprintf(out, size, "%s", text ? text : "");
}

static status read_sums(const char *path, json_t *root, const parameters *p,
                        const saved_array *arrays, size_t array_count, uint64_t *sums)
{
    json_t *table = json_object_get(root, "checksums");
    for (size_t a = 0; a < array_count; a++) {
        const parameters *own = safetensors_tensors(&arrays[a], p);
        for (size_t i = 0; i < own->tensor_count; i++) {
            char key[256];
            snprintf(key, sizeof key, "%s %s%s", arrays[a].file, arrays[a].prefix,
                     own->tensors[i].name);
            const char *text = json_string_value(json_object_get(table, key));
            if (!text || sscanf(text, "%" SCNx64, sums++) != 1)
                return fail(STATUS_INPUT, "%s: a checksum of '%s' expected, none found", path, key);
        }
    }
    return STATUS_OK;
}

/* Nothing here reads config.json, but others do. */
static status verify_config(const char *directory, json_t *root)
{
    const char *sum =
        json_string_value(json_object_get(json_object_get(root, "checksums"), "config.json"));
    if (!sum) return STATUS_OK;
    char path[PATH_SIZE], found[17], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/config.json", directory);
    status result = file_read_text(&text, &size, path, STATE_LIMIT);
    if (result) return result;
    snprintf(found, sizeof found, "%016" PRIx64, (uint64_t)XXH3_64bits(text, size));
    free(text);
    if (strcmp(found, sum) == 0) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: altered: checksum %s expected, %s found", path, sum, found);
}

static status read_root(json_t **root, const char *directory)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    *root = NULL;
    snprintf(path, sizeof path, "%s/state.json", directory);
    status result = file_read_text(&text, &size, path, STATE_LIMIT);
    if (!result) result = verify(path, text, size);
    if (!result) *root = json_loads(text, 0, NULL);
    if (!result && !*root)
        result = fail(STATUS_INPUT, "%s: JSON expected, something else found", path);
    free(text);
    return result;
}

status checkpoint_state_read(const char *directory, checkpoint_facts *facts, const parameters *p,
                             const saved_array *arrays, size_t array_count, uint64_t *sums)
{
    char path[PATH_SIZE];
    json_t *root;
    status result = read_root(&root, directory);
    if (result) return result;
    snprintf(path, sizeof path, "%s/state.json", directory);
    *facts = (checkpoint_facts){.steps = count_of(root, "steps"),
                                .updates = count_of(root, "updates"),
                                .skipped_in_row = count_of(root, "skipped_in_row"),
                                .seed = count_of(root, "seed"),
                                .item = count_of(root, "item"),
                                .loo_best = json_number_value(json_object_get(root, "loo_best")),
                                .loo_made = count_of(root, "loo_made"),
                                .loo_waited = count_of(root, "loo_waited"),
                                .threads = count_of(root, "threads"),
                                .ranks = count_of(root, "ranks"),
                                .snapshots = count_of(root, "snapshots")};
    copy_text(facts->instruction_set, sizeof facts->instruction_set, root, "instruction_set");
    copy_text(facts->libraries, sizeof facts->libraries, root, "libraries");
    const char *init = json_string_value(json_object_get(root, "init_checksum"));
    if (init) facts->init = strtoull(init, NULL, 16);
    result = read_sums(path, root, p, arrays, array_count, sums);
    if (!result) result = verify_config(directory, root);
    json_decref(root);
    return result;
}

status checkpoint_job_text(char **text, const char *directory)
{
    json_t *root;
    *text = NULL;
    status result = read_root(&root, directory);
    if (result) return result;
    const char *found = json_string_value(json_object_get(root, "job"));
    if (found) *text = strdup(found);
    if (!found)
        result = fail(STATUS_INPUT, "%s/state.json: a job expected, none found", directory);
    else if (!*text)
        result = fail(STATUS_NOMEM, "memory for the job of %s", directory);
    json_decref(root);
    return result;
}

void checkpoint_words_close(checkpoint_words *words)
{
    free(words->job);
    free(words->config);
    *words = (checkpoint_words){0};
}

status checkpoint_words_copy(checkpoint_words *words, const checkpoint_words *from)
{
    *words = (checkpoint_words){strdup(from->job), strdup(from->config), from->collects};
    if (words->job && words->config) return STATUS_OK;
    checkpoint_words_close(words);
    return fail(STATUS_NOMEM, "memory for the job of a checkpoint");
}

static status prior_open(checkpoint_prior *prior, const parameters *p)
{
    *prior = (checkpoint_prior){.delta = calloc(p->tensor_count, sizeof(double))};
    return prior->delta
               ? STATUS_OK
               : fail(STATUS_NOMEM, "memory for the prior of %zu tensors", p->tensor_count);
}

void checkpoint_prior_close(checkpoint_prior *prior)
{
    free(prior->delta);
    *prior = (checkpoint_prior){0};
}

status checkpoint_prior_of_settings(checkpoint_prior *prior, const runtime_settings *settings,
                                    const parameters *p)
{
    status result = prior_open(prior, p);
    if (result) return result;
    prior->lambda = settings->variational ? settings->optimizer.ess : 0.0;
    for (size_t i = 0; i < p->tensor_count; i++)
        prior->delta[i] = settings_decay(settings, &p->tensors[i]);
    return STATUS_OK;
}

status checkpoint_prior_copy(checkpoint_prior *prior, const checkpoint_prior *from,
                             const parameters *p)
{
    status result = prior_open(prior, p);
    if (result) return result;
    prior->lambda = from->lambda;
    memcpy(prior->delta, from->delta, p->tensor_count * sizeof(double));
    return STATUS_OK;
}

static status read_delta(checkpoint_prior *prior, json_t *root, const char *directory,
                         const parameters *p)
{
    json_t *table = json_object_get(root, "delta");
    for (size_t i = 0; i < p->tensor_count; i++) {
        json_t *value = json_object_get(table, p->tensors[i].name);
        if (!json_is_number(value))
            return fail(STATUS_INPUT, "%s/state.json: delta of '%s' expected, none found",
                        directory, p->tensors[i].name);
        prior->delta[i] = json_number_value(value);
    }
    return STATUS_OK;
}

/* Of all tensors, or of some. */
static bool lists_hessian(json_t *sums, const parameters *p)
{
    char key[sizeof p->tensors->name + 32];
    bool found = false;
    for (size_t i = 0; i < p->tensor_count && !found; i++) {
        snprintf(key, sizeof key, "posterior.safetensors %s", p->tensors[i].name);
        found = json_object_get(sums, key);
    }
    return found;
}

status checkpoint_prior_read(checkpoint_prior *prior, const char *directory, const parameters *p)
{
    json_t *root = NULL;
    status result = prior_open(prior, p);
    if (!result) result = read_root(&root, directory);
    if (!result) result = read_delta(prior, root, directory, p);
    if (!result && lists_hessian(json_object_get(root, "checksums"), p))
        prior->lambda = json_number_value(json_object_get(root, "lambda"));
    json_decref(root);
    if (result) checkpoint_prior_close(prior);
    return result;
}
