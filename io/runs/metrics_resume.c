/* What of metrics.csv a run goes on with. Steps rise from row to row: of the rows that are whole
 * those stay that make the longest rising sequence (patience sorting), so a damaged number costs
 * its own row alone. */
#include "io/files/file.h"
#include "io/runs/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TABLE_LIMIT = 1 << 30, LINES_NAMED = 8, PATH_SIZE = 4096 };

typedef struct {
    metrics_lines at; /* its line */
    uint64_t step;
    double seconds;
    bool whole, rises;
} row;

typedef struct {
    const char *path;
    size_t columns;
    row *rows; /* [count] */
    size_t count, capacity;
    char first[STATUS_MESSAGE_SIZE]; /* what is wrong with the first that is not whole */
} table;

static status add(table *t, const row *r)
{
    if (t->count == t->capacity) {
        size_t more = t->capacity ? 2 * t->capacity : 64;
        row *grown = realloc(t->rows, more * sizeof *grown);
        if (!grown) return fail(STATUS_NOMEM, "memory for %zu rows of %s", more, t->path);
        t->rows = grown;
        t->capacity = more;
    }
    t->rows[t->count++] = *r;
    return STATUS_OK;
}

/* A last row that a process which was killed did not end, and whose step the run makes again. */
static bool is_expected(const metrics_lines *l, uint64_t steps)
{
    char *end;
    unsigned long long step = strtoull(l->line, &end, 10);
    return l->torn && end != l->line && *end == ',' && step > steps;
}

static status read_rows(table *t, const char *text, size_t size, size_t header, uint64_t steps)
{
    metrics_lines l = {.at = text + header, .end = text + size, .number = 1};
    status result = STATUS_OK;
    while (!result && metrics_next_line(&l)) {
        metrics values;
        if (is_expected(&l, steps)) break;
        if (l.torn)
            fail(STATUS_INPUT, "%s:%zu: a row without its end found", t->path, l.number);
        else
            metrics_parse_row(&values, &l, t->columns, t->path);
        bool whole = !*status_message();
        if (!whole && !*t->first) snprintf(t->first, sizeof t->first, "%s", status_message());
        status_clear();
        row r = {.at = l, .whole = whole};
        if (whole) r.step = values.step, r.seconds = values.seconds;
        result = add(t, &r);
    }
    return result;
}

/* Mark the longest sequence of whole rows whose steps rise.
 * @param last    [count] of each length so far: the row with the least step that ends one
 * @param before  [count] of each row: the one before it in its sequence */
static void find_rising(table *t, size_t *last, size_t *before)
{
    size_t longest = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (!t->rows[i].whole) continue;
        size_t low = 0, high = longest;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (t->rows[last[middle]].step < t->rows[i].step)
                low = middle + 1;
            else
                high = middle;
        }
        before[i] = low > 0 ? last[low - 1] : SIZE_MAX;
        last[low] = i;
        if (low == longest) longest++;
    }
    for (size_t i = longest ? last[longest - 1] : SIZE_MAX; i != SIZE_MAX; i = before[i])
        t->rows[i].rises = true;
}

static status choose_rows(table *t)
{
    size_t *last = calloc(t->count + 1, sizeof *last);
    size_t *before = calloc(t->count + 1, sizeof *before);
    status result = last && before
                        ? STATUS_OK
                        : fail(STATUS_NOMEM, "memory for %zu rows of %s", t->count, t->path);
    if (!result) find_rising(t, last, before);
    free(last);
    free(before);
    return result;
}

/* The present header and the rows that stay, each with the empty fields of columns that came
 * later. */
static void print_kept(FILE *out, const table *t, uint64_t steps, double *seconds)
{
    size_t columns = 1;
    for (const char *c = metrics_header; *c; c++) columns += *c == ',';
    fputs(metrics_header, out);
    for (size_t i = 0; i < t->count; i++) {
        const row *r = &t->rows[i];
        if (!r->rises || r->step > steps) continue;
        fwrite(r->at.line, 1, r->at.length, out);
        for (size_t k = t->columns; k < columns; k++) fputc(',', out);
        fputc('\n', out);
        *seconds = r->seconds;
    }
}

