/* Reading: defaults, then the preset, then the file, then overrides; then what must hold between
 * keys. */
#include "io/job.h"

#include "io/job_schema.h"
#include "io/job_yaml.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *path;
    job_entries *entries;
} origin;

static const job_entry *find_entry(const origin *o, const char *key)
{
    for (size_t i = o->entries->count; i-- > 0;)
        if (strcmp(o->entries->entries[i].key, key) == 0) return &o->entries->entries[i];
    return NULL;
}

static const char *place(const origin *o, const job_entry *e, char *out, size_t size)
{
    if (!e)
        snprintf(out, size, "%s", o->path);
    else if (e->line == 0)
        snprintf(out, size, "--set %s=%.100s", e->key, e->value);
    else
        snprintf(out, size, "%s:%zu:%zu", o->path, e->line, e->column);
    return out;
}

/* Refuse what a key holds, at the place where it was written. */
static status refuse(const origin *o, const char *key, const char *sentence)
{
    char where[JOB_TEXT + 200];
    place(o, find_entry(o, key), where, sizeof where);
    return fail(STATUS_INPUT, "%s: '%s': %s", where, key, sentence);
}

static status add_overrides(const origin *o, const char *const *overrides, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(overrides[i], '=');
        size_t length = equals ? (size_t)(equals - overrides[i]) : 0;
        job_entry *e = &o->entries->entries[o->entries->count];
        if (length == 0 || length >= sizeof e->key)
            return fail(STATUS_INPUT, "--set %s: key=value expected", overrides[i]);
        if (o->entries->count == JOB_ENTRIES)
            return fail(STATUS_INPUT, "--set %s: too many keys found", overrides[i]);
        *e = (job_entry){0};
        memcpy(e->key, overrides[i], length);
        e->too_long = strlen(equals + 1) > JOB_TEXT;
        snprintf(e->value, sizeof e->value, "%s", equals + 1);
        o->entries->count++;
    }
    return STATUS_OK;
}

static status check_known(const origin *o)
{
    char where[JOB_TEXT + 200];
    for (size_t i = 0; i < o->entries->count; i++) {
        const job_entry *e = &o->entries->entries[i];
        if (!schema_find(e->key))
            return fail(STATUS_INPUT, "%s: unknown key '%s' found, nearest valid key: '%s'",
                        place(o, e, where, sizeof where), e->key, schema_nearest(e->key));
        for (size_t k = 0; k < i && e->line > 0; k++)
            if (strcmp(o->entries->entries[k].key, e->key) == 0)
                return fail(STATUS_INPUT, "%s: '%s' found twice, expected once (first in line %zu)",
                            place(o, e, where, sizeof where), e->key, o->entries->entries[k].line);
    }
    return STATUS_OK;
}

static status set_entry(const origin *o, job *j, const job_entry *e)
{
    char expected[300], where[JOB_TEXT + 200];
    const schema_row *row = schema_find(e->key);
    if (!e->too_long && schema_parse(row, j, e->value, expected, sizeof expected)) return STATUS_OK;
    if (e->too_long) schema_parse(row, j, "", expected, sizeof expected);
    return fail(STATUS_INPUT, "%s: '%s': '%.100s' found, %s expected",
                place(o, e, where, sizeof where), e->key, e->value, expected);
}

static status set_key(const origin *o, job *j, const char *key)
{
    const job_entry *e = find_entry(o, key);
    return e ? set_entry(o, j, e) : STATUS_OK;
}

static void set_defaults(job *j)
{
    char ignored[300];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const char *text = schema_standard(row, j->optimizer.kind);
        if (!text || strcmp(row->key, "optimizer.kind") == 0) continue;
        if (!schema_parse(row, j, text, ignored, sizeof ignored) && row->type == KEY_COUNT)
            *(uint64_t *)(void *)((char *)j + row->offset) = 0; /* 0: given by another key */
    }
}

static void set_preset(job *j)
{
    static const size_t sizes[][3] = {
        {0, 0, 0}, {12, 12, 768}, {24, 16, 1024}, {36, 20, 1280}, {48, 25, 1600}};
    j->model.gpt2.n_layer = sizes[j->model.preset][0];
    j->model.gpt2.n_head = sizes[j->model.preset][1];
    j->model.gpt2.n_embd = sizes[j->model.preset][2];
}

static status check_required(const origin *o, const job *j)
{
    for (size_t i = 0; i < schema_count; i++)
        if (!schema_rows[i].standard && !find_entry(o, schema_rows[i].key))
            return fail(STATUS_INPUT, "%s: '%s' expected, not found", o->path, schema_rows[i].key);
    const gpt2_config *c = &j->model.gpt2;
    const char *missing = !c->n_layer ? "model.n_layer" : !c->n_head ? "model.n_head" : NULL;
    if (!missing && !c->n_embd) missing = "model.n_embd";
    if (missing)
        return fail(STATUS_INPUT, "%s: '%s' (or model.preset) expected, not found", o->path,
                    missing);
    return STATUS_OK;
}

