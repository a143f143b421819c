/* vario export: a run's model in files that transformers loads. */
#include "analysis/exporting.h"
#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/files/json_text.h"
#include "runtime/agree.h"

#include <jansson.h>
#include <stdio.h>

typedef struct {
    const char *out;
    bool force, json, quiet;
} arguments;

static status export_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    exporting_report report;
    job j;
    status result =
        a->out ? STATUS_OK : fail(STATUS_INPUT, "vario export: --out DIR expected, none found");
    result = agree(s->c.world, result);
    if (!result) result = session_read_run(s, &j, rest[0]);
    if (result) return result;
    result = session_compute(s, 0, a->quiet);
    if (result) return result;
    const exporting_options options = {.run = rest[0], .out = a->out, .force = a->force};
    result = exporting_run(&j, &s->c, &options, &report);
    if (!result && s->c.rank == 0 && a->json)
        result = json_text_print(stdout, json_incref(report.details), 0);
    if (!result && s->c.rank == 0 && !a->json && !a->quiet)
        terminal_print(stdout,
                       "%s: a model of %zu parameters exported, %s the deviations of a posterior\n",
                       a->out, report.parameters, report.posterior ? "with" : "without");
    json_decref(report.details);
    return agree(s->c.world, result);
}

int export_main(int argc, char **argv)
{
    arguments a = {0};
    const option options[] = {
        {"--out", OPTION_PATH, &a.out, "DIR", "where the files go; others there are left alone"},
        {"--force", OPTION_FLAG, &a.force, NULL, "replace files of a model that DIR holds"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {
        "export",
        "RUN --out DIR",
        "Write a run's GPT-2 as transformers loads it: config.json, generation_config.json,\n"
        "model.safetensors, the tokenizer's files; of runs of ivon and evon the weights' standard\n"
        "deviations too, in posterior.safetensors. A RUN is a run's directory or one of its\n"
        "checkpoints.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    return session_main(&table, argc, argv, export_verb, &a);
}