static status write_kept(const table *t, uint64_t steps, double *seconds)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to write %s", t->path);
    print_kept(out, t, steps, seconds);
    status result = fclose(out) == 0 ? file_write_atomic(t->path, text, size)
                                     : fail(STATUS_NOMEM, "memory to write %s", t->path);
    free(text);
    return result;
}

/* "3 rows are damaged and now in PATH.damaged: lines 4, 7 and 9 (WHY)". */
static void metrics_resume_describe(const table *t, size_t damaged, char said[STATUS_MESSAGE_SIZE])
{
    size_t named = 0, n;
    n = (size_t)snprintf(said, STATUS_MESSAGE_SIZE,
                         "%.300s: %zu damaged %s, now in %.300s.damaged: ", t->path, damaged,
                         damaged == 1 ? "row found" : "rows found", t->path);
    for (size_t i = 0; i < t->count && named < LINES_NAMED && n < STATUS_MESSAGE_SIZE; i++)
        if (!t->rows[i].rises)
            n += (size_t)snprintf(said + n, STATUS_MESSAGE_SIZE - n, "%s%zu",
                                  named++       ? ", "
                                  : damaged > 1 ? "lines "
                                                : "line ",
                                  t->rows[i].at.number);
    if (n < STATUS_MESSAGE_SIZE)
        snprintf(said + n, STATUS_MESSAGE_SIZE - n, "%s; the other rows stay%s%.200s%s",
                 damaged > named ? " and others" : "", *t->first ? " (" : "", t->first,
                 *t->first ? ")" : "");
}

static status set_aside(const table *t, char said[STATUS_MESSAGE_SIZE])
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0, damaged = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to write %s", t->path);
    for (size_t i = 0; i < t->count; i++) {
        const row *r = &t->rows[i];
        if (r->rises) continue;
        if (damaged++) fputc('\n', out);
        fwrite(r->at.line, 1, r->at.length, out);
    }
    snprintf(path, sizeof path, "%s.damaged", t->path);
    status result = fclose(out) == 0 ? STATUS_OK : fail(STATUS_NOMEM, "memory to write %s", path);
    if (!result && damaged > 0) result = file_append_line(path, text, size);
    if (!result && damaged > 0) metrics_resume_describe(t, damaged, said);
    free(text);
    return result;
}

static status resume(table *t, const char *text, size_t size, uint64_t steps, double *seconds,
                     char said[STATUS_MESSAGE_SIZE])
{
    size_t header;
    status result = metrics_check_header(text, &header, &t->columns, t->path);
    if (!result) result = read_rows(t, text, size, header, steps);
    if (!result) result = choose_rows(t);
    if (!result) result = set_aside(t, said);
    return result ? result : write_kept(t, steps, seconds);
}

/* There is not even a whole header; what there is stays in PATH.damaged. */
static status begin_anew(const char *path, const char *text, size_t size, uint64_t steps,
                         char said[STATUS_MESSAGE_SIZE])
{
    char damaged[PATH_SIZE];
    snprintf(damaged, sizeof damaged, "%s.damaged", path);
    status result = size > 0 ? file_append_line(damaged, text, size) : STATUS_OK;
    if (result) return result;
    snprintf(said, STATUS_MESSAGE_SIZE,
             "%.500s: no rows found of the %" PRIu64
             " steps before: begun anew, and seconds count from here",
             path, steps);
    return file_write_atomic(path, metrics_header, strlen(metrics_header));
}

status metrics_resume(const char *path, uint64_t steps, double *seconds,
                      char said[STATUS_MESSAGE_SIZE])
{
    char *text = NULL;
    size_t size = 0;
    struct stat info;
    table t = {.path = path};
    *seconds = 0.0;
    said[0] = '\0';
    if (stat(path, &info) != 0 && errno == ENOENT) return begin_anew(path, NULL, 0, steps, said);
    status result = file_read_text(&text, &size, path, TABLE_LIMIT);
    if (!result && !memchr(text, '\n', size))
        result = begin_anew(path, text, size, steps, said);
    else if (!result)
        result = resume(&t, text, size, steps, seconds, said);
    free(t.rows);
    free(text);
    return result;
}
