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

enum { STATE_LIMIT = 64 << 20, PATH_SIZE = 4096, KEY_SIZE = 256 };

static const char ending[] = ",\n\"checksum\": \"";

enum { ENDING = sizeof ending - 1 + 16 + 3 }; /* the digits, quote, brace, newline */

/* @param text  [size] what comes before it */
static void print_ending(char out[ENDING + 1], const char *text, size_t size)
{
    snprintf(out, ENDING + 1, "%s%016" PRIx64 "\"}\n", ending, (uint64_t)XXH3_64bits(text, size));
}

static void name_sum(char key[KEY_SIZE], const saved_array *array, const tensor *t)
{
    snprintf(key, KEY_SIZE, "%s %s%s", array->file, array->prefix, t->name);
}

static json_t *sum_json(uint64_t sum)
{
    return json_sprintf("%016" PRIx64, sum);
}

static json_t *sums_json(const parameters *p, const saved_array *arrays, size_t array_count,
                         const uint64_t *sums, uint64_t config)
{
    char key[KEY_SIZE];
    json_t *all = json_pack("{so}", "config.json", sum_json(config));
    for (size_t a = 0; a < array_count; a++) {
        const parameters *own = safetensors_tensors(&arrays[a], p);
        for (size_t i = 0; i < own->tensor_count; i++) {
            name_sum(key, &arrays[a], &own->tensors[i]);
            json_text_set(&all, key, sum_json(*sums++));
        }
    }
    return all;
}

static json_t *delta_json(const checkpoint_prior *prior, const parameters *p)
{
    json_t *delta = json_object();
    for (size_t i = 0; i < p->tensor_count; i++)
        json_text_put(&delta, p->tensors[i].name, prior->delta[i]);
    return delta;
}

static json_t *state_json(const checkpoint_words *words, const checkpoint_prior *prior,
                          const checkpoint_facts *f, const parameters *p, json_t *sums)
{
    json_t *o =
        json_pack("{si so so so so so}", "format", 1, "steps", json_text_count(f->steps), "updates",
                  json_text_count(f->updates), "skipped_in_row", json_text_count(f->skipped_in_row),
                  "seed", json_text_count(f->seed), "item", json_text_count(f->item));
    if (f->loo_made > 0) {
        json_text_set(&o, "loo_made", json_text_count(f->loo_made));
        json_text_set(&o, "loo_waited", json_text_count(f->loo_waited));
        json_text_put(&o, "loo_best", f->loo_best);
    }
    json_text_set(&o, "threads", json_text_count(f->threads));
    json_text_set(&o, "ranks", json_text_count(f->ranks));
    if (words->collects) json_text_set(&o, "snapshots", json_text_count(f->snapshots));
    if (f->init) json_text_set(&o, "init_checksum", sum_json(f->init));
    json_text_set(&o, "instruction_set", json_text_string(f->instruction_set));
    json_text_set(&o, "libraries", json_text_string(f->libraries));
    json_text_put(&o, "lambda", prior->lambda);
    json_text_set(&o, "delta", delta_json(prior, p));
    json_text_set(&o, "job", json_text_string(words->job));
    json_text_set(&o, "checksums", sums);
    return o;
}

/* The checksum comes behind the last member: it takes the place of the object's end. */
static status write_state(const char *directory, json_t *state)
{
    char path[PATH_SIZE], *text = json_text_make(state, JSON_INDENT(1));
    snprintf(path, sizeof path, "%s/state.json", directory);
    size_t size = text ? strlen(text) - strlen("\n}\n") : 0;
    char *whole = text ? realloc(text, size + ENDING + 1) : NULL;
    if (!whole) {
        free(text);
        return fail(STATUS_NOMEM, "memory to write %s", path);
    }
    print_ending(whole + size, whole, size);
    status result = file_write_atomic(path, whole, size + ENDING);
    free(whole);
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
    if (result) return result;
    json_t *all = sums_json(p, arrays, array_count, sums, XXH3_64bits(words->config, size));
    return write_state(directory, state_json(words, prior, facts, p, all));
}

/* The text's own checksum: altered or torn text does not match it. */
static status verify(const char *path, const char *text, size_t size)
{
    char expected[ENDING + 1];
    if (size > ENDING) {
        print_ending(expected, text, size - ENDING);
        if (memcmp(text + size - ENDING, expected, ENDING) == 0) return STATUS_OK;
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
            char key[KEY_SIZE];
            name_sum(key, &arrays[a], &own->tensors[i]);
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
