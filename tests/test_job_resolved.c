/* What a good job becomes: defaults, overrides, the resolved copy, resuming, warnings, and the
 * documentation that the schema prints. */
#include "io/jobs/job_schema.h"
#include "job_text.h"

#include <glob.h>
#include <jansson.h>
#include <math.h>

TestSuite(job_resolved, .timeout = 60);

static bool equal(const job *a, const job *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

Test(job_resolved, defaults)
{
    job j = read_small((const char *[]){"optimizer.settings=given"}, 1);
    cr_expect_str_eq(j.name, "base");
    cr_expect_str_eq(j.output, "runs");
    cr_expect_str_eq(j.model.init, "scratch");
    cr_expect_str_eq(j.data.train, "train.bin");
    cr_expect_eq(j.seed, 1337);
    cr_expect_eq(j.data.shift, 1);
    cr_expect_eq(j.batch.length, 32, "block_size unless given");
    cr_expect_eq(j.model.gpt2.bias, false);
    cr_expect_eq(j.optimizer.kind, OPTIMIZER_IVON);
    cr_expect_eq(j.optimizer.ess, 1e10);
    cr_expect_eq(j.optimizer.hessian_init, 1e-3);
    cr_expect_eq(j.optimizer.beta2, 0.99999);
    cr_expect_eq(j.optimizer.weight_decay, 1e-6);
    cr_expect_eq(j.optimizer.mc_samples, 1);
    cr_expect(j.optimizer.rescale_lr && j.optimizer.debias);
    cr_expect_eq(j.schedule.kind, SCHEDULE_COSINE);
    cr_expect(isinf(j.clip.norm) && isinf(j.clip.update));
    cr_expect_eq(j.parallel.shard, SHARD_GRADIENTS);
    cr_expect_eq(j.parallel.threads, 0);
    cr_expect_eq(j.precision, DTYPE_F32);
    cr_expect_eq(j.checkpoint.on_error, ON_ERROR_STOP);
    cr_expect_eq(j.checkpoint.initial, false);
    cr_expect_eq(j.checkpoint.margin_seconds, 60.0);
    cr_expect_eq(j.checkpoint.keep, 3);
    cr_expect_eq(j.guard.max_skipped, 10);
    cr_expect_eq(j.guard.stall_seconds, 60.0);
    cr_expect_eq(j.guard.on_stall, ON_STALL_WARN);
    cr_expect_eq(j.log.every, 10);
}

Test(job_resolved, defaults_of_other_optimizers)
{
    job j = read_small((const char *[]){"optimizer.kind=adamw"}, 1);
    cr_expect_eq(j.optimizer.beta1, 0.9);
    cr_expect_eq(j.optimizer.beta2, 0.95);
    cr_expect_eq(j.optimizer.weight_decay, 0.1);
    cr_expect_eq(j.optimizer.epsilon, 1e-8);
    cr_expect_eq(j.schedule.peak, 1e-3);
    j = read_small((const char *[]){"optimizer.kind=sgd"}, 1);
    cr_expect_eq(j.optimizer.momentum, 0.9);
    cr_expect_eq(j.optimizer.weight_decay, 0.0);
    cr_expect_eq(j.schedule.peak, 0.1);
    cr_expect_not(job_has_posterior(&j));
    j = read_small((const char *[]){"optimizer.kind=bbb"}, 1);
    cr_expect_eq(j.optimizer.beta2, 0.999);
    cr_expect_eq(j.optimizer.sigma_init, 0.01);
    cr_expect_eq(j.optimizer.weight_decay, 1e-6);
    cr_expect_eq(j.schedule.peak, 1e-3);
    cr_expect(job_has_posterior(&j) && job_is_variational(&j));
    j = read_small(
        (const char *[]){"optimizer.kind=sgd", "swag.start=5", "swag.every=45", "eval.samples=4"},
        4);
    cr_expect_eq(j.swag.rank, 20);
    cr_expect(job_has_posterior(&j) && !job_is_variational(&j));
}

Test(job_resolved, defaults_of_models_of_examples)
{
    job j = read_with(mlp_job, NULL, 0);
    const mlp_config *c = &j.model.mlp;
    cr_expect_eq(j.model.kind, MODEL_MLP);
    cr_expect(c->inputs == 2 && c->outputs == 2 && c->hidden_count == 2);
    cr_expect(c->hidden[0] == 20 && c->hidden[1] == 10, "widths need not rise");
    cr_expect_eq(c->activation, ACTIVATION_TANH);
    cr_expect_eq(c->loss, LOSS_CROSS_ENTROPY);
    cr_expect_eq(c->noise_variance, 1.0);
    cr_expect_eq(c->bias, true);
    cr_expect_eq(c->dropout, 0.0);
    cr_expect_eq(j.batch.length, 1);
    cr_expect_eq(j.data.seed, 1);
    cr_expect_eq(j.data.features, 0);
    cr_expect_eq(j.data.mislabelled, 0.0);
    cr_expect_eq(j.data.leave_out, UINT64_MAX, "none");
    const char *sets[] = {"model.bias=false", "model.dropout=0.25", "batch.length=1",
                          "data.leave_out=0", "model.activation=gelu"};
    j = read_with(mlp_job, sets, 5);
    cr_expect_eq(c->bias, false);
    cr_expect_eq(c->dropout, 0.25);
    cr_expect_eq(j.data.leave_out, 0);
    model_config config = job_model(&j);
    cr_expect_eq(config.kind, MODEL_MLP);
    cr_expect_eq(config.mlp.activation, ACTIVATION_GELU);
}

Test(job_resolved, presets)
{
    static const struct {
        const char *name;
        size_t n_layer, n_head, n_embd;
    } presets[] = {{"gpt2-124m", 12, 12, 768},
                   {"gpt2-355m", 24, 16, 1024},
                   {"gpt2-774m", 36, 20, 1280},
                   {"gpt2-1558m", 48, 25, 1600}};
    for (size_t i = 0; i < 4; i++) {
        char text[512], path[PATH_SIZE];
        snprintf(text, sizeof text,
                 "name: p\nmodel: {preset: %s}\ndata: {train: a, valid: b}\nsteps: 1\n",
                 presets[i].name);
        job j;
        cr_assert_eq(read_text(&j, text, path), STATUS_OK, "%s", status_message());
        cr_expect_eq(j.model.gpt2.n_layer, presets[i].n_layer);
        cr_expect_eq(j.model.gpt2.n_head, presets[i].n_head);
        cr_expect_eq(j.model.gpt2.n_embd, presets[i].n_embd);
        cr_expect_eq(j.model.gpt2.block_size, 1024);
        cr_expect_eq(j.model.gpt2.vocab_size, 50304);
        cr_expect_eq(j.batch.length, 1024);
    }
    job j = read_small((const char *[]){"model.preset=gpt2-774m"}, 1);
    cr_expect_eq(j.model.gpt2.n_layer, 2, "sizes given win over the preset");
    cr_expect_eq(j.model.gpt2.n_embd, 32);
}

Test(job_resolved, overrides_win_and_the_last_wins)
{
    const char *sets[] = {"batch.length=16",
                          "steps=7",
                          "name=other-name",
                          "schedule.kind=steps",
                          "schedule.milestones=[2, 5]",
                          "clip.norm=.inf",
                          "parallel.threads=3",
                          "steps=9",
                          "optimizer.ess=1.5e+6",
                          "parallel.threads=auto"};
    job j = read_small(sets, sizeof sets / sizeof sets[0]);
    cr_expect_eq(j.batch.length, 16);
    cr_expect_eq(j.steps, 9);
    cr_expect_str_eq(j.name, "other-name");
    cr_expect_eq(j.schedule.milestone_count, 2);
    cr_expect_eq(j.schedule.milestones[1], 5);
    cr_expect(isinf(j.clip.norm));
    cr_expect_eq(j.parallel.threads, 0);
    cr_expect_eq(j.optimizer.ess, 1.5e6);
}

/* What a schedule's kind does not read may stand at its default: it says nothing. */
Test(job_resolved, unread_schedule_keys_at_their_defaults)
{
    const char *sets[] = {"schedule.kind=constant", "schedule.final=0.0", "schedule.decay=0",
                          "schedule.factor=1.0e-1", "schedule.milestones=[]"};
    job j = read_small(sets, 5);
    cr_expect_eq(j.schedule.kind, SCHEDULE_CONSTANT);
}

Test(job_resolved, a_section_may_be_empty)
{
    char text[TEXT_MAX], path[PATH_SIZE];
    snprintf(text, sizeof text, "%seval: {}\nlog: # nothing\nclip:\n#  norm: 1.0\n", small_job);
    job j, plain = read_small(NULL, 0);
    cr_assert_eq(read_text(&j, text, path), STATUS_OK, "%s", status_message());
    cr_expect(equal(&j, &plain));
}

static void expect_round_trip(const job *j)
{
    char text[TEXT_MAX], again[TEXT_MAX], path[PATH_SIZE];
    job back;
    write_text(text, j);
    cr_assert_eq(read_text(&back, text, path), STATUS_OK, "%s in\n%s", status_message(), text);
    write_text(again, &back);
    cr_expect_str_eq(text, again);
    cr_expect(equal(j, &back), "the job read back differs, written as\n%s", text);
    status_clear();
    cr_expect_eq(job_resume_check(j, &back, "run"), STATUS_OK, "%s", status_message());
}

Test(job_resolved, the_written_job_reads_back_equal)
{
    static const char *const sets[][5] = {
        {"seed=18446744073709551615", "steps=4294967295", "clip.norm=0.1", "clip.update=.inf"},
        {"optimizer.ess=1.2345678901234567e+10", "optimizer.beta2=0.999999999999999",
         "optimizer.hessian_init=3e-5", "optimizer.weight_decay=1e-30"},
        {"optimizer.kind=adamw", "optimizer.epsilon=1e-12", "schedule.kind=wsd",
         "schedule.decay=7"},
        {"optimizer.kind=sgd", "schedule.kind=steps", "schedule.milestones=[1, 4294967295]",
         "schedule.factor=0.30000000000000004"},
        {"schedule.kind=steps",
         "schedule.milestones=1,2,3,4,5,6,7,8,9,4294967286,4294967287,4294967288,4294967289,"
         "4294967290,4294967291,4294967295"},
        {"schedule.kind=inverse_sqrt", "parallel.threads=4", "precision=bf16",
         "optimizer.debias=false", "model.dropout=-0"},
        {"model.init= \"quoted\" \\ # it's: [odd], {x} ", "output=m\xc3\xb6\xc3\x9f/\xe2\x82\xac",
         "data.train=*&!%@`", "data.valid=null", "name=null"},
        {"optimizer.kind=bbb", "optimizer.sigma_init=1e-30", "eval.samples=2"},
        {"optimizer.kind=adamw", "swag.start=1", "swag.every=49", "swag.rank=64", "eval.samples=2"},
        {"optimizer.kind=sgd", "swag.start=none"},
        {"model.preset=gpt2-355m", "schedule.kind=linear", "schedule.final=1e+20"},
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        size_t count = 0;
        while (count < 5 && sets[i][count]) count++;
        job j = read_small(sets[i], count);
        expect_round_trip(&j);
    }
    static const char *const widths[] = {"model.hidden=[65536, 1, 7]", "data.leave_out=4294967295",
                                         "data.mislabelled=0.05", "data.seed=7",
                                         "model.dropout=0.5"};
    static const char *const values[] = {"model.loss=gaussian", "model.noise_variance=0.01",
                                         "model.bias=false", "data.features=12",
                                         "data.leave_out=none"};
    job j = read_with(mlp_job, widths, 5);
    expect_round_trip(&j);
    j = read_with(mlp_job, values, 5);
    expect_round_trip(&j);
}

Test(job_resolved, writes_only_keys_that_apply_and_numbers_that_are_numbers)
{
    char text[TEXT_MAX];
    job j = read_small((const char *[]){"optimizer.kind=adamw"}, 1);
    write_text(text, &j);
    cr_expect_not_null(strstr(text, "\n  epsilon: 1.0e-08\n"), "%s", text);
    cr_expect_not_null(strstr(text, "\n  norm: .inf\n"), "%s", text);
    cr_expect_not_null(strstr(text, "\n  margin_seconds: 60\n"), "%s", text);
    cr_expect_not_null(strstr(text, "\n  length: 32\n"), "%s", text);
    static const char *const others[] = {
        "ess:", "update:", "momentum:", "milestones:", "\n  decay:"};
    for (size_t i = 0; i < 5; i++)
        cr_expect_null(strstr(text, others[i]), "%s in\n%s", others[i], text);
    static const char *const of_gpt2[] = {
        "n_layer:", "vocab_size:", "shift:", "recompute:", "preset:"};
    j = read_with(mlp_job, NULL, 0);
    write_text(text, &j);
    cr_expect_not_null(strstr(text, "\n  hidden: [20, 10]\n"), "%s", text);
    cr_expect_not_null(strstr(text, "\n  leave_out: none\n"), "%s", text);
    for (size_t i = 0; i < 5; i++)
        cr_expect_null(strstr(text, of_gpt2[i]), "%s in\n%s", of_gpt2[i], text);
}

/* Another value of a key, of the small job with IVON and cosine or of the perceptron's. */
static bool other_value(const schema_row *row, const job *j, char *set, size_t size)
{
    char now[JOB_TEXT], other[64];
    schema_format(row, j, now, sizeof now);
    switch (row->type) {
    case KEY_TEXT: snprintf(other, sizeof other, "other"); break;
    case KEY_COUNT:
        snprintf(other, sizeof other, strcmp(now, "16") == 0 ? "32" : "16");
        if (strcmp(row->key, "batch.parts") == 0) snprintf(other, sizeof other, "2");
        break;
    case KEY_NUMBER: snprintf(other, sizeof other, "0.25"); break;
    case KEY_BOOL:
        snprintf(other, sizeof other, strcmp(now, "true") == 0 ? "false" : "true");
        break;
    case KEY_COUNTS: snprintf(other, sizeof other, "[9]"); break;
    case KEY_CHOICE:
        schema_choice(row, 0, other, sizeof other);
        if (strcmp(now, other) != 0) break;
        if (!strchr(row->choices, '|')) return false;
        schema_choice(row, 1, other, sizeof other);
    }
    snprintf(set, size, "%s=%s", row->key, other);
    bool alone = strcmp(row->key, "model.kind") != 0 &&
                 strcmp(row->key, "model.noise_variance") != 0 &&
                 strcmp(row->key, "early_stop.kind") != 0;
    return alone && !(row->type == KEY_BOOL && row->choices);
}

/* How many keys of a job that do not apply to `others` were tried. */
static size_t try_changes(const char *text, int others)
{
    static const char *const may[] = {"name",      "output",       "steps",       "parallel.",
                                      "recompute", "eval.",        "checkpoint.", "guard.",
                                      "log.",      "sensitivity.", "early_stop."};
    size_t tried = 0;
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const char *sets[] = {row->settings == FOR_AUTO ? "optimizer.settings=auto"
                                                        : "optimizer.settings=given",
                              NULL};
        job before = read_with(text, sets, 1);
        char set[128], quoted[64];
        bool expected = false;
        for (size_t k = 0; k < sizeof may / sizeof may[0]; k++)
            expected |= strncmp(row->key, may[k], strlen(may[k])) == 0;
        cr_expect_eq(row->may_change, expected, "%s", row->key);
        bool unread = row->schedules && !(row->schedules & FOR_COSINE);
        bool known = others && (!row->models || row->models & others);
        if (!schema_applies(row, &before) || unread || known) continue;
        if (!other_value(row, &before, set, sizeof set)) continue;
        if (strncmp(set, "batch.length", 12) == 0 && others) continue;
        bool kind = strcmp(row->key, "optimizer.kind") == 0; /* another has no settings */
        sets[1] = set;
        job now = read_with(text, sets + kind, 2 - kind);
        status_clear();
        status result = job_resume_check(&before, &now, "runs/base");
        cr_expect_eq(result, expected ? STATUS_OK : STATUS_INPUT, "%s: %s", set, status_message());
        snprintf(quoted, sizeof quoted, "'%s' was", row->key);
        cr_expect(expected || strstr(status_message(), quoted), "%s", status_message());
        cr_expect(expected || strncmp(status_message(), "runs/base: ", 11) == 0);
        tried++;
    }
    return tried;
}

