/* Reading: defaults, then the preset, then the file, then overrides; then what must hold between
 * keys. */
#include "io/jobs/job.h"

#include "io/jobs/job_schema.h"
#include "io/jobs/job_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_null(const job_entry *e)
{
    return e->shape == SHAPE_PLAIN && (strcmp(e->value, "") == 0 || strcmp(e->value, "~") == 0 ||
                                       strcmp(e->value, "null") == 0);
}

static bool shape_fits(const schema_row *row, const job_entry *e)
{
    bool text = row->type == KEY_TEXT || row->type == KEY_CHOICE;
    if (e->too_long || is_null(e)) return false;
    switch (e->shape) {
    case SHAPE_MAPPING: return false;
    case SHAPE_QUOTED: return text;
    case SHAPE_LIST: return row->type == KEY_COUNTS;
    case SHAPE_PLAIN: return row->type != KEY_COUNTS;
    case SHAPE_OVERRIDE: break;
    }
    return true;
}

static void describe_found(const job_entry *e, char *out, size_t size)
{
    static const char *const shapes[] = {"'", "the text '", "the list '", "", "'"};
    char value[104];
    if (e->shape == SHAPE_MAPPING)
        snprintf(out, size, "a section");
    else if (is_null(e))
        snprintf(out, size, "'%s', no value,", e->value);
    else
        snprintf(out, size, "%s%s'", shapes[e->shape], source_show(e->value, value));
}

static status set_entry(const job_source *s, job *j, const job_entry *e)
{
    char found[150], expected[SCHEMA_TEXT];
    const schema_row *row = schema_find(e->key);
    if (!row) return STATUS_OK; /* a section */
    if (shape_fits(row, e) && schema_parse(row, j, e->value)) return STATUS_OK;
    describe_found(e, found, sizeof found);
    schema_describe(row, expected, sizeof expected);
    return source_refuse(s, e, "'%s': %s found, %s expected", e->key, found, expected);
}

static bool is_section_entry(const job_entry *e)
{
    bool nothing = e->shape == SHAPE_PLAIN && e->value[0] == '\0'; /* all its keys commented out */
    return schema_is_section(e->key) && (e->shape == SHAPE_MAPPING || nothing);
}

static status check_entry(const job_source *s, job *j, const job_entry *e)
{
    char key[104], value[104];
    if (schema_find(e->key)) return e->shape == SHAPE_MAPPING ? set_entry(s, j, e) : STATUS_OK;
    if (is_section_entry(e)) return STATUS_OK;
    if (schema_is_section(e->key))
        return source_refuse(s, e, "'%s': %s%s' found, keys of this section expected, such as '%s'",
                             e->key, e->shape == SHAPE_LIST ? "list '" : "'",
                             source_show(e->value, value), schema_section_key(e->key));
    return source_refuse(s, e, "unknown key '%s' found, nearest valid key: '%s'",
                         source_show(e->key, key), schema_nearest(e->key));
}

static status check_known(const job_source *s, job *j)
{
    const job_entry *entries = s->entries->entries;
    for (size_t i = 0; i < s->entries->count; i++) {
        status result = check_entry(s, j, &entries[i]);
        if (result) return result;
        for (size_t k = 0; k < i && entries[i].shape != SHAPE_OVERRIDE; k++)
            if (strcmp(entries[k].key, entries[i].key) == 0)
                return source_refuse(s, &entries[i],
                                     "'%s' found twice, expected once (first in line %zu)",
                                     entries[i].key, entries[k].line);
    }
    return STATUS_OK;
}

static status set_key(const job_source *s, job *j, const char *key)
{
    const job_entry *e = source_find(s, key);
    return e ? set_entry(s, j, e) : STATUS_OK;
}

static void set_preset(job *j)
{
    static const size_t sizes[][3] = {
        {0, 0, 0}, {12, 12, 768}, {24, 16, 1024}, {36, 20, 1280}, {48, 25, 1600}};
    j->model.gpt2.n_layer = sizes[j->model.preset][0];
    j->model.gpt2.n_head = sizes[j->model.preset][1];
    j->model.gpt2.n_embd = sizes[j->model.preset][2];
}

/* Keys that every kind of model has stand where GPT-2 has them. */
static void finish_model(job *j)
{
    if (job_reads_tokens(j)) {
        if (j->batch.length == 0) j->batch.length = j->model.gpt2.block_size;
        return;
    }
    if (j->batch.length == 0) j->batch.length = 1;
    j->model.mlp.bias = j->model.gpt2.bias;
    j->model.mlp.dropout = j->model.gpt2.dropout;
}

static status resolve(const job_source *s, job *j)
{
    memset(j, 0, sizeof *j);
    status result = check_known(s, j);
    if (!result) result = set_key(s, j, "model.kind");
    if (!result) result = set_key(s, j, "optimizer.kind");
    if (result) return result;
    j->optimizer.settings = source_settings(s, j);
    result = set_key(s, j, "optimizer.settings");
    if (result) return result;
    job_set_defaults(j);
    result = set_key(s, j, "model.preset");
    if (result) return result;
    set_preset(j);
    for (size_t i = 0; !result && i < s->entries->count; i++)
        result = set_entry(s, j, &s->entries->entries[i]);
    finish_model(j);
    j->waiting = source_waiting(s, j);
    return result ? result : job_check(s, j);
}

static status finish_source(job_source *s, job *j, status result, const char *const *overrides,
                            size_t count)
{
    if (!result) result = source_override(s, overrides, count);
    if (!result) result = resolve(s, j);
    free(s->entries);
    return result;
}

