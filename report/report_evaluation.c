/* What `vario eval` and `vario generate --keep` left in the runs' folders. */
#include "analysis/ensemble.h"
#include "report/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const json_t *array_of(const report_run *run, const char *key)
{
    return json_object_get(run->evaluation, key);
}

/* Whether a picture of these pairs would have a point: what is not finite is null in the file. */
static bool any(const report *r, const char *key, const char *x, const char *y)
{
    for (size_t i = 0; i < r->count; i++) {
        const json_t *array = array_of(&r->runs[i], key);
        for (size_t k = 0; k < json_array_size(array); k++) {
            const json_t *o = json_array_get(array, k);
            if (json_is_number(json_object_get(o, x)) && json_is_number(json_object_get(o, y)))
                return true;
        }
    }
    return false;
}

static bool any_evaluation(const report *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->runs[i].evaluation) return true;
    return false;
}

/* Of values, whose reliability is coverage, not of classes. */
static bool is_coverage(const report_run *run)
{
    return json_object_get(json_array_get(array_of(run, "reliability"), 0), "nominal") != NULL;
}

static bool all_coverage(const report *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->runs[i].evaluation && !is_coverage(&r->runs[i])) return false;
    return true;
}

/* Inline data named $NAME and the run's number. @return how many there are */
static size_t write_pairs(FILE *out, const json_t *array, const char *name, size_t run,
                          const char *x, const char *y)
{
    size_t count = 0;
    fprintf(out, "$%s%zu << EOD\n", name, run);
    for (size_t k = 0; k < json_array_size(array); k++) {
        const json_t *o = json_array_get(array, k);
        double at = history_number(o, x, NAN), value = history_number(o, y, NAN);
        if (!isfinite(at) || !isfinite(value)) continue;
        fprintf(out, "%.9g %.9g\n", at, value);
        count++;
    }
    fprintf(out, "EOD\n");
    return count;
}

static const char mean_style[] = "with linespoints lw 1.4 pt 7 ps 0.35";
static const char averaged_style[] = "with linespoints lw 1.4 pt 6 ps 0.5";

/* At the mean the pairs of an array, averaged those of another, with disks and with rings. */
static void draw_pairs(FILE *out, const report *r, const char *mean, const char *mean_y,
                       const char *averaged, const char *averaged_y, const char *x)
{
    bool there[REPORT_RUNS][2], averages = false, several = r->count > 1;
    for (size_t i = 0; i < r->count; i++) {
        there[i][0] = write_pairs(out, array_of(&r->runs[i], mean), "mean", i, x, mean_y) > 0;
        there[i][1] =
            write_pairs(out, array_of(&r->runs[i], averaged), "averaged", i, x, averaged_y) > 0;
        averages = averages || there[i][1];
    }
    fprintf(out, "plot NaN notitle");
    for (size_t i = 0; i < r->count; i++) {
        if (there[i][0])
            fprintf(out, ", $mean%zu %s dt %d lc rgb '%s' notitle", i, mean_style, report_dash(i),
                    report_colour(i));
        if (there[i][1])
            fprintf(out, ", $averaged%zu %s dt %d lc rgb '%s' notitle", i, averaged_style,
                    report_dash(i), report_colour(several ? i : 1));
    }
    fprintf(out, ", NaN %s lc rgb '%s' title 'at the mean'", mean_style,
            several ? "#555555" : report_colour(0));
    if (averages)
        fprintf(out, ", NaN %s lc rgb '%s' title 'averaged'", averaged_style,
                several ? "#555555" : report_colour(1));
}

static void draw_reliability(FILE *out, const report *r, const void *what, bool alone)
{
    bool coverage = all_coverage(r);
    (void)what;
    report_axes(out, coverage ? "nominal coverage" : "confidence of a bin (mean probability)",
                coverage ? "share of targets inside" : "accuracy (share that is right)", false,
                false);
    fprintf(out, "set xrange [0:1]\nset yrange [0:1]\nset offsets 0, 0, 0, 0\n");
    if (coverage)
        draw_pairs(out, r, "reliability", "observed", "reliability_averaged", "observed",
                   "nominal");
    else
        draw_pairs(out, r, "reliability", "accuracy", "reliability_averaged", "accuracy",
                   "confidence");
    fprintf(out, ", [0:1] x with lines lw 1 dt 2 lc rgb '#999999' notitle");
    report_run_keys(out, r, alone);
    fputc('\n', out);
}

static void draw_positions(FILE *out, const report *r, const void *what, bool alone)
{
    (void)what;
    report_axes(out, "position in the sequence (tokens before)", "loss (nats a token)", false,
                false);
    draw_pairs(out, r, "by_position", "nll", "by_position", "nll_averaged", "first");
    report_run_keys(out, r, alone);
    fputc('\n', out);
}

static void draw_members(FILE *out, const report *r, const void *what, bool alone)
{
    bool there[REPORT_RUNS];
    double max = 1.0;
    (void)what;
    for (size_t i = 0; i < r->count; i++) {
        const json_t *curve = array_of(&r->runs[i], "curve");
        there[i] = write_pairs(out, curve, "curve", i, "samples", "nll") > 0;
        max = fmax(max, history_number(r->runs[i].evaluation, "members", 1.0));
    }
    report_axes(out, "posterior samples averaged", "loss (nats)", false, false);
    fprintf(out, "set logscale x 2\nset xrange [0.9:%.9g]\nplot NaN notitle", 1.15 * max);
    for (size_t i = 0; i < r->count; i++) {
        double mean = history_number(r->runs[i].evaluation, "nll", NAN);
        if (!there[i]) continue;
        fprintf(out, ", $curve%zu %s dt %d lc rgb '%s' notitle", i, averaged_style, report_dash(i),
                report_colour(i));
        if (isfinite(mean))
            fprintf(out, ", %.9g with lines lw 1.2 dt 3 lc rgb '%s' notitle", mean,
                    report_colour(i));
    }
    fprintf(out,
            ", NaN %s lc rgb '#555555' title 'averaged', NaN with lines lw 1.2 dt 3 lc rgb "
            "'#555555' title 'at the mean'",
            averaged_style);
    report_run_keys(out, r, alone);
    fputc('\n', out);
}