Test(job_resolved, resuming_lets_change_only_what_may)
{
    cr_expect_geq(try_changes(small_job, 0), 45);
    cr_expect_geq(try_changes(mlp_job, OF_GPT2), 8);
    job before = read_small(NULL, 0), other = read_with(mlp_job, NULL, 0);
    job now = read_small((const char *[]){"optimizer.kind=adamw"}, 1);
    status_clear();
    cr_expect_eq(job_resume_check(&before, &now, "r"), STATUS_INPUT);
    cr_expect_not_null(strstr(status_message(), "'optimizer.kind' was 'ivon' and is 'adamw'"));
    status_clear();
    cr_expect_eq(job_resume_check(&before, &other, "r"), STATUS_INPUT);
    cr_expect_not_null(strstr(status_message(), "'model.kind' was 'gpt2' and is 'mlp'"));
}

static size_t warnings(const char *const *sets, size_t count, uint64_t tokens,
                       char lines[8][STATUS_MESSAGE_SIZE])
{
    job j = read_small(sets, count);
    return job_warnings(&j, tokens, lines, 8);
}

Test(job_resolved, warnings)
{
    char lines[8][STATUS_MESSAGE_SIZE];
    const char *quiet[] = {"optimizer.settings=given", "steps=100000"};
    cr_expect_eq(warnings(quiet, 2, 9000000000, lines), 0);
    cr_expect_eq(warnings(quiet, 2, 0, lines), 0, "nothing is said of data that is not known");
    cr_expect_eq(warnings(NULL, 0, 1000, lines), 0, "nor of settings that are not derived yet");
    cr_expect_eq(warnings(quiet, 1, 0, lines), 1);
    cr_expect_not_null(strstr(lines[0], "hardly move from optimizer.hessian_init"));
    cr_expect_eq(warnings(quiet, 2, 1000000, lines), 1);
    cr_expect_not_null(strstr(lines[0], "1e+04 times as much data"), "%s", lines[0]);
    const char *small[] = {"steps=100000", "optimizer.ess=100", "optimizer.hessian=gradsq"};
    cr_expect_eq(warnings(small, 3, 32 * 1000000, lines), 2);
    cr_expect_not_null(strstr(lines[0], "tempered, sigma 1e+02 times larger"), "%s", lines[0]);
    cr_expect_not_null(strstr(lines[1], "gradsq is experimental"));
    const char *adamw[] = {"optimizer.kind=adamw"};
    cr_expect_eq(warnings(adamw, 1, 1000, lines), 0);
    const char *bbb[] = {"optimizer.kind=bbb"};
    cr_expect_eq(warnings(bbb, 1, 1000000, lines), 1, "of ess, not of beta2");
    cr_expect_not_null(strstr(lines[0], "optimizer.ess is 1e+10"), "%s", lines[0]);
    job perceptron =
        read_with(mlp_job, (const char *[]){"steps=1000000", "optimizer.settings=given"}, 2);
    cr_expect_eq(job_warnings(&perceptron, 500, lines, 8), 1);
    cr_expect_not_null(strstr(lines[0], "500 examples"), "%s", lines[0]);
    perceptron.optimizer.ess = 1.0;
    cr_expect_eq(job_warnings(&perceptron, 500, lines, 8), 1);
    cr_expect_not_null(strstr(lines[0], "one observation an example"), "%s", lines[0]);
    job j = read_small(small + 1, 2);
    cr_expect_eq(job_warnings(&j, 32 * 1000000, lines, 2), 2, "no more than there is room for");
}

