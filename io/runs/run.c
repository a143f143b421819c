/* The run's directory. */
#include "io/runs/run.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/files/file.h"
#include "io/files/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { RUN_PATH = 2 * JOB_TEXT + 2, HISTORY_LIMIT = 1 << 30 };

struct run {
    char path[RUN_PATH];
    folder_lock *lock;
    FILE *metrics;
};

static void join(char *out, size_t size, const run *r, const char *name)
{
    snprintf(out, size, "%s/%s", r->path, name);
}

static status take_lock(run *r)
{
    char path[RUN_PATH + 16];
    join(path, sizeof path, r, ".lock");
    return lock_take(&r->lock, path, r->path, "another run");
}

status run_open(run **out, const job *j)
{
    *out = NULL;
    run *r = calloc(1, sizeof *r);
    if (!r) return fail(STATUS_NOMEM, "memory for a run");
    snprintf(r->path, sizeof r->path, "%s/%s", j->output, j->name);
    status result = file_make_directories(r->path);
    if (!result) result = take_lock(r);
    if (result) run_close(&r);
    *out = r;
    return result;
}

void run_close(run **out)
{
    run *r = *out;
    if (!r) return;
    if (r->metrics) fclose(r->metrics);
    lock_release(&r->lock);
    free(r);
    *out = NULL;
}

static bool holds_only_lock(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, NULL), others = 0;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        others +=
            strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strncmp(name, ".lock", 5) != 0;
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return n >= 0 && others == 0;
}

void run_discard(run **out)
{
    run *r = *out;
    if (r && holds_only_lock(r->path)) {
        char path[RUN_PATH + 16];
        join(path, sizeof path, r, ".lock");
        unlink(path);
        lock_release(&r->lock);
        rmdir(r->path);
    }
    run_close(out);
}

const char *run_path(const run *r)
{
    return r->path;
}

status run_check(const run *r)
{
    return lock_check(r->lock);
}

static status remove_checkpoints(const run *r, const uint64_t *steps, size_t count)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < count; i++) {
        char path[RUN_PATH + 32];
        snprintf(path, sizeof path, "%s/step-%08" PRIu64, r->path, steps[i]);
        result = file_remove_tree(path);
    }
    return result;
}

status run_clear(run *r, bool force)
{
    uint64_t *steps;
    size_t count;
    status result = checkpoint_list(&steps, &count, r->path);
    if (!result && count > 0 && !force)
        result = fail(STATUS_INPUT,
                      "%s: --fresh would delete %zu checkpoints: expected --force beside it, or "
                      "another name",
                      r->path, count);
    if (!result) result = remove_checkpoints(r, steps, count);
    free(steps);
    static const char *const names[] = {"metrics.csv",   "events.jsonl", "job.yaml",
                                        "vocab.json",    "merges.txt",   "evaluation.json",
                                        "samples.jsonl", "report.html"};
    for (size_t i = 0; !result && i < sizeof names / sizeof names[0]; i++) {
        char path[RUN_PATH + 16];
        join(path, sizeof path, r, names[i]);
        result = file_remove_tree(path);
    }
    return result;
}

status run_write_job(run *r, const job *j)
{
    char path[RUN_PATH + 16], *text = NULL;
    size_t size = 0;
    join(path, sizeof path, r, "job.yaml");
    FILE *memory = open_memstream(&text, &size);
    if (!memory) return fail(STATUS_NOMEM, "memory to write %s", path);
    status result = job_write(j, memory);
    fclose(memory);
    if (!result) result = file_write_atomic(path, text, size);
    free(text);
    return result;
}

/* Whether a row is whole up to `seconds` and of a step that is kept. The text ends in NUL; sscanf
 * would measure the rest of it again for every row. */
static bool row_kept(const char *line, uint64_t steps, double *seconds)
{
    char *end;
    unsigned long long step = strtoull(line, &end, 10);
    if (end == line || *end != ',' || step > steps) return false;
    const char *count = end + 1;
    (void)strtoull(count, &end, 10);
    if (end == count || *end != ',') return false;
    const char *number = end + 1;
    double at = strtod(number, &end);
    if (end == number || *end != ',') return false;
    *seconds = at;
    return true;
}