static void write_scores(const report *r)
{
    static const struct {
        const char *key, *name;
    } rows[] = {
        {"step", "step evaluated"},
        {"rows", "tokens or examples"},
        {"nll", "loss at the mean, nats"},
        {"nll_averaged", "loss averaged, nats"},
        {"members", "averaged over"},
        {"perplexity", "perplexity at the mean"},
        {"perplexity_averaged", "perplexity averaged"},
        {"accuracy", "accuracy at the mean"},
        {"accuracy_averaged", "accuracy averaged"},
        {"ece", "calibration error (ECE) at the mean"},
        {"ece_averaged", "calibration error averaged"},
        {"brier", "Brier score at the mean"},
        {"brier_averaged", "Brier score averaged"},
        {"auroc", "AUROC of confidence at the mean"},
        {"auroc_averaged", "AUROC averaged"},
        {"rmse", "root mean squared error at the mean"},
        {"rmse_averaged", "root mean squared error averaged"},
        {"coverage_error", "coverage error at the mean"},
        {"coverage_error_averaged", "coverage error averaged"},
        {"mutual_information", "mutual information, nats"},
    };
    report_table(r);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        bool there = false;
        for (size_t i = 0; i < r->count; i++)
            there = there || json_object_get(r->runs[i].evaluation, rows[k].key);
        if (!there) continue;
        report_row(r, rows[k].name);
        for (size_t i = 0; i < r->count; i++) {
            char shown[40];
            double value = history_number(r->runs[i].evaluation, rows[k].key, NAN);
            bool huge = fabs(value) >= 1e15, whole = value == floor(value);
            snprintf(shown, sizeof shown, huge ? "%.4g" : whole ? "%.0f" : "%.4f", value);
            html_number(r->out, value, shown);
        }
        fprintf(r->out, "</tr>\n");
    }
    report_table_end(r);
}

static void note_missing(const report *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const report_run *run = &r->runs[i];
        const metrics *last = report_last(run);
        double step = history_number(run->evaluation, "step", NAN);
        bool draws = job_has_posterior(&run->h.job) || ensemble_has_dropout(&run->h.job);
        if (!run->evaluation)
            report_note(r,
                        "%s: not evaluated. `vario eval %s%s` says how well it is "
                        "calibrated; then make this report again.",
                        run->label, run->h.path, draws ? " --samples 8" : "");
        else if (last && step < (double)last->step)
            report_note(r, "%s: evaluated at step %.0f, and the run went on to step %" PRIu64 ".",
                        run->label, step, last->step);
    }
}

status report_write_evaluation(const report *r)
{
    status result = STATUS_OK;
    bool coverage = all_coverage(r);
    report_section(r, "Calibration");
    note_missing(r);
    if (!any_evaluation(r)) return STATUS_OK;
    write_scores(r);
    report_grid(r, true);
    if (any(r, "reliability", coverage ? "nominal" : "confidence",
            coverage ? "observed" : "accuracy"))
        result = report_picture(r, "reliability", coverage ? "Coverage" : "Reliability",
                                coverage ? "above the diagonal intervals are too wide"
                                         : "above the diagonal there is too little confidence",
                                draw_reliability, NULL);
    if (!result && any(r, "curve", "samples", "nll"))
        result = report_picture(r, "samples", "Loss against samples", "", draw_members, NULL);
    if (!result && any(r, "by_position", "first", "nll"))
        result = report_picture(r, "positions", "Loss over the sequence", "", draw_positions, NULL);
    report_grid(r, false);
    return result;
}

static void write_sample(const report *r, const json_t *sample)
{
    const char *prompt = json_string_value(json_object_get(sample, "prompt"));
    const char *text = json_string_value(json_object_get(sample, "text"));
    double members = history_number(sample, "samples", 0.0);
    if (!prompt || !text) return;
    fprintf(r->out, "<p class=\"soft\">step %.0f, temperature %g, seed %.0f, ",
            history_number(sample, "step", NAN), history_number(sample, "temperature", NAN),
            history_number(sample, "seed", NAN));
    if (members > 0.0)
        fprintf(r->out, "%.0f posterior samples in turn</p>\n<pre class=\"prose\"><b>", members);
    else
        fprintf(r->out, "weights at the mean</p>\n<pre class=\"prose\"><b>");
    html_text(r->out, prompt);
    fprintf(r->out, "</b>");
    html_text(r->out, text);
    fprintf(r->out, "</pre>\n");
}

void report_write_samples(const report *r)
{
    enum { SHOWN = 5 };
    report_section(r, "Generated text");
    for (size_t i = 0; i < r->count; i++) {
        const report_run *run = &r->runs[i];
        size_t count = json_array_size(run->samples), first = count > SHOWN ? count - SHOWN : 0;
        if (!job_reads_tokens(&run->h.job)) {
            report_note(r, "%s: its model writes no text.", run->label);
            continue;
        }
        if (count == 0) {
            report_note(r,
                        "%s: no text is kept. `vario generate %s --prompt TEXT --keep` adds one; "
                        "then make this report again.",
                        run->label, run->h.path);
            continue;
        }
        fprintf(r->out, "<h3>");
        html_text(r->out, run->label);
        fprintf(r->out, "</h3>\n");
        for (size_t k = first; k < count; k++) write_sample(r, json_array_get(run->samples, k));
    }
}
