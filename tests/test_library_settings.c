/* A program's settings are keys of job files: the same defaults, ranges, sentences and text. */
#include "io/jobs/job_schema.h"
#include "library/optimizer.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(library_settings, .timeout = 60);

static const struct {
    const char *key, *name;
    size_t offset;
} numbers[] = {
    {"optimizer.ess", "ess", offsetof(vario_settings, ess)},
    {"optimizer.hessian_init", "hessian_init", offsetof(vario_settings, hessian_init)},
    {"optimizer.beta1", "beta1", offsetof(vario_settings, beta1)},
    {"optimizer.beta2", "beta2", offsetof(vario_settings, beta2)},
    {"optimizer.weight_decay", "weight_decay", offsetof(vario_settings, weight_decay)},
    {"optimizer.epsilon", "epsilon", offsetof(vario_settings, epsilon)},
    {"clip.norm", "clip_norm", offsetof(vario_settings, clip_norm)},
    {"clip.update", "clip_update", offsetof(vario_settings, clip_update)},
};
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

static job standard_job(optimizer_kind kind)
{
    job j;
    memset(&j, 0, sizeof j);
    j.model.kind = MODEL_GPT2;
    j.optimizer.kind = kind;
    job_set_defaults(&j);
    return j;
}

static vario_settings standard_settings(optimizer_kind kind)
{
    vario_settings s;
    (kind == OPTIMIZER_ADAMW ? vario_defaults_adamw : vario_defaults)(&s);
    return s;
}

static runtime_settings must_fill(const vario_settings *given, size_t ranks)
{
    runtime_settings s;
    cr_assert_eq(library_settings(&s, given, ranks), STATUS_OK, "%s", status_message());
    return s;
}

/* What no setting of a program's says is what its job leaves at rest. */
static void expect_same(const runtime_settings *found, const runtime_settings *expected)
{
    const optimizer_settings *a = &found->optimizer, *b = &expected->optimizer;
    cr_expect_eq(found->seed, expected->seed);
    cr_expect_eq(found->row, expected->row);
    cr_expect_eq(a->kind, b->kind);
    cr_expect_eq(a->ess, b->ess);
    cr_expect_eq(a->hessian_init, b->hessian_init);
    cr_expect_eq(a->hessian, b->hessian);
    cr_expect_eq(a->beta1, b->beta1);
    cr_expect_eq(a->beta2, b->beta2);
    cr_expect_eq(a->weight_decay, b->weight_decay);
    cr_expect_eq(a->epsilon, b->epsilon);
    cr_expect_eq(a->mc_samples, b->mc_samples);
    cr_expect_eq(a->rescale_lr, b->rescale_lr);
    cr_expect_eq(a->debias, b->debias);
    cr_expect_eq(a->nesterov, b->nesterov);
    cr_expect_eq(found->swag.start, expected->swag.start);
    cr_expect_eq(found->clip.norm, expected->clip.norm);
    cr_expect_eq(found->clip.scope, expected->clip.scope);
    cr_expect_eq(found->clip.update, expected->clip.update);
    cr_expect_eq(found->shard, expected->shard);
    cr_expect_eq(found->wire, expected->wire);
    cr_expect_eq(found->microbatches, expected->microbatches);
    cr_expect_eq(found->items, expected->items);
    cr_expect_eq(found->variational, expected->variational);
    cr_expect_eq(found->takes_pieces, expected->takes_pieces);
}

Test(library_settings, defaults_are_those_of_jobs)
{
    static const optimizer_kind kinds[] = {OPTIMIZER_IVON, OPTIMIZER_ADAMW};
    for (size_t i = 0; i < 2; i++) {
        const job j = standard_job(kinds[i]);
        const vario_settings given = standard_settings(kinds[i]);
        const runtime_settings expected = job_settings(&j), found = must_fill(&given, 1);
        expect_same(&found, &expected);
    }
    const runtime_settings none = must_fill(NULL, 3);
    cr_expect_eq(none.optimizer.kind, OPTIMIZER_IVON);
    cr_expect_eq(none.items, 3);
}

/* One value of one setting: taken or refused as the key's is, in the schema's words. */
static void try_value(optimizer_kind kind, size_t i, double value)
{
    char text[40], expected[SCHEMA_TEXT], sentence[2 * SCHEMA_TEXT];
    job j = standard_job(kind);
    const schema_row *row = schema_find(numbers[i].key);
    vario_settings given = standard_settings(kind);
    runtime_settings s;
    memcpy((char *)&given + numbers[i].offset, &value, sizeof value);
    snprintf(text, sizeof text, "%.17g", value);
    if (value > 0.0 && isinf(value)) strcpy(text, ".inf");
    schema_describe(row, expected, sizeof expected);
    snprintf(sentence, sizeof sentence, "vario_settings.%s: %s found, %s expected", numbers[i].name,
             text, expected);
    status_clear();
    bool taken = library_settings(&s, &given, 1) == STATUS_OK;
    cr_expect_eq(taken, schema_parse(row, &j, text), "%s = %s", numbers[i].key, text);
    cr_expect_str_eq(status_message(), taken ? "" : sentence);
    if (!taken) return;
    const runtime_settings as_job = job_settings(&j);
    expect_same(&s, &as_job);
}

