/* Lines of JSON are read one by one: a process that was killed leaves half a line, and the next
 * restart goes on behind it. */
#include "io/runs/history.h"

#include "io/files/file.h"
#include "io/files/lock.h"
#include "io/runs/job_of_run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_LIMIT = 1 << 28, PATH_SIZE = 2 * JOB_TEXT + 32 };

/* Where the machine went down a file may have a block of NULs. */
static void parse_lines(json_t *lines, size_t *damaged, const char *text, size_t size)
{
    for (const char *line = text, *end = text + size; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((next ? next : end) - line);
        json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
        if (json_is_object(object))
            json_array_append(lines, object);
        else
            *damaged += length > 0;
        json_decref(object);
        line += length + (next != NULL);
    }
}

status history_read_lines(json_t **lines, size_t *damaged, const char *directory, const char *name)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    *damaged = 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    *lines = json_array();
    if (!*lines) return fail(STATUS_NOMEM, "memory for the lines of %s", path);
    if (access(path, F_OK) != 0) return STATUS_OK;
    status result = file_read_text(&text, &size, path, LINES_LIMIT);
    if (!result) parse_lines(*lines, damaged, text, size);
    free(text);
    return result;
}

double history_number(const json_t *object, const char *key, double otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static const char *event_name(const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "event"));
    return name ? name : "";
}

const json_t *history_event(const history *h, const char *name)
{
    for (size_t i = json_array_size(h->events); i-- > 0;) {
        const json_t *event = json_array_get(h->events, i);
        if (strcmp(event_name(event), name) == 0) return event;
    }
    return NULL;
}

size_t history_count(const history *h, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(h->events); i++)
        count += strcmp(event_name(json_array_get(h->events, i)), name) == 0;
    return count;
}

const json_t *history_restart(const history *h)
{
    const json_t *resumed = history_event(h, "resumed");
    return resumed ? resumed : history_event(h, "started");
}

const char *history_words(history_state state)
{
    switch (state) {
    case HISTORY_WAITING: return "begins";
    case HISTORY_RUNNING: return "runs";
    case HISTORY_FINISHED: return "finished";
    case HISTORY_STOPPED: return "stopped, can go on";
    case HISTORY_BROKEN: return "broken off";
    case HISTORY_UNTRAINED: break;
    }
    return "not trained";
}

/* What the last of these events says: of a restart that began, or of one that ended. */
static history_state last_state(const json_t *events)
{
    for (size_t i = json_array_size(events); i-- > 0;) {
        const char *name = event_name(json_array_get(events, i));
        if (strcmp(name, "finished") == 0) return HISTORY_FINISHED;
        if (strcmp(name, "stopped") == 0 || strcmp(name, "paused") == 0) return HISTORY_STOPPED;
        if (strcmp(name, "started") == 0 || strcmp(name, "resumed") == 0) return HISTORY_BROKEN;
    }
    return HISTORY_UNTRAINED;
}

status history_broken(bool *broken, const char *directory)
{
    json_t *events;
    size_t damaged;
    status result = history_read_lines(&events, &damaged, directory, "events.jsonl");
    *broken = last_state(events) == HISTORY_BROKEN;
    json_decref(events);
    return result;
}

/* A process that has the run may not have said yet that its restart began. */
static history_state state_of(const history *h, bool locked)
{
    history_state last = last_state(h->events);
    if (!locked) return last;
    return h->metrics.count > 0 ? HISTORY_RUNNING : HISTORY_WAITING;
}

/* A lock is asked for before the events are read: a run that ends between the two has ended. And
 * after them: one that goes on between the two is not broken off. */
static status read_all(history *h)
{
    char path[PATH_SIZE], lock[PATH_SIZE];
    snprintf(lock, sizeof lock, "%s/.lock", h->path);
    bool locked = lock_is_held(lock);
    if (!job_run_exists(h->path))
        return fail(STATUS_INPUT, "%s: a run directory expected, no job.yaml found in it", h->path);
    status result = job_of_run(&h->job, h->path, h->said);
    snprintf(path, sizeof path, "%s/metrics.csv", h->path);
    if (!result && access(path, F_OK) == 0) result = metrics_read(&h->metrics, path);
    if (!result) result = history_read_lines(&h->events, &h->damaged, h->path, "events.jsonl");
    if (result) return result;
    h->state = state_of(h, locked);
    if (h->state == HISTORY_BROKEN) h->state = state_of(h, lock_is_held(lock));
    return STATUS_OK;
}

status history_read(history *h, const char *path)
{
    size_t length = strlen(path);
    *h = (history){0};
    while (length > 1 && path[length - 1] == '/') length--;
    if (length >= sizeof h->path)
        return fail(STATUS_INPUT, "%s: a path of at most %zu bytes expected", path,
                    sizeof h->path - 1);
    memcpy(h->path, path, length);
    status result = read_all(h);
    if (result) history_close(h);
    return result;
}

void history_close(history *h)
{
    metrics_close(&h->metrics);
    json_decref(h->events);
    *h = (history){0};
}
