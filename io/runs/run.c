/* The run's directory. metrics.csv and events.jsonl are opened for every line: they may be replaced
 * while a run goes on, by an editor or by a person who makes room. */
#include "io/runs/run.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/files/file.h"
#include "io/files/file_calls.h"
#include "io/files/json_text.h"
#include "io/files/lock.h"
#include "io/runs/tensorboard.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { RUN_PATH = 2 * JOB_TEXT + 2 };

/* Lines that could not be written yet, with the ends between them. */
typedef struct {
    char *text;
    size_t size, lines;
} waiting;

const char *const run_files[] = {
    "metrics.csv",     "metrics.csv.damaged", "events.jsonl",   "tensorboard",
    "job.yaml",        "vocab.json",          "tokenizer.json", "merges.txt",
    "evaluation.json", "samples.jsonl",       "report.html",    NULL};

struct run {
    char path[RUN_PATH];
    folder_lock *lock;
    waiting rows, events;
    tensorboard *board; /* NULL: none */
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
    tensorboard_close(&r->board);
    lock_release(&r->lock);
    free(r->rows.text);
    free(r->events.text);
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
    for (size_t i = 0; !result && run_files[i]; i++) {
        char path[RUN_PATH + 32];
        join(path, sizeof path, r, run_files[i]);
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

status run_metrics_open(run *r, uint64_t steps, double *seconds, char said[STATUS_MESSAGE_SIZE])
{
    char path[RUN_PATH + 16];
    join(path, sizeof path, r, "metrics.csv");
    if (steps > 0) return metrics_resume(path, steps, seconds, said);
    *seconds = 0.0;
    said[0] = '\0';
    return file_write_atomic(path, metrics_header, strlen(metrics_header));
}

/* Behind those that wait. */
static status add_line(waiting *w, const char *line, size_t size, const char *path)
{
    size_t end = w->lines > 0;
    char *grown = realloc(w->text, w->size + end + size);
    if (!grown) return fail(STATUS_NOMEM, "memory for a line of %s", path);
    if (end) grown[w->size] = '\n';
    memcpy(grown + w->size + end, line, size);
    *w = (waiting){grown, w->size + end + size, w->lines + 1};
    return STATUS_OK;
}

/* @param header  of a file that is gone, NULL: none */
static status write_waiting(waiting *w, const char *path, const char *header)
{
    struct stat info;
    status result = STATUS_OK;
    if (header && (stat(path, &info) != 0 ? errno == ENOENT : info.st_size == 0))
        result = file_write_atomic(path, header, strlen(header));
    if (!result) result = file_append_line(path, w->text, w->size);
    if (!result) w->size = w->lines = 0;
    return result;
}

static status append(const run *r, waiting *w, const char *name, const char *header,
                     const char *line, size_t size)
{
    char path[RUN_PATH + 16];
    join(path, sizeof path, r, name);
    status result = add_line(w, line, size, path);
    return result ? result : write_waiting(w, path, header);
}

/* The message of a failure that is under way stays. */
static void settle_board(run *r, status result)
{
    if (!result) return;
    status_warn("%s; TensorBoard's files end here", status_message());
    status_clear();
    tensorboard_close(&r->board);
}

void run_tensorboard_open(run *r, uint64_t steps)
{
    char path[RUN_PATH + 16];
    join(path, sizeof path, r, "tensorboard");
    settle_board(r, tensorboard_open(&r->board, path, steps));
}

status run_metrics_append(run *r, const metrics *row)
{
    if (r->board) settle_board(r, tensorboard_append(r->board, row));
    char *line = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);
    if (!out) return fail(STATUS_NOMEM, "memory for a row of %s/metrics.csv", r->path);
    metrics_print(out, row);
    status result = fclose(out) == 0 ? append(r, &r->rows, "metrics.csv", metrics_header, line,
                                              size - 1) /* without its end */
                                     : fail(STATUS_NOMEM, "memory for a row of %s", r->path);
    free(line);
    return result;
}

size_t run_rows_waiting(const run *r)
{
    return r->rows.lines;
}

static void settle(const run *r, waiting *w, const char *name, const char *header)
{
    char path[RUN_PATH + 16];
    bool failing = *status_message(); /* the cause of an end stays */
    join(path, sizeof path, r, name);
    if (w->lines == 0 || !write_waiting(w, path, header)) return;
    status_warn("%s: the last %zu lines could not be written and are lost%s%s", path, w->lines,
                failing ? "" : ": ", failing ? "" : status_message());
    if (!failing) status_clear();
}

void run_settle(run *r)
{
    settle(r, &r->rows, "metrics.csv", metrics_header);
    settle(r, &r->events, "events.jsonl", NULL);
}

status run_event(run *r, const char *event, json_t *details)
{
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *o = json_pack("{ss ss}", "time", when, "event", event);
    json_text_join(&o, details);
    char *line = json_text_make(o, 0);
    status result = line ? append(r, &r->events, "events.jsonl", NULL, line,
                                  strlen(line) - 1) /* without its end */
                         : fail(STATUS_NOMEM, "memory for an event of %s", r->path);
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