Test(job_resolved, every_job_in_the_repository_is_good)
{
    glob_t found;
    cr_assert_eq(glob(SOURCE_DIR "/jobs/*.yaml", 0, NULL, &found), 0);
    cr_assert_eq(glob(SOURCE_DIR "/jobs/reproduce/*.yaml", GLOB_APPEND, NULL, &found), 0);
    cr_expect_geq(found.gl_pathc, 20);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        job j;
        status_clear();
        cr_expect_eq(job_read(&j, found.gl_pathv[i], NULL, 0), STATUS_OK, "%s", status_message());
        const char *file = strrchr(found.gl_pathv[i], '/') + 1;
        cr_expect_eq(strncmp(file, j.name, strlen(j.name)), 0, "%s is named %s", file, j.name);
        cr_expect_str_eq(file + strlen(j.name), ".yaml");
        expect_round_trip(&j);
    }
    globfree(&found);
}

Test(job_resolved, published_batches_are_of_491520_tokens)
{
    static const char *const sizes[] = {"124m", "355m", "774m", "1558m"};
    static const char *const kinds[] = {"ivon", "adamw"};
    for (size_t i = 0; i < 8; i++) {
        char path[256];
        job j;
        snprintf(path, sizeof path, SOURCE_DIR "/jobs/gpt2-%s-%s.yaml", sizes[i / 2], kinds[i % 2]);
        cr_assert_eq(job_read(&j, path, NULL, 0), STATUS_OK, "%s", status_message());
        cr_expect_eq(j.batch.sequences * j.batch.length * j.batch.microbatches, 491520, "%s", path);
        cr_expect_eq(j.model.preset, (int)(i / 2) + 1);
        cr_expect_eq(j.clip.scope, i % 2 ? SCOPE_STEP : SCOPE_MICROBATCH);
        cr_expect_eq(j.schedule.warmup, 2000);
        cr_expect_eq(j.steps, 100000);
    }
}

