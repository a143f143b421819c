/* vario merge: several runs made into one, which trains on. */
#include "analysis/merging.h"
#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/files/json_text.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 64 };

typedef struct {
    const char *out, *base, *method;
    double alpha;       /* NaN: not given */
    option_list scales; /* as texts */
    bool force, json, quiet;
} arguments;

static status choose_method(const arguments *a, merging_options *o)
{
    for (int method = 0; method < MERGE_METHODS; method++)
        if (strcmp(a->method, merge_method_names[method]) == 0) {
            o->method = (merge_method)method;
            return STATUS_OK;
        }
    return fail(STATUS_INPUT,
                "vario merge: --method: '%s' found, one of hessian, task, mean expected",
                a->method);
}

static status check_base(const arguments *a, const merging_options *o)
{
    if (o->method == MERGE_TASK && !a->base)
        return fail(STATUS_INPUT, "vario merge: --method task: --base RUN expected, none found");
    if (o->method == MERGE_MEAN && a->base)
        return fail(STATUS_INPUT, "vario merge: --method mean: no base expected, --base %s found",
                    a->base);
    if (!isnan(a->alpha) && !a->base)
        return fail(STATUS_INPUT, "vario merge: --alpha %g: --base RUN expected, none found",
                    a->alpha);
    if (isinf(a->alpha))
        return fail(STATUS_INPUT, "vario merge: --alpha: a finite number expected, inf found");
    if (!a->base && o->run_count < 2)
        return fail(STATUS_INPUT,
                    "vario merge: one run found, at least two expected without --base RUN");
    return STATUS_OK;
}

/* One for all runs, or one for each. */
static status read_scales(const arguments *a, merging_options *o, double scales[MODELS])
{
    size_t given = a->scales.count;
    if (given == 0) return STATUS_OK;
    if (given != 1 && given != o->run_count)
        return fail(STATUS_INPUT,
                    "vario merge: --scale: %zu found, one for all runs or one for each of %zu "
                    "expected",
                    given, o->run_count);
    for (size_t i = 0; i < o->run_count; i++) {
        const char *text = a->scales.values[given == 1 ? 0 : i];
        char *end;
        scales[i] = strtod(text, &end);
        if (*end || end == text || !(scales[i] > 0.0) || isinf(scales[i]))
            return fail(STATUS_INPUT,
                        "vario merge: --scale: '%s' found, a finite number above 0 expected", text);
    }
    o->scales = scales;
    return STATUS_OK;
}

static status read_options(const arguments *a, merging_options *o, double scales[MODELS],
                           const char **runs)
{
    *o = (merging_options){.base = a->base, .runs = runs, .alpha = 1.0, .force = a->force};
    while (o->run_count < MODELS && runs[o->run_count]) o->run_count++;
    if (!isnan(a->alpha)) o->alpha = a->alpha;
    if (!a->out) return fail(STATUS_INPUT, "vario merge: --out NEWRUN expected, none found");
    status result = choose_method(a, o);
    if (!result) result = check_base(a, o);
    return result ? result : read_scales(a, o, scales);
}

/* The job of the base, or of the first run without one; the others' models are of its shape.
 * @param jobs  [run_count] of the runs */
static status read_jobs(session *s, const merging_options *o, job *j, job *jobs)
{
    const char *lead = o->base ? o->base : o->runs[0];
    status result = agree(
        s->c.world, jobs ? STATUS_OK : fail(STATUS_NOMEM, "memory for %zu jobs", o->run_count));
    if (!result) result = session_read_run(s, j, lead);
    for (size_t i = 0; !result && i < o->run_count; i++) {
        result = session_read_run(s, &jobs[i], o->runs[i]);
        if (!result) result = job_model_check(&jobs[i], o->runs[i], j, lead);
    }
    return result;
}

static status print_result(const arguments *a, const job *j, const merging_options *o,
                           const merging_report *report)
{
    if (a->json) return json_text_print_run(stdout, j->name, json_incref(report->details));
    terminal_print(stdout, "%s/%s: %zu models of %zu parameters merged (%s), %s a posterior\n",
                   j->output, j->name, o->run_count, report->parameters, a->method,
                   report->posterior ? "with" : "without");
    if (report->negative > 0)
        printf("  %" PRIu64 " values of h below 0 counted as 0\n", report->negative);
    return STATUS_OK;
}

static status merge_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    merging_options o;
    merging_report report = {0};
    double scales[MODELS];
    job j, *jobs = NULL;
    status result = agree(s->c.world, read_options(a, &o, scales, rest));
    if (!result) {
        o.jobs = jobs = calloc(o.run_count, sizeof *jobs);
        result = read_jobs(s, &o, &j, jobs);
    }
    if (!result) result = agree(s->c.world, session_name_run(&j, "merge", a->out));
    if (!result) result = session_compute(s, 0, a->quiet);
    if (!result) {
        result = merging_run(&j, &s->c, &o, &report);
        if (!result && s->c.rank == 0) result = print_result(a, &j, &o, &report);
        result = agree(s->c.world, result);
    }
    json_decref(report.details);
    free(jobs);
    return result;
}

int merge_main(int argc, char **argv)
{
    arguments a = {.method = "hessian", .alpha = NAN};
    const option options[] = {
        {"--out", OPTION_PATH, &a.out, "NEWRUN", "directory of the new run"},
        {"--base", OPTION_INPUT, &a.base, "RUN", "what the runs began from"},
        {"--method", OPTION_TEXT, &a.method, "M",
         "hessian: weighted by curvature; task: differences from the base added up; mean: the "
         "plain "
         "average (hessian)"},
        {"--alpha", OPTION_NUMBER, &a.alpha, "A", "how much the runs count beside the base (1)"},
        {"--scale", OPTION_LIST, &a.scales, "S",
         "weight of a run's h, once for all or once for each run in their order (lambda over that "
         "of the base, or of the first run)"},
        {"--force", OPTION_FLAG, &a.force, NULL, "replace what NEWRUN holds"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.quiet),
    };
    const option_table table = {"merge",
                                "RUN... --out NEWRUN [--base RUN] [--method hessian|task|mean]",
                                "Merge the weights and posteriors of runs into a run that trains "
                                "on. A RUN is a run's directory "
                                "or\none of its checkpoints. One of evon counts with the "
                                "precisions of single weights; what it "
                                "keeps as\na point is averaged.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                MODELS};
    return session_main(&table, argc, argv, merge_verb, &a);
}
