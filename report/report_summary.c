/* Words and numbers of the page: what the runs are, and how they went. */
#include "report/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* The last value of a column; NAN for none. */
static double last_of(const report_run *run, size_t offset)
{
    for (size_t k = run->h.metrics.count; k-- > 0;) {
        double value = metrics_value(&run->h.metrics.rows[k], offset);
        if (!isnan(value)) return value;
    }
    return NAN;
}

static double min_valid(const report_run *run)
{
    double min = NAN;
    for (size_t k = 0; k < run->h.metrics.count; k++)
        min = fmin(min, run->h.metrics.rows[k].valid_loss);
    return min;
}

static double value_steps(const report_run *run)
{
    return report_last(run) ? (double)report_last(run)->step : 0.0;
}
static double value_planned(const report_run *run)
{
    return (double)run->h.job.steps;
}
static double value_tokens(const report_run *run)
{
    return report_last(run) ? (double)report_last(run)->tokens : NAN;
}
static double value_seconds(const report_run *run)
{
    return report_last(run) ? report_last(run)->seconds : NAN;
}
static double value_train(const report_run *run)
{
    return last_of(run, offsetof(metrics, train_loss));
}
static double value_valid(const report_run *run)
{
    return last_of(run, offsetof(metrics, valid_loss));
}
static double value_averaged(const report_run *run)
{
    return last_of(run, offsetof(metrics, valid_loss_averaged));
}
static double value_perplexity(const report_run *run)
{
    return job_reads_tokens(&run->h.job) ? exp(value_valid(run)) : NAN;
}
static double value_speed(const report_run *run)
{
    return report_column_median(run, offsetof(metrics, tokens_per_second));
}
static double value_utilization(const report_run *run)
{
    return 100.0 * report_column_median(run, offsetof(metrics, model_flops_utilization));
}
static double value_sent(const report_run *run)
{
    return report_last(run) ? (double)report_last(run)->bytes_sent / 1e6 : NAN;
}
static void print_state(char *text, size_t size, const report_run *run)
{
    snprintf(text, size, "%s", history_words(run->h.state));
}

static void note_run(const report *r, const report_run *run)
{
    const history *h = &run->h;
    size_t resumed = history_count(h, "resumed"), skipped = history_count(h, "skipped");
    const metrics *last = report_last(run);
    if (!last)
        report_note(r, "%s: no steps are logged: there are no curves of it.", run->label);
    else if (h->state == HISTORY_BROKEN)
        report_note(
            r,
            "%s: broken off after step %" PRIu64 " of %" PRIu64
            ": no process runs it, and it has not said that it ended. The same command goes "
            "on from its newest checkpoint.",
            run->label, last->step, h->job.steps);
    else if (h->state != HISTORY_FINISHED)
        report_note(r, "%s: not finished: step %" PRIu64 " of %" PRIu64 ".", run->label, last->step,
                    h->job.steps);
    if (resumed > 0)
        report_note(r, "%s: resumed %zu time%s, the last time from step %.0f.", run->label, resumed,
                    resumed == 1 ? "" : "s",
                    history_number(history_event(h, "resumed"), "step", NAN));
    if (skipped > 0)
        report_note(r, "%s: %zu step%s skipped, whose loss or gradient was not finite.", run->label,
                    skipped, skipped == 1 ? " was" : "s were");
    if (history_event(h, "early_stop"))
        report_note(r, "%s: ended early, as early_stop says.", run->label);
    if (h->metrics.torn)
        report_note(r, "%s: the last row of metrics.csv is torn and left out.", run->label);
    if (h->damaged > 0)
        report_note(r, "%s: %zu line%s of events.jsonl cannot be read and are left out.",
                    run->label, h->damaged, h->damaged == 1 ? "" : "s");
}

/* The message of a warning, NULL of other events. */
static const char *warning_of(const history *h, size_t i)
{
    const json_t *event = json_array_get(h->events, i);
    const char *name = json_string_value(json_object_get(event, "event"));
    bool is = name && strcmp(name, "warning") == 0;
    return is ? json_string_value(json_object_get(event, "message")) : NULL;
}

/* Every restart of a run warns again. */
static bool warned_before(const history *h, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        const char *earlier = warning_of(h, k);
        if (earlier && strcmp(earlier, warning_of(h, i)) == 0) return true;
    }
    return false;
}

static void write_warnings(const report *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++) count += history_count(&r->runs[i].h, "warning");
    if (count == 0) return;
    fprintf(r->out, "<details%s><summary>Warnings of the runs</summary>\n",
            r->count == 1 ? " open=\"open\"" : "");
    for (size_t i = 0; i < r->count; i++) {
        const history *h = &r->runs[i].h;
        for (size_t k = 0; k < json_array_size(h->events); k++)
            if (warning_of(h, k) && !warned_before(h, k))
                report_note(r, "%s: %s.", r->runs[i].label, warning_of(h, k));
    }
    fprintf(r->out, "</details>\n");
}

static void write_legend(const report *r)
{
    if (r->count == 1) return;
    fprintf(r->out, "<ul class=\"legend\">\n");
    for (size_t i = 0; i < r->count; i++) {
        fprintf(r->out, "<li>");
        report_swatch(r, i);
        html_text(r->out, r->runs[i].label);
        fprintf(r->out, "</li>\n");
    }
    fprintf(r->out, "</ul>\n");
}

void report_write_head(const report *r)
{
    static const report_number rows[] = {
        {"steps", value_steps, AS_COUNT},
        {"of the job's", value_planned, AS_COUNT},
        {"tokens or examples seen", value_tokens, AS_COUNT},
        {"time of steps", value_seconds, AS_DURATION},
        {"training loss of the last row", value_train, AS_LOSS},
        {"validation loss, last", value_valid, AS_LOSS},
        {"validation loss, least", min_valid, AS_LOSS},
        {"validation loss averaged, last", value_averaged, AS_LOSS},
        {"perplexity, last", value_perplexity, AS_LOSS},
        {"tokens or examples a second", value_speed, AS_COUNT},
        {"utilization, percent of the peak", value_utilization, AS_ONE_DIGIT},
        {"sent in a step, MB", value_sent, AS_ONE_DIGIT},
    };
    char title[JOB_TEXT + 40], when[40];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &utc);
    if (r->count == 1)
        snprintf(title, sizeof title, "%s", r->runs[0].label);
    else
        snprintf(title, sizeof title, "%zu runs", r->count);
    html_begin(r->out, title);
    fprintf(r->out, "<h1>");
    html_text(r->out, title);
    fprintf(r->out, "</h1>\n<p class=\"soft\">Made by vario %s, %s, of the files of ",
            VARIO_VERSION, when);
    for (size_t i = 0; i < r->count; i++) {
        if (i > 0) fputs(", ", r->out);
        html_text(r->out, r->runs[i].h.path);
    }
    fprintf(r->out, ".</p>\n");
    write_legend(r);
    report_table(r);
    report_texts(r, "state", print_state);
    report_numbers(r, rows, sizeof rows / sizeof rows[0]);
    report_table_end(r);
    fprintf(r->out,
            "<p class=\"soft\">Losses are in nats a token or an example. Speed and "
            "utilization are medians over the rows of metrics.csv without the first.</p>\n");
    for (size_t i = 0; i < r->count; i++) note_run(r, &r->runs[i]);
    write_warnings(r);
}
