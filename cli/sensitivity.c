/* vario sensitivity: what a run remembers of each of its examples. */
#include "report/sensitivity.h"

#include "cli/session.h"
#include "cli/verbs.h"
#include "io/checkpoints/checkpoint.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *data, *per, *range, *groups, *by, *csv, *plot;
    uint64_t top;
    bool json, quiet;
} arguments;

static status choose_per(const arguments *a, const job *j, sensitivity_per *per)
{
    bool tokens = job_reads_tokens(j);
    const char *word = a->per ? a->per : tokens ? "sequence" : "example";
    if (tokens && strcmp(word, "sequence") == 0)
        *per = PER_SEQUENCE;
    else if (tokens && strcmp(word, "token") == 0)
        *per = PER_TOKEN;
    else if (!tokens && strcmp(word, "example") == 0)
        *per = PER_EXAMPLE;
    else
        return fail(STATUS_INPUT, "vario sensitivity: --per: '%s' found, %s expected of %s", word,
                    tokens ? "sequence or token" : "example", tokens ? "gpt2" : "linear and mlp");
    return STATUS_OK;
}

static status check_arguments(const arguments *a, const job *j, const char *path)
{
    model_config config = job_model(j);
    if (strcmp(a->by, "sensitivity") != 0 && strcmp(a->by, "loss") != 0)
        return fail(STATUS_INPUT,
                    "vario sensitivity: --by: '%s' found, sensitivity or loss expected", a->by);
    bool examples = !job_reads_tokens(j);
    if (job_optimizer(j)->spread != SPREAD_HESSIAN)
        return fail(STATUS_INPUT,
                    "vario sensitivity: a posterior (optimizer.kind ivon or evon) expected, %s was "
                    "trained without one",
                    path);
    if (a->groups && strcmp(a->groups, "class") == 0 && !(examples && model_has_classes(&config)))
        return fail(STATUS_INPUT,
                    "vario sensitivity: --groups: class found, a file expected: the examples of %s "
                    "have no classes",
                    path);
    return STATUS_OK;
}

/* A-B, both ends included; all without. */
static status parse_range(const char *text, uint64_t there, const char *noun, uint64_t *first,
                          uint64_t *count)
{
    uint64_t last;
    int end = 0;
    *first = 0;
    *count = there;
    if (!text) return STATUS_OK;
    if (sscanf(text, "%" SCNu64 "-%" SCNu64 "%n", first, &last, &end) != 2 || text[end] ||
        text[0] == '-' || last < *first || last >= there)
        return fail(STATUS_INPUT,
                    "vario sensitivity: --range: '%s' found, FIRST-LAST of the %ss 0-%" PRIu64
                    " expected",
                    text, noun, there - 1);
    *count = last - *first + 1;
    return STATUS_OK;
}

/* sigma^2 is 1/(ess (h + delta)): with another ess than there are examples, it answers for a data
 * set of that size. */
static void warn_of_ess(const arguments *a, sensitivity_report *r)
{
    const job *j = r->j;
    double ess = job_ess(j, r->step);
    bool tokens = job_reads_tokens(j);
    uint64_t rows = tokens ? dataset_count(r->data) * j->batch.length : dataset_count(r->data);
    if (j->data.leave_out < rows && !tokens) rows--;
    r->weight = a->data ? NAN : ess / (double)rows;
    if (a->quiet || !(fabs(r->weight - 1.0) > 0.1)) return;
    status_warn("optimizer.ess is %g and there are %" PRIu64
                " training %s: what leaving one out changes is %.3g times what is estimated",
                ess, rows, tokens ? "tokens" : "examples", r->weight);
}

static status speak(const arguments *a, sensitivity_report *r)
{
    status result = sensitivity_rank(r);
    if (!result && a->csv) result = sensitivity_write_csv(r, a->csv);
    if (!result && a->plot) result = sensitivity_draw(r, a->plot);
    if (result) return result;
    warn_of_ess(a, r);
    if (a->json) return sensitivity_print_json(r);
    sensitivity_print(r);
    return STATUS_OK;
}