Test(library_settings, ranges_are_those_of_jobs)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        const schema_row *row = schema_find(numbers[i].key);
        const double ends[] = {row->min, row->max};
        const double others[] = {NAN, INFINITY, -INFINITY, -1.0, -0.0, 0.25, 1e300};
        for (int kind = OPTIMIZER_IVON; kind <= OPTIMIZER_ADAMW; kind++) {
            for (size_t e = 0; e < 2; e++) {
                try_value((optimizer_kind)kind, i, ends[e]);
                try_value((optimizer_kind)kind, i, nextafter(ends[e], INFINITY));
                try_value((optimizer_kind)kind, i, nextafter(ends[e], -INFINITY));
            }
            for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
                try_value((optimizer_kind)kind, i, others[k]);
        }
    }
}

Test(library_settings, rates_are_those_of_jobs)
{
    char expected[SCHEMA_TEXT], sentence[2 * SCHEMA_TEXT];
    const schema_row *row = schema_find("schedule.peak");
    const runtime_settings s = must_fill(NULL, 1);
    schema_describe(row, expected, sizeof expected);
    cr_expect_eq(library_rate(&s, row->min), STATUS_OK);
    cr_expect_eq(library_rate(&s, row->max), STATUS_OK);
    const double wrong[] = {NAN, INFINITY, nextafter(row->min, -1.0), 2.0 * row->max};
    for (size_t i = 0; i < 4; i++) {
        snprintf(sentence, sizeof sentence, "vario_step: learning rate %g found, %s expected",
                 wrong[i], expected);
        status_clear();
        cr_expect_eq(library_rate(&s, wrong[i]), STATUS_INPUT);
        cr_expect_str_eq(status_message(), sentence);
    }
}

/* Of a resolved job the lines that a program's settings have. */
static char *lines_of_job(const job *j)
{
    char *text = NULL, *kept = NULL, *rest = NULL, section[40] = "";
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert_eq(job_write(j, out), STATUS_OK);
    fclose(out);
    out = open_memstream(&kept, &size);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (*line != ' ') snprintf(section, sizeof section, "%s", line);
        bool in_batch = strcmp(section, "batch:") == 0;
        if (strncmp(line, "seed: ", 6) == 0 || strcmp(section, "optimizer:") == 0 ||
            strcmp(section, "clip:") == 0 ||
            (in_batch && (*line != ' ' || strstr(line, "microbatches"))))
            fprintf(out, "%s\n", line);
    }
    fclose(out);
    free(text);
    return kept;
}

static void expect_words(const job *j, const vario_settings *given)
{
    checkpoint_words words;
    const runtime_settings s = must_fill(given, 1);
    char *expected = lines_of_job(j);
    cr_assert_eq(library_words(&words, &s), STATUS_OK);
    cr_expect_str_eq(words.job, expected);
    cr_expect_str_eq(words.config, "{\"model_type\": \"own\"}\n");
    cr_expect_not(words.collects);
    checkpoint_words_close(&words);
    free(expected);
}

Test(library_settings, checkpoints_say_what_a_job_would)
{
    for (int kind = OPTIMIZER_IVON; kind <= OPTIMIZER_ADAMW; kind++) {
        job j = standard_job((optimizer_kind)kind);
        vario_settings given = standard_settings((optimizer_kind)kind);
        expect_words(&j, &given);
        j.seed = given.seed = UINT64_MAX;
        j.batch.microbatches = given.items = 17;
        j.optimizer.ess = given.ess = 12345.678;
        j.optimizer.beta2 = given.beta2 = nextafter(1.0, 0.0);
        j.optimizer.weight_decay = given.weight_decay = 0.0;
        j.clip.norm = given.clip_norm = 2e-7;
        j.clip.update = given.clip_update = 60.0;
        j.clip.scope = SCOPE_STEP;
        given.clip_scope = VARIO_CLIP_STEP;
        j.optimizer.hessian = HESSIAN_GRADSQ;
        given.hessian = VARIO_GRADSQ;
        j.optimizer.rescale_lr = (given.rescale_lr = 0) != 0;
        j.optimizer.debias = (given.debias = 0) != 0;
        j.optimizer.nesterov = kind == OPTIMIZER_IVON && (given.nesterov = 1) != 0;
        expect_words(&j, &given);
    }
}