/* Length of the part of the rows that a checkpoint of `steps` steps has seen. */
static size_t rows_kept(const char *text, size_t size, uint64_t steps, double *seconds)
{
    const char *line = text, *end = text + size;
    size_t kept = 0;
    for (size_t row = 0; line < end; row++) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (!next) break; /* a torn last row */
        if (row > 0 && !row_kept(line, steps, seconds)) break;
        line = next + 1;
        kept = (size_t)(line - text);
    }
    return kept;
}

static size_t count_commas(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) count += text[i] == ',';
    return count;
}

/* Write the present header and the rows below an older one, each with the empty fields of columns
 * that came later. */
static void write_rows(FILE *out, const char *text, size_t kept, size_t header_size)
{
    size_t missing =
        count_commas(metrics_header, strlen(metrics_header)) - count_commas(text, header_size);
    fputs(metrics_header, out);
    const char *end = text + kept, *line = text + header_size;
    for (const char *next; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        fwrite(line, 1, (size_t)(next - line), out);
        for (size_t i = 0; i < missing; i++) fputc(',', out);
        fputc('\n', out);
    }
}

static status replace_rows(const char *path, const char *text, size_t kept, size_t header_size)
{
    char *rows = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&rows, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to write %s", path);
    write_rows(out, text, kept, header_size);
    status result = fclose(out) == 0 ? file_write_atomic(path, rows, size)
                                     : fail(STATUS_NOMEM, "memory to write %s", path);
    free(rows);
    return result;
}

static status keep_rows(const char *path, uint64_t steps, double *seconds)
{
    char *text = NULL;
    size_t size = 0, kept = 0, header_size = 0;
    status result = file_read_text(&text, &size, path, HISTORY_LIMIT);
    if (!result) kept = rows_kept(text, size, steps, seconds);
    if (kept > 0) result = metrics_check_header(text, &header_size, path);
    if (!result) result = replace_rows(path, text, kept, header_size);
    free(text);
    return result;
}

status run_metrics_open(run *r, uint64_t steps, double *seconds)
{
    char path[RUN_PATH + 16];
    *seconds = 0.0;
    join(path, sizeof path, r, "metrics.csv");
    status result = steps > 0 && access(path, F_OK) == 0
                        ? keep_rows(path, steps, seconds)
                        : file_write_atomic(path, metrics_header, strlen(metrics_header));
    if (result) return result;
    r->metrics = fopen(path, "ab");
    return r->metrics ? STATUS_OK : fail(STATUS_IO, "open %s: %s", path, strerror(errno));
}

status run_metrics_append(run *r, const metrics *row)
{
    FILE *out = r->metrics;
    metrics_print(out, row);
    if (fflush(out) == 0 && !ferror(out)) return STATUS_OK;
    return fail(STATUS_IO, "write %s/metrics.csv: %s", r->path, strerror(errno));
}

status run_event(run *r, const char *event, const char *details)
{
    char path[RUN_PATH + 16], when[32], *line = NULL;
    size_t size = 0;
    join(path, sizeof path, r, "events.jsonl");
    FILE *out = open_memstream(&line, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to write %s", path);
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    fprintf(out, "{\"time\": \"%s\", \"event\": \"%s\"%s%s}", when, event, *details ? ", " : "",
            details);
    status result = fclose(out) == 0 ? file_append_line(path, line, size)
                                     : fail(STATUS_NOMEM, "memory to write %s", path);
    free(line);
    return result;
}

status run_check_space(const run *r, uint64_t bytes)
{
    struct statvfs info;
    if (statvfs(r->path, &info) != 0) return fail(STATUS_IO, "%s: %s", r->path, strerror(errno));
    uint64_t there = (uint64_t)info.f_bavail * info.f_frsize;
    if (there >= bytes) return STATUS_OK;
    return fail(STATUS_IO, "%s: %" PRIu64 " bytes free found, %" PRIu64 " expected for checkpoints",
                r->path, there, bytes);
}