/* What groups add to their losses when they leave together. */
static status leave_groups(sensitivity *x, const arguments *a, sensitivity_report *report,
                           uint64_t first, const comm *c)
{
    double *added = NULL;
    status result = c->rank == 0 ? sensitivity_make_groups(report, a->groups) : STATUS_OK;
    if (!result && report->group_count > 0) {
        added = calloc(report->group_count, sizeof *added);
        if (!added) result = fail(STATUS_NOMEM, "memory for %zu groups", report->group_count);
    }
    result = agree(c->world, result);
    if (!result)
        result = sensitivity_leave(x, report->data, first, report->table.count, report->group_of,
                                   report->group_count, added);
    for (size_t g = 0; !result && g < report->group_count; g++)
        report->groups[g].together = added[report->groups[g].number];
    free(added);
    return result;
}

static status compute(trainer *r, const arguments *a, sensitivity_report *report)
{
    static const char *const nouns[] = {"example", "sequence", "token"};
    uint64_t first, count, there = dataset_count(report->data);
    sensitivity *x = NULL;
    if (report->per == PER_TOKEN) there *= r->job->batch.length;
    status result = parse_range(a->range, there, nouns[report->per], &first, &count);
    if (!result) result = sensitivity_open(&x, r, report->per);
    if (!result) result = sensitivity_run(x, report->data, first, count, &report->table);
    if (!result && a->groups) result = leave_groups(x, a, report, first, r->rounds.c);
    sensitivity_close(&x);
    return result;
}

/* bf16 would round away how far a group moves the mean. */
static dtype precision_of(const session *s, const arguments *a, const job *j)
{
    bool moves = a->groups && !job_reads_tokens(j);
    return moves ? DTYPE_F32 : precision_here(j, s->bf16);
}

static status report_run(session *s, const arguments *a, job *j, const char *path)
{
    trainer r = {0};
    checkpoint_facts facts;
    sensitivity_report report = {
        .run = j->name, .j = j, .by_loss = strcmp(a->by, "loss") == 0, .top = (size_t)a->top};
    status result = choose_per(a, j, &report.per);
    if (result) return result;
    result = agree(s->c.world,
                   dataset_open(&report.data, j, a->data ? DATASET_VALID : DATASET_TRAIN, a->data));
    if (!result && s->c.rank == 0) dataset_warn_tokens(report.data, path);
    if (!result) result = trainer_open(&r, j, &s->c, precision_of(s, a, j), false);
    if (!result) result = trainer_read(&r, path, &facts);
    if (!result) result = compute(&r, a, &report);
    if (!result) {
        report.step = facts.steps;
        result = agree(s->c.world, s->c.rank == 0 ? speak(a, &report) : STATUS_OK);
    }
    free(report.ranked);
    free(report.groups);
    free(report.group_of);
    sensitivity_table_close(&report.table);
    trainer_close(&r);
    dataset_close(&report.data);
    return result;
}

static status sensitivity_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    const char *path = rest[0];
    job j;
    status result = session_read_run(s, &j, path);
    if (!result) result = check_arguments(a, &j, path);
    if (!result) result = session_compute(s, j.parallel.threads, a->quiet);
    return result ? result : report_run(s, a, &j, path);
}

int sensitivity_main(int argc, char **argv)
{
    arguments a = {.by = "sensitivity", .top = 10};
    const option options[] = {
        {"--data", OPTION_INPUT, &a.data, "TEXT", "token files or examples, instead of data.train"},
        {"--per", OPTION_TEXT, &a.per, "UNIT",
         "example (linear, mlp), sequence or token (gpt2; a pass for each)"},
        {"--range", OPTION_TEXT, &a.range, "A-B", "only these, counted from 0, both included"},
        {"--groups", OPTION_INPUT, &a.groups, "BY",
         "leave out by class, or by a file with a group's name in each line"},
        {"--by", OPTION_TEXT, &a.by, "KEY",
         "rank by sensitivity, or by what leaving out adds to the loss"},
        {"--top", OPTION_COUNT, &a.top, "N", "list the N most and least sensitive (10)"},
        {"--csv", OPTION_OUTPUT, &a.csv, "FILE", "write all of them, in the order of the data"},
        {"--plot", OPTION_OUTPUT, &a.plot, "FILE", "draw them (.png or .svg)"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {"sensitivity",
                                "RUN [--per UNIT] [--top N] [--csv FILE] [--plot FILE]",
                                "How far a run's predictions of its training examples would move "
                                "if it had not seen them, from its posterior.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                1};
    return session_main(&table, argc, argv, sensitivity_verb, &a);
}
