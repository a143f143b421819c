/* vario curvature: a posterior for a model that was trained without one. */
#include "analysis/curvature.h"

#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/files/json_text.h"
#include "io/runs/output.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

typedef struct {
    const char *out;
    uint64_t sequences, batches;
    double ess, decay, floor; /* NaN: not given */
    bool force, json, quiet;
} arguments;

static status check_number(const char *name, double value, bool zero)
{
    if (isnan(value) || (value >= 1e-30 && value <= 1e30) || (zero && value == 0.0))
        return STATUS_OK;
    return fail(STATUS_INPUT, "vario curvature: %s: %g found, a number in [1e-30, 1e30]%s expected",
                name, value, zero ? " or 0" : "");
}

static status check_arguments(const arguments *a)
{
    if (!a->out) return fail(STATUS_INPUT, "vario curvature: --out NEWRUN expected, none found");
    status result = check_number("--ess", a->ess, false);
    if (!result) result = check_number("--decay", a->decay, true);
    return result ? result : check_number("--floor", a->floor, false);
}

static status check_sequences(const arguments *a, const job *j)
{
    uint64_t max = (UINT64_C(1) << 30) / j->batch.length;
    if (a->sequences >= 1 && a->sequences <= max) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario curvature: --sequences: %" PRIu64 " found, 1 to %" PRIu64 " expected",
                a->sequences, max);
}

/* A job file stands for weights from elsewhere, those of its model.init. */
static bool is_job_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static status read_job(session *s, job *j, const char *path, bool *is_file)
{
    *is_file = s->c.rank == 0 && is_job_file(path);
    MPI_Bcast(is_file, (int)sizeof *is_file, MPI_BYTE, 0, s->c.world);
    if (!*is_file) return session_read_run(s, j, path);
    status result = session_read_job(s, j, path, NULL);
    if (result || job_init(j)) return result;
    return fail(STATUS_INPUT,
                "%s: 'model.init' is scratch, a directory with model.safetensors expected", path);
}

static status print_result(const arguments *a, const job *j, const curvature_report *r)
{
    if (a->json) return json_text_print_run(stdout, j->name, json_incref(r->details));
    terminal_print(stdout,
                   "%s/%s: h of %zu parameters from the squared gradients of %" PRIu64
                   " batches, %.3g in the mean\n",
                   j->output, j->name, r->parameters, r->batches, r->hessian_mean);
    printf("  loss %.4f, lambda %g, delta %g; %" PRIu64 " elements raised to h + delta = %g; the "
           "mean gradient makes %.2g%% of h\n",
           r->loss, r->lambda, r->delta, r->raised, r->floor, 100.0 * r->share);
    return STATUS_OK;
}

static status curvature_verb(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    curvature_report report = {0};
    bool is_file;
    job j;
    status result = agree(s->c.world, check_arguments(a));
    if (!result) result = read_job(s, &j, rest[0], &is_file);
    if (!result && s->c.rank == 0 && is_file) result = output_check_run(a->out, rest, 1);
    if (!result) result = check_sequences(a, &j);
    if (!result) result = session_name_run(&j, "curvature", a->out);
    result = agree(s->c.world, result);
    if (!result) result = session_compute(s, j.parallel.threads, a->quiet);
    if (result) return result;
    const curvature_options options = {.run = is_file ? NULL : rest[0],
                                       .sequences = a->sequences,
                                       .batches = a->batches,
                                       .ess = a->ess,
                                       .decay = a->decay,
                                       .floor = a->floor,
                                       .precision = precision_here(&j, s->bf16),
                                       .threads = s->threads,
                                       .force = a->force,
                                       .quiet = a->quiet || a->json};
    result = curvature_run(&j, &s->c, &options, &report);
    if (!result && s->c.rank == 0) result = print_result(a, &j, &report);
    json_decref(report.details);
    return agree(s->c.world, result);
}

int curvature_main(int argc, char **argv)
{
    arguments a = {.sequences = 1, .ess = NAN, .decay = NAN, .floor = NAN};
    const option options[] = {
        {"--out", OPTION_PATH, &a.out, "NEWRUN", "directory of the new run"},
        {"--sequences", OPTION_COUNT, &a.sequences, "N",
         "sequences or examples of a batch, whose gradient is squared (1)"},
        {"--batches", OPTION_COUNT, &a.batches, "N",
         "only the first N batches, in the order of training (0: all)"},
        {"--ess", OPTION_NUMBER, &a.ess, "LAMBDA",
         "effective sample size (the tokens or examples of the training data)"},
        {"--decay", OPTION_NUMBER, &a.decay, "DELTA",
         "delta of matrices, the prior's precision over lambda (that of ivon's and bbb's runs, of "
         "others a prior as wide as the weights)"},
        {"--floor", OPTION_NUMBER, &a.floor, "F", "least h + delta of any element (DELTA)"},
        {"--force", OPTION_FLAG, &a.force, NULL, "replace what NEWRUN holds"},
        {"--json", OPTION_FLAG, &a.json, NULL, "print the result as JSON"},
        {"--quiet", OPTION_FLAG, &a.quiet, NULL, "only errors and the result"},
    };
    const option_table table = {"curvature",
                                "RUN --out NEWRUN [--ess LAMBDA] [--decay DELTA] [--batches N]",
                                "Give a model a posterior: its mean, and the squared gradients of "
                                "its training data\nat that mean. The result is a run of ivon. A "
                                "RUN is a run's directory, one of its\ncheckpoints, or a job file "
                                "whose model.init has the weights.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                1};
    return session_main(&table, argc, argv, curvature_verb, &a);
}