static status check_belongs(const origin *o, const job *j)
{
    static const char *const names[] = {"ivon", "adamw", "sgd"};
    for (size_t i = 0; i < o->entries->count; i++) {
        const job_entry *e = &o->entries->entries[i];
        char where[JOB_TEXT + 200];
        if (schema_find(e->key)->optimizers & (1 << j->optimizer.kind)) continue;
        return fail(STATUS_INPUT, "%s: '%s' found, which does not belong to optimizer.kind %s",
                    place(o, e, where, sizeof where), e->key, names[j->optimizer.kind]);
    }
    return STATUS_OK;
}

static status check_model(const origin *o, const job *j)
{
    char text[200];
    const gpt2_config *c = &j->model.gpt2;
    if (c->n_embd % c->n_head) {
        snprintf(text, sizeof text, "%zu found, a multiple of model.n_head (%zu) expected",
                 c->n_embd, c->n_head);
        return refuse(o, find_entry(o, "model.n_embd") ? "model.n_embd" : "model.n_head", text);
    }
    if (j->batch.length > c->block_size) {
        snprintf(text, sizeof text, "%" PRIu64 " found, at most model.block_size (%zu) expected",
                 j->batch.length, c->block_size);
        return refuse(o, "batch.length", text);
    }
    if (strchr(j->name, '/') || j->name[0] == '.')
        return refuse(o, "name", "a name without '/' that does not begin with '.' expected");
    return STATUS_OK;
}

static status check_counts(const origin *o, const job *j)
{
    char text[200];
    if (j->batch.microbatches * j->optimizer.mc_samples > UINT32_MAX)
        return refuse(o, "batch.microbatches",
                      "times optimizer.mc_samples, at most 4294967295 work items a step expected");
    if (j->batch.sequences * j->batch.length > (1U << 30))
        return refuse(o, "batch.sequences", "at most 2^30 tokens a micro-batch expected");
    const char *const keys[] = {"schedule.warmup", "schedule.decay"};
    const uint64_t values[] = {j->schedule.warmup, j->schedule.decay};
    for (int i = 0; i < 2; i++) {
        if (values[i] <= j->steps) continue;
        snprintf(text, sizeof text, "%" PRIu64 " found, at most steps (%" PRIu64 ") expected",
                 values[i], j->steps);
        return refuse(o, keys[i], text);
    }
    if (j->eval.samples > 0 && j->optimizer.kind != OPTIMIZER_IVON)
        return refuse(o, "eval.samples",
                      "a posterior (optimizer.kind ivon) expected to sample from");
    return STATUS_OK;
}

static status check_schedule(const origin *o, const job *j)
{
    static const char *const keys[] = {"schedule.decay", "schedule.milestones", "schedule.factor"};
    static const schedule_kind kinds[] = {SCHEDULE_WSD, SCHEDULE_STEPS, SCHEDULE_STEPS};
    static const char *const names[] = {"wsd", "steps", "steps"};
    char text[100];
    for (int i = 0; i < 3; i++) {
        const job_entry *e = find_entry(o, keys[i]);
        if (!e || j->schedule.kind == kinds[i] || strcmp(e->value, "0") == 0 ||
            strcmp(e->value, "") == 0 || strcmp(e->value, "[]") == 0 ||
            strcmp(e->value, "0.1") == 0)
            continue;
        snprintf(text, sizeof text, "belongs to schedule.kind %s, another kind found", names[i]);
        return refuse(o, keys[i], text);
    }
    return STATUS_OK;
}

static status resolve(const origin *o, job *j)
{
    memset(j, 0, sizeof *j);
    status result = check_known(o);
    if (!result) result = set_key(o, j, "optimizer.kind");
    if (result) return result;
    set_defaults(j);
    result = set_key(o, j, "model.preset");
    if (result) return result;
    set_preset(j);
    for (size_t i = 0; !result && i < o->entries->count; i++)
        result = set_entry(o, j, &o->entries->entries[i]);
    if (!result) result = check_required(o, j);
    if (!result) result = check_belongs(o, j);
    if (!result && j->batch.length == 0) j->batch.length = j->model.gpt2.block_size;
    if (!result) result = check_model(o, j);
    if (!result) result = check_counts(o, j);
    if (!result) result = check_schedule(o, j);
    return result;
}

status job_read(job *j, const char *path, const char *const *overrides, size_t count)
{
    origin o = {path, calloc(1, sizeof(job_entries))};
    if (!o.entries) return fail(STATUS_NOMEM, "memory to read %s", path);
    status result = job_yaml_read(o.entries, path);
    if (!result) result = add_overrides(&o, overrides, count);
    if (!result) result = resolve(&o, j);
    free(o.entries);
    return result;
}

