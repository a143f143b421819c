/* The machines that computed runs, and their jobs. */
#include "io/jobs/job_schema.h"
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double value_ranks(const report_run *run)
{
    return history_number(history_restart(&run->h), "ranks", NAN);
}
static double value_threads(const report_run *run)
{
    return history_number(history_restart(&run->h), "threads", NAN);
}
static double value_nodes(const report_run *run)
{
    return history_number(history_restart(&run->h), "nodes", NAN);
}
static double value_peak(const report_run *run)
{
    double gflops = history_number(history_restart(&run->h), "product_gflops", NAN);
    return gflops > 0.0 ? gflops : NAN;
}

static void format_key(char *text, const schema_row *row, const job *j)
{
    if (schema_applies(row, j))
        schema_format(row, j, text, JOB_TEXT);
    else
        snprintf(text, JOB_TEXT, "–");
}

static bool differs(const report *r, const schema_row *row)
{
    char first[JOB_TEXT], other[JOB_TEXT];
    format_key(first, row, &r->runs[0].h.job);
    for (size_t i = 1; i < r->count; i++) {
        format_key(other, row, &r->runs[i].h.job);
        if (strcmp(first, other) != 0) return true;
    }
    return false;
}

static void write_differences(const report *r)
{
    size_t found = 0;
    fprintf(r->out, "<h3>Keys in which the jobs differ</h3>\n");
    for (size_t k = 0; k < schema_count; k++) {
        const schema_row *row = &schema_rows[k];
        if (strcmp(row->key, "name") == 0 || !differs(r, row)) continue;
        if (found++ == 0) report_table(r);
        report_row(r, row->key);
        for (size_t i = 0; i < r->count; i++) {
            char text[JOB_TEXT];
            format_key(text, row, &r->runs[i].h.job);
            fprintf(r->out, "<td class=\"text\">");
            html_text(r->out, text);
            fprintf(r->out, "</td>");
        }
        fprintf(r->out, "</tr>\n");
    }
    if (found > 0)
        report_table_end(r);
    else
        fprintf(r->out, "<p>None but the name.</p>\n");
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
    copy_text(text, size, history_restart(&run->h), "processor");
}
static void print_precision(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, history_restart(&run->h), "precision");
}
static void print_instructions(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, history_restart(&run->h), "instructions");
    if (!*text) copy_text(text, size, run->state, "instruction_set");
}
static void print_libraries(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, run->state, "libraries");
}
static void print_version(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, history_restart(&run->h), "version");
}
static void print_began(char *text, size_t size, const report_run *run)
{
    copy_text(text, size, history_restart(&run->h), "time");
}

status report_write_jobs(const report *r)
{
    static const report_number rows[] = {
        {"nodes", value_nodes, AS_COUNT},
        {"ranks", value_ranks, AS_COUNT},
        {"threads a rank", value_threads, AS_COUNT},
        {"peak of matrix products, GFLOP/s", value_peak, AS_ONE_DIGIT},
    };
    report_section(r, "Machine");
    report_table(r);
    report_texts(r, "newest restart began", print_began);
    report_texts(r, "processor", print_processor);
    report_texts(r, "instructions", print_instructions);
    report_texts(r, "precision", print_precision);
    report_numbers(r, rows, sizeof rows / sizeof rows[0]);
    report_texts(r, "libraries", print_libraries);
    report_texts(r, "vario", print_version);
    report_table_end(r);
    report_section(r, r->count > 1 ? "Jobs" : "Job");
    if (r->count > 1) write_differences(r);
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < r->count; i++) result = write_job(r, &r->runs[i]);
    html_end(r->out);
    return result;
}
