/* vario report: a page of what runs have written down. */
#include "report/report.h"

#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/checkpoints/checkpoint_list.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *out, *pictures;
    bool quiet;
} arguments;

/* NULL where there is no file; the caller drops it, after a failure too. */
static status read_object(json_t **object, const char *run, const char *name)
{
    char path[4096];
    *object = NULL;
    snprintf(path, sizeof path, "%.3000s/%s", run, name);
    if (access(path, F_OK) != 0) return STATUS_OK;
    return json_text_read_object(object, path, 0);
}

/* The newest checkpoint's facts; whether it is whole is asked by those who read its tensors. */
static json_t *read_state(const char *run)
{
    uint64_t *steps = NULL;
    size_t count = 0;
    char name[64];
    json_t *state = NULL;
    if (checkpoint_list(&steps, &count, run)) status_clear();
    if (count > 0) {
        snprintf(name, sizeof name, "step-%08" PRIu64 "/state.json", steps[0]);
        if (read_object(&state, run, name)) status_clear();
    }
    free(steps);
    return state;
}

static status read_run(report_run *run, const char *path)
{
    size_t damaged;
    status result = history_read(&run->h, path);
    if (result) return result;
    if (*run->h.said) status_warn("%s", run->h.said);
    run->label = run->h.job.name;
    run->state = read_state(run->h.path);
    result = read_object(&run->evaluation, run->h.path, "evaluation.json");
    if (!result) result = history_read_lines(&run->samples, &damaged, run->h.path, "samples.jsonl");
    return result ? result : report_read_layers(run);
}

static void close_run(report_run *run)
{
    history_close(&run->h);
    json_decref(run->evaluation);
    json_decref(run->samples);
    json_decref(run->state);
    free(run->layers.hessian);
    free(run->layers.sigma);
    free(run->layers.directions);
}

/* Where two have one name, their paths tell them apart. */
static void label_runs(report *r)
{
    bool twice[REPORT_RUNS] = {false};
    for (size_t i = 0; i < r->count; i++)
        for (size_t k = 0; k < r->count; k++)
            twice[i] =
                twice[i] || (i != k && strcmp(r->runs[i].h.job.name, r->runs[k].h.job.name) == 0);
    for (size_t i = 0; i < r->count; i++)
        if (twice[i]) r->runs[i].label = r->runs[i].h.path;
}

static status write_sections(const report *r)
{
    report_write_head(r);
    status result = report_write_curves(r);
    if (!result) result = report_write_layers(r);
    if (!result) result = report_write_speed(r);
    if (!result) result = report_write_scaling(r);
    if (!result) result = report_write_evaluation(r);
    if (result) return result;
    report_write_samples(r);
    return report_write_jobs(r);
}

static status write_page(report *r, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    r->out = open_memstream(&text, &size);
    if (!r->out) return fail(STATUS_NOMEM, "memory to write %s", path);
    status result = r->pictures ? file_make_directories(r->pictures) : STATUS_OK;
    if (!result) result = write_sections(r);
    bool whole = fclose(r->out) == 0;
    if (!result && !whole) result = fail(STATUS_NOMEM, "memory to write %s", path);
    if (!result) result = file_write_atomic(path, text, size);
    free(text);
    return result;
}

/* Of one run beside its other files, of several where the user is. */
static void choose_path(char *path, size_t size, const report *r, const arguments *a)
{
    if (a->out)
        snprintf(path, size, "%s", a->out);
    else if (r->count == 1)
        snprintf(path, size, "%s/report.html", r->runs[0].h.path);
    else
        snprintf(path, size, "report.html");
}

static status make_report(const arguments *a, const char **rest)
{
    char path[4096];
    report r = {.pictures = a->pictures};
    status result = STATUS_OK;
    r.runs = calloc(REPORT_RUNS, sizeof *r.runs);
    if (!r.runs) return fail(STATUS_NOMEM, "memory for a report");
    while (!result && rest[r.count]) {
        result = read_run(&r.runs[r.count], rest[r.count]);
        r.count++;
    }
    if (!result) {
        label_runs(&r);
        choose_path(path, sizeof path, &r, a);
        result = write_page(&r, path);
    }
    if (!result && !a->quiet) terminal_print(stdout, "%s\n", path);
    for (size_t i = 0; i < r.count; i++) close_run(&r.runs[i]);
    free(r.runs);
    return result;
}

static status report_verb(session *s, void *context, const char **rest)
{
    return agree(s->c.world, s->c.rank == 0 ? make_report(context, rest) : STATUS_OK);
}

int report_main(int argc, char **argv)
{
    arguments a = {0};
    const option options[] = {
        {"--out", OPTION_OUTPUT, &a.out, "FILE",
         "the page (RUN/report.html; of several runs report.html)"},
        {"--pictures", OPTION_PATH, &a.pictures, "DIR", "write every picture as PNG and SVG, too"},
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {"report",
                                "RUN [RUN...] [--out FILE.html] [--pictures DIR]",
                                "Write a page of what runs have written down: losses, norms, the "
                                "posterior, speed, calibration,\ntexts, jobs and machines. Several "
                                "runs are laid over each other; those that differ in their ranks\n"
                                "get scaling curves.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                REPORT_RUNS};
    return session_main(&table, argc, argv, report_verb, &a);
}