static char *print_schema(bool json)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    job_schema_print(out, json);
    fclose(out);
    return text;
}

Test(job_resolved, the_table_in_the_docs_is_what_the_schema_prints)
{
    char *table = print_schema(false), *saved = NULL, docs[65536];
    FILE *file = fopen(SOURCE_DIR "/docs/jobs.md", "r");
    cr_assert_not_null(file);
    docs[fread(docs, 1, sizeof docs - 1, file)] = '\0';
    fclose(file);
    char *at = strstr(docs, "    key  ");
    cr_assert_not_null(at);
    size_t rows = 0;
    for (char *line = strtok_r(table, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
        size_t length = strcspn(at, "\n");
        bool same = length == strlen(line) + 4 && strncmp(at, "    ", 4) == 0 &&
                    strncmp(at + 4, line, length - 4) == 0;
        cr_expect(same, "docs/jobs.md says\n%.*s\nand the schema\n    %s", (int)length, at, line);
        at += length + (at[length] == '\n');
        rows++;
    }
    cr_expect_eq(rows, schema_count + 1);
    cr_expect_neq(strncmp(at, "    ", 4), 0, "docs/jobs.md has more rows than the schema");
    free(table);
}

Test(job_resolved, the_schema_prints_json)
{
    char *text = print_schema(true);
    json_error_t error;
    json_t *rows = json_loads(text, 0, &error);
    cr_assert_not_null(rows, "%s in line %d", error.text, error.line);
    cr_expect_eq(json_array_size(rows), schema_count);
    for (size_t i = 0; i < schema_count; i++) {
        const json_t *row = json_array_get(rows, i);
        const schema_row *of = &schema_rows[i];
        cr_expect_str_eq(json_string_value(json_object_get(row, "key")), of->key);
        cr_expect_str_eq(json_string_value(json_object_get(row, "help")), of->help);
        cr_expect_eq(json_is_true(json_object_get(row, "may_change")), of->may_change);
        const json_t *choices = json_object_get(row, "choices");
        cr_expect_eq(json_array_size(choices) > 0, of->choices != NULL, "%s", of->key);
        cr_expect_eq(json_is_null(json_object_get(row, "default")), !of->standard);
    }
    json_decref(rows);
    free(text);
}
