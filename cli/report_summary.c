/* Words and numbers of the page: what the runs are, their machines, their jobs. */
#include "cli/report.h"
#include "io/job_schema.h"
#include "runtime/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *state_words(const report_run *run)
{
    switch (run->h.state) {
    case HISTORY_WAITING: return "begins";
    case HISTORY_RUNNING: return "runs";
    case HISTORY_FINISHED: return "finished";
    case HISTORY_STOPPED: return "stopped, can go on";
    case HISTORY_BROKEN: return "broken off";
    case HISTORY_UNTRAINED: break;
    }
    return "not trained";
}

/* The last value of a column; NAN for none. */
static double last_of(const report_run *run, size_t offset)
{
    for (size_t k = run->h.metrics.count; k-- > 0;) {
        double value = *(const double *)((const char *)&run->h.metrics.rows[k] + offset);
        if (!isnan(value)) return value;
    }
    return NAN;
}

static double least_valid(const report_run *run)
{
    double least = NAN;
    for (size_t k = 0; k < run->h.metrics.count; k++)
        least = fmin(least, run->h.metrics.rows[k].valid_loss);
    return least;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double report_column_median(const report_run *run, size_t offset)
{
    const metrics_table *t = &run->h.metrics;
    size_t n = 0;
    double median = NAN, *values = malloc((t->count + 1) * sizeof *values);
    for (size_t k = t->count > 1 ? 1 : 0; values && k < t->count; k++) {
        double value = *(const double *)((const char *)&t->rows[k] + offset);
        if (isfinite(value)) values[n++] = value;
    }
    if (n > 0) {
        qsort(values, n, sizeof *values, ascending);
        median = n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
    }
    free(values);
    return median;
}

/* Grouped digits read faster. */
static void print_count(char *text, size_t size, double count)
{
    char digits[40];
    int n = snprintf(digits, sizeof digits, "%.0f", count);
    size_t at = 0;
    for (int i = 0; i < n && at + 8 < size; i++) {
        if (i > 0 && (n - i) % 3 == 0) at += (size_t)snprintf(text + at, size - at, "&#8239;");
        text[at++] = digits[i];
    }
    text[at] = '\0';
}

typedef double row_value(const report_run *run);

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
    return run->h.job.model.kind == MODEL_GPT2 ? exp(value_valid(run)) : NAN;
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
static double value_ranks(const report_run *run)
{
    return history_number(report_leg(run), "ranks", NAN);
}
static double value_threads(const report_run *run)
{
    return history_number(report_leg(run), "threads", NAN);
}
static double value_nodes(const report_run *run)
{
    return history_number(report_leg(run), "nodes", NAN);
}
static double value_peak(const report_run *run)
{
    double gflops = history_number(report_leg(run), "product_gflops", NAN);
    return gflops > 0.0 ? gflops : NAN;
}

typedef enum { AS_COUNT, AS_LOSS, AS_DURATION, AS_ONE_DIGIT } shown_as;

typedef struct {
    const char *name;
    row_value *value;
    shown_as as;
} number_row;

static void print_shown(char *text, size_t size, double value, shown_as as)
{
    switch (as) {
    case AS_COUNT: print_count(text, size, value); break;
    case AS_LOSS: snprintf(text, size, "%.4f", value); break;
    case AS_DURATION: progress_duration(text, size, value); break;
    case AS_ONE_DIGIT: snprintf(text, size, "%.1f", value); break;
    }
}

static void write_numbers(const report *r, const number_row *rows, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        bool there = false;
        for (size_t i = 0; i < r->count; i++) there = there || !isnan(rows[k].value(&r->runs[i]));
        if (!there) continue;
        report_row(r, rows[k].name);
        for (size_t i = 0; i < r->count; i++) {
            char shown[120];
            double value = rows[k].value(&r->runs[i]);
            print_shown(shown, sizeof shown, value, rows[k].as);
            html_number(r->out, value, shown);
        }
        fprintf(r->out, "</tr>\n");
    }
}

typedef void cell_text(char *text, size_t size, const report_run *run);

static void write_texts(const report *r, const char *name, cell_text *print)
{
    report_row(r, name);
    for (size_t i = 0; i < r->count; i++) {
        char text[400] = "";
        print(text, sizeof text, &r->runs[i]);
        fprintf(r->out, "<td class=\"text\">");
        html_text(r->out, *text ? text : "–");
        fprintf(r->out, "</td>");
    }
    fprintf(r->out, "</tr>\n");
}