static bool is_written(const schema_row *row, const job *j)
{
    return row->optimizers & (1 << j->optimizer.kind);
}

static void write_value(FILE *out, const schema_row *row, const char *text)
{
    if (row->type != KEY_TEXT) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\') fputc('\\', out);
        if ((unsigned char)*c < ' ')
            fprintf(out, "\\x%02x", (unsigned)*c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

status job_write(const job *j, FILE *out)
{
    char section[32] = "", text[JOB_TEXT];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        if (!is_written(row, j)) continue;
        const char *dot = strchr(row->key, '.');
        size_t length = dot ? (size_t)(dot - row->key) : 0;
        if (dot && (strlen(section) != length || strncmp(section, row->key, length) != 0)) {
            snprintf(section, sizeof section, "%.*s", (int)length, row->key);
            fprintf(out, "%s:\n", section);
        }
        schema_format(row, j, text, sizeof text);
        fprintf(out, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : row->key);
        write_value(out, row, text);
        fputc('\n', out);
    }
    return ferror(out) ? fail(STATUS_IO, "write the resolved job: failed") : STATUS_OK;
}

static void print_row(FILE *out, const schema_row *row, bool json, bool last)
{
    static const char *const types[] = {"text", "count", "number", "bool", "choice", "counts"};
    const char *standard = row->standard ? row->standard : "required";
    if (json) {
        fprintf(out,
                "  {\"key\": \"%s\", \"type\": \"%s\", \"default\": \"%s\", \"choices\": \"%s\", "
                "\"may_change\": %s, \"help\": \"%s\"}%s\n",
                row->key, types[row->type], standard, row->choices ? row->choices : "",
                row->may_change ? "true" : "false", row->help, last ? "" : ",");
        return;
    }
    fprintf(out, "%-26s %-7s %-10s %-7s %s", row->key, types[row->type], standard,
            row->may_change ? "yes" : "no", row->help);
    if (row->standard_adamw) fprintf(out, " (adamw: %s)", row->standard_adamw);
    if (row->standard_sgd) fprintf(out, " (sgd: %s)", row->standard_sgd);
    if (row->type == KEY_CHOICE) fprintf(out, " [%s]", row->choices);
    fputc('\n', out);
}

void job_schema_print(FILE *out, bool json)
{
    if (json)
        fprintf(out, "[\n");
    else
        fprintf(out, "%-26s %-7s %-10s %-7s %s\n", "key", "type", "default", "resume",
                "meaning (resume: may it change when a run goes on)");
    for (size_t i = 0; i < schema_count; i++)
        print_row(out, &schema_rows[i], json, i + 1 == schema_count);
    if (json) fprintf(out, "]\n");
}

status job_resume_check(const job *before, const job *now, const char *run)
{
    char old[JOB_TEXT], new[JOB_TEXT];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        if (row->may_change || (!is_written(row, before) && !is_written(row, now))) continue;
        schema_format(row, before, old, sizeof old);
        schema_format(row, now, new, sizeof new);
        if (strcmp(old, new) != 0)
            return fail(STATUS_INPUT,
                        "%s: '%s' was '%s' and is '%s' now: expected unchanged when a run goes on "
                        "(--fresh starts over)",
                        run, row->key, old, new);
    }
    return STATUS_OK;
}

size_t job_warnings(const job *j, uint64_t tokens, char lines[][STATUS_MESSAGE_SIZE],
                    size_t capacity)
{
    size_t n = 0;
    if (j->optimizer.kind != OPTIMIZER_IVON) return 0;
    double moves = (double)j->steps * (1.0 - j->optimizer.beta2);
    if (moves < 0.1 && n < capacity)
        snprintf(lines[n++], STATUS_MESSAGE_SIZE,
                 "steps x (1 - beta2) is %.2g: h will hardly move from hessian_init, and sigma "
                 "says little about the data; a smaller optimizer.beta2 lets it",
                 moves);
    double windows = (double)tokens / (double)j->batch.length;
    bool far = tokens > 0 &&
               (j->optimizer.ess > 100.0 * (double)tokens || j->optimizer.ess < windows / 100.0);
    if (far && n < capacity)
        snprintf(lines[n++], STATUS_MESSAGE_SIZE,
                 "optimizer.ess is %.3g and the training data has %.3g tokens in %.3g windows: "
                 "the posterior is %s than one of this data",
                 j->optimizer.ess, (double)tokens, windows,
                 j->optimizer.ess > (double)tokens ? "colder (narrower)" : "warmer (wider)");
    if (j->optimizer.hessian == HESSIAN_GRADSQ && n < capacity)
        snprintf(lines[n++], STATUS_MESSAGE_SIZE, "optimizer.hessian gradsq is experimental");
    return n;
}