static status begin_source(job_source *s, const char *path)
{
    *s = (job_source){.path = path, .entries = calloc(1, sizeof(job_entries))};
    return s->entries ? STATUS_OK : fail(STATUS_NOMEM, "memory to read %.500s", path);
}

status job_read(job *j, const char *path, const char *const *overrides, size_t count)
{
    job_source s;
    status result = begin_source(&s, path);
    if (!result) result = job_yaml_read(s.entries, path);
    return finish_source(&s, j, result, overrides, count);
}

status job_parse(job *j, const char *path, const char *text, size_t size,
                 const char *const *overrides, size_t count)
{
    job_source s;
    status result = begin_source(&s, path);
    s.kept = true;
    if (!result) result = job_yaml_parse(s.entries, path, text, size);
    return finish_source(&s, j, result, overrides, count);
}

status job_make(job *j, const char *path, const char *const *settings, size_t count)
{
    job_source s;
    status result = begin_source(&s, path);
    return finish_source(&s, j, result, settings, count);
}

status job_resume_check(const job *before, const job *now, const char *run)
{
    char old[JOB_TEXT], new[JOB_TEXT];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        if (row->may_change || !schema_applies(row, now)) continue;
        schema_format(row, before, old, sizeof old);
        schema_format(row, now, new, sizeof new);
        if (strcmp(old, new) != 0)
            return fail(STATUS_INPUT,
                        "%.200s: '%s' was '%.300s' and is '%.300s' now, no change expected when a "
                        "run goes on (--fresh starts over)",
                        run, row->key, old, new);
    }
    return STATUS_OK;
}

status job_model_check(const job *j, const char *run, const job *expected, const char *expected_run)
{
    static const char *const free_keys[] = {"model.preset", "model.init", "model.dropout"};
    char found[JOB_TEXT], wanted[JOB_TEXT];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        bool matters = strncmp(row->key, "model.", 6) == 0 && schema_applies(row, expected);
        for (size_t k = 0; k < sizeof free_keys / sizeof *free_keys; k++)
            matters = matters && strcmp(row->key, free_keys[k]) != 0;
        if (!matters) continue;
        schema_format(row, j, found, sizeof found);
        schema_format(row, expected, wanted, sizeof wanted);
        if (strcmp(found, wanted) != 0)
            return fail(STATUS_INPUT,
                        "%.300s: '%s' is '%.100s', '%.100s' expected as in %.300s: models of one "
                        "shape merge",
                        run, row->key, found, wanted, expected_run);
    }
    return STATUS_OK;
}

/* What the training data consists of, for messages. */
typedef struct {
    const char *rows, *a_row;
    char windows[60];
    const char *a_window;
} data_words;

static data_words words_of(const job *j)
{
    if (!job_reads_tokens(j))
        return (data_words){"examples", "an example", "examples", "an example"};
    data_words w = {"tokens", "a token", "", "a window"};
    snprintf(w.windows, sizeof w.windows, "windows of %llu tokens",
             (unsigned long long)j->batch.length);
    return w;
}

static bool warn_of_ess(const job *j, uint64_t rows, char line[STATUS_MESSAGE_SIZE])
{
    const char *key = j->optimizer.ess_final > 0.0 ? "optimizer.ess_final" : "optimizer.ess";
    double ess = job_last_ess(j), windows = (double)rows / (double)j->batch.length;
    data_words w = words_of(j);
    bool derived = j->optimizer.settings == SETTINGS_AUTO; /* its temperature is told */
    if (rows == 0 || derived) return false;
    if (ess > 100.0 * (double)rows) {
        snprintf(line, STATUS_MESSAGE_SIZE,
                 "%s is %.3g and the training data has %.3g %s: the posterior is "
                 "that of %.2g times as much data, sigma %.2g times smaller than with one "
                 "observation %s, and samples hardly differ from the mean",
                 key, ess, (double)rows, w.rows, ess / (double)rows, sqrt(ess / (double)rows),
                 w.a_row);
        return true;
    }
    if (ess >= windows / 100.0) return false;
    snprintf(line, STATUS_MESSAGE_SIZE,
             "%s is %.3g and the training data has %.3g %s: the posterior is tempered, "
             "sigma %.2g times larger than with one observation %s, and the noise may keep the "
             "loss up",
             key, ess, windows, w.windows, sqrt(windows / ess), w.a_window);
    return true;
}

size_t job_warnings(const job *j, uint64_t rows, char lines[][STATUS_MESSAGE_SIZE], size_t capacity)
{
    size_t n = 0;
    if (!job_is_variational(j)) return 0;
    double moves = (double)j->steps * (1.0 - j->optimizer.beta2);
    if (job_optimizer(j)->spread == SPREAD_HESSIAN && moves < 0.1 && !j->waiting && n < capacity)
        snprintf(lines[n++], STATUS_MESSAGE_SIZE,
                 "steps x (1 - optimizer.beta2) is %.2g: h will hardly move from "
                 "optimizer.hessian_init, and sigma will say little about the data; a smaller "
                 "optimizer.beta2 or more steps let it",
                 moves);
    if (n < capacity && warn_of_ess(j, rows, lines[n])) n++;
    if (j->optimizer.hessian == HESSIAN_GRADSQ && n < capacity)
        snprintf(lines[n++], STATUS_MESSAGE_SIZE,
                 "optimizer.hessian gradsq is experimental: lambda times the mean squared gradient "
                 "of a micro-batch grows with its noise, price does not");
    return n;
}
