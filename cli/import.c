/* vario import: a run that begins with weights from elsewhere. */
#include "analysis/importing.h"
#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/files/json_text.h"
#include "io/runs/output.h"
#include "io/weights/pretrained.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *out, *job;
    option_list overrides;
    bool force, json, quiet;
} arguments;

enum { SETTINGS = 12, SETTING_TEXT = 64 };

/* A job of 1000 steps without settings of its own is one of the table's: nothing is trained here
 * that would tell others. */
static status make_given(job *j, const char *path, const char **settings, size_t n)
{
    status result = job_make(j, path, settings, n);
    if (result || !j->waiting) return result;
    memmove(settings + 1, settings, n * sizeof *settings);
    settings[0] = "optimizer.settings=given";
    return job_make(j, path, settings, n + 1);
}

/* What a job needs that weights do not tell has a value that suits, to be overridden. */
static status make_job(job *j, const arguments *a, const char *path)
{
    gpt2_config c;
    char texts[SETTINGS][SETTING_TEXT];
    const char *settings[SETTINGS + 1 + sizeof a->overrides.values / sizeof *a->overrides.values];
    size_t n = 0;
    status result = pretrained_model(&c, path);
    if (result) return result;
    snprintf(texts[n++], SETTING_TEXT, "name=imported");
    snprintf(texts[n++], SETTING_TEXT, "model.n_layer=%zu", c.n_layer);
    snprintf(texts[n++], SETTING_TEXT, "model.n_head=%zu", c.n_head);
    snprintf(texts[n++], SETTING_TEXT, "model.n_embd=%zu", c.n_embd);
    snprintf(texts[n++], SETTING_TEXT, "model.block_size=%zu", c.block_size);
    snprintf(texts[n++], SETTING_TEXT, "model.vocab_size=%zu", c.vocab_size);
    snprintf(texts[n++], SETTING_TEXT, "model.bias=%s", c.bias ? "true" : "false");
    snprintf(texts[n++], SETTING_TEXT, "data.train=data/train.bin");
    snprintf(texts[n++], SETTING_TEXT, "data.valid=data/val.bin");
    snprintf(texts[n++], SETTING_TEXT, "steps=1000");
    for (size_t i = 0; i < n; i++) settings[i] = texts[i];
    for (size_t i = 0; i < a->overrides.count; i++) settings[n++] = a->overrides.values[i];
    return make_given(j, path, settings, n);
}

/* Rank 0. */
static status read_job(job *j, const arguments *a, const char *path)
{
    if (!a->out) return fail(STATUS_INPUT, "vario import: --out NEWRUN expected, none found");
    if (strlen(path) >= JOB_TEXT)
        return fail(STATUS_INPUT, "vario import: a path of at most %d bytes expected, %zu found",
                    JOB_TEXT - 1, strlen(path));
    status result = output_check_run(a->out, &a->job, 1);
    if (result) return result;
    result = a->job ? job_read(j, a->job, a->overrides.values, a->overrides.count)
                    : make_job(j, a, path);
    if (!result) result = job_refuse_waiting(j, "vario import", a->job ? a->job : path);
    if (result) return result;
    snprintf(j->model.init, sizeof j->model.init, "%s", path);
    return session_name_run(j, "import", a->out);
}

static status import_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    importing_report report = {0};
    job j = {0};
    status result = agree(s->c.world, s->c.rank == 0 ? read_job(&j, a, rest[0]) : STATUS_OK);
    if (result) return result;
    MPI_Bcast(&j, (int)sizeof j, MPI_BYTE, 0, s->c.world);
    result = session_compute(s, 0, a->quiet);
    if (!result) result = importing_run(&j, &s->c, a->force, &report);
    if (!result && s->c.rank == 0 && a->json)
        result = json_text_print_run(stdout, j.name, json_incref(report.details));
    if (!result && s->c.rank == 0 && !a->json && !a->quiet)
        terminal_print(
            stdout, "%s/%s: a model of %zu parameters imported from %s (checksum %016" PRIx64 ")\n",
            j.output, j.name, report.parameters, rest[0], report.checksum);
    json_decref(report.details);
    return agree(s->c.world, result);
}

int import_main(int argc, char **argv)
{
    arguments a = {0};
    const option options[] = {
        {"--out", OPTION_PATH, &a.out, "NEWRUN", "directory of the new run"},
        {"--job", OPTION_INPUT, &a.job, "JOB.yaml",
         "the new run's job, whose model is that of the weights (one of 1000 steps of ivon on "
         "data/train.bin and data/val.bin)"},
        {"--set", OPTION_LIST, &a.overrides, "KEY=VALUE",
         "override a key of the job, as often as you like"},
        {"--force", OPTION_FLAG, &a.force, NULL, "replace what NEWRUN holds"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {
        "import",
        "PATH --out NEWRUN [--job JOB.yaml] [--set KEY=VALUE]...",
        "Make a run of a GPT-2 from elsewhere, which evaluates, generates and trains on. A PATH "
        "is\n"
        "a directory with config.json and model.safetensors, or with shards and\n"
        "model.safetensors.index.json, or a checkpoint file of llm.c.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    return session_main(&table, argc, argv, import_verb, &a);
}