static void print_state(char *text, size_t size, const report_run *run)
{
    snprintf(text, size, "%s", state_words(run));
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

/* Every leg of a run warns again. */
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
    static const number_row rows[] = {
        {"steps", value_steps, AS_COUNT},
        {"of the job's", value_planned, AS_COUNT},
        {"tokens or examples seen", value_tokens, AS_COUNT},
        {"time of steps", value_seconds, AS_DURATION},
        {"training loss of the last row", value_train, AS_LOSS},
        {"validation loss, last", value_valid, AS_LOSS},
        {"validation loss, least", least_valid, AS_LOSS},
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
    write_texts(r, "state", print_state);
    write_numbers(r, rows, sizeof rows / sizeof rows[0]);
    report_table_end(r);
    fprintf(r->out,
            "<p class=\"soft\">Losses are in nats a token or an example. Speed and "
            "utilization are medians over the rows of metrics.csv without the first.</p>\n");
    for (size_t i = 0; i < r->count; i++) note_run(r, &r->runs[i]);
    write_warnings(r);
}

static void write_differences(const report *r)
{
    bool none = true;
    fprintf(r->out, "<h3>Keys in which the jobs differ</h3>\n");
    report_table(r);
    for (size_t k = 0; k < schema_count; k++) {
        const schema_row *row = &schema_rows[k];
        char first[JOB_TEXT], other[JOB_TEXT];
        bool differ = false;
        for (size_t i = 0; i < r->count; i++) {
            const job *j = &r->runs[i].h.job;
            schema_format(row, j, i ? other : first, JOB_TEXT);
            if (!schema_applies(row, j)) snprintf(i ? other : first, JOB_TEXT, "–");
            differ = differ || (i && strcmp(first, other) != 0);
        }
        if (!differ || strcmp(row->key, "name") == 0) continue;
        none = false;
        report_row(r, row->key);
        for (size_t i = 0; i < r->count; i++) {
            schema_format(row, &r->runs[i].h.job, other, JOB_TEXT);
            if (!schema_applies(row, &r->runs[i].h.job)) snprintf(other, JOB_TEXT, "–");
            fprintf(r->out, "<td class=\"text\">");
            html_text(r->out, other);
            fprintf(r->out, "</td>");
        }
        fprintf(r->out, "</tr>\n");
    }
    report_table_end(r);
    if (none) fprintf(r->out, "<p>None but the name.</p>\n");
}

static status write_job(const report *r, const report_run *run)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory) return fail(STATUS_NOMEM, "memory to write a job");
    status result = job_write(&run->h.job, memory);
    fclose(memory);
    fprintf(r->out, "<details%s><summary>", r->count == 1 ? " open=\"open\"" : "");
    html_text(r->out, run->label);
    fprintf(r->out, "</summary>\n<pre>");
    if (text) html_text(r->out, text);
    fprintf(r->out, "</pre></details>\n");
    free(text);
    return result;
}

static void copy_text(char *text, size_t size, const json_t *object, const char *key)
{
    const char *found = json_string_value(json_object_get(object, key));
    snprintf(text, size, "%s", found ? found : "");
}

static void print_processor(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, report_leg(run), "processor");
}
static void print_precision(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, report_leg(run), "precision");
}
static void print_instructions(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, report_leg(run), "instructions");
    if (!*text) copy_text(text, size, run->state, "instruction_set");
}
static void print_libraries(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, run->state, "libraries");
}
static void print_version(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, report_leg(run), "version");
}
static void print_began(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, report_leg(run), "time");
}

status report_write_jobs(const report *r)
{
    static const number_row rows[] = {
        {"nodes", value_nodes, AS_COUNT},
        {"ranks", value_ranks, AS_COUNT},
        {"threads a rank", value_threads, AS_COUNT},
        {"peak of matrix products, GFLOP/s", value_peak, AS_ONE_DIGIT},
    };
    report_section(r, "Machine");
    report_table(r);
    write_texts(r, "newest leg began", print_began);
    write_texts(r, "processor", print_processor);
    write_texts(r, "instructions", print_instructions);
    write_texts(r, "precision", print_precision);
    write_numbers(r, rows, sizeof rows / sizeof rows[0]);
    write_texts(r, "libraries", print_libraries);
    write_texts(r, "vario", print_version);
    report_table_end(r);
    report_section(r, r->count > 1 ? "Jobs" : "Job");
    if (r->count > 1) write_differences(r);
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < r->count; i++) result = write_job(r, &r->runs[i]);
    html_end(r->out);
    return result;
}
