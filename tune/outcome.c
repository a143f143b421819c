/* A row is written before the checkpoint of its step: both are asked for. */
#include "tune/outcome.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/files/file.h"
#include "io/runs/history.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOG_LIMIT = 1 << 26 };

static const metrics *row_of(const metrics_table *t, uint64_t step)
{
    for (size_t i = t->count; i-- > 0;)
        if (t->rows[i].step <= step) return &t->rows[i];
    return NULL;
}

static bool has_checkpoint(const char *run, uint64_t step)
{
    uint64_t *steps = NULL;
    size_t count = 0;
    if (checkpoint_list(&steps, &count, run)) status_clear();
    bool there = count > 0 && steps[0] >= step;
    free(steps);
    return there;
}

/* The last restart says how it ended. */
static status read_divergence(bool *diverged, const char *run)
{
    json_t *events;
    size_t damaged;
    status result = history_read_lines(&events, &damaged, run, "events.jsonl");
    *diverged = false;
    for (size_t i = json_array_size(events); i-- > 0;) {
        const char *name = json_string_value(json_object_get(json_array_get(events, i), "event"));
        *diverged = name && strcmp(name, "diverged") == 0;
        if (*diverged || (name && (strcmp(name, "started") == 0 || strcmp(name, "resumed") == 0)))
            break;
    }
    json_decref(events);
    return result;
}

static status judge(outcome *o, const metrics_table *t, const char *run, uint64_t step)
{
    bool diverged = false;
    const metrics *row = row_of(t, step);
    if (row) *o = (outcome){.loss = INFINITY, .step = row->step, .seconds = row->seconds};
    if (row && row->step == step && has_checkpoint(run, step)) {
        bool finite = isfinite(row->valid_loss);
        o->state = finite ? OUTCOME_REACHED : OUTCOME_DIVERGED;
        if (finite) o->loss = row->valid_loss;
        return STATUS_OK;
    }
    status result = read_divergence(&diverged, run);
    if (!result && diverged) o->state = OUTCOME_DIVERGED;
    return result;
}

status outcome_read(outcome *o, const char *run, uint64_t step)
{
    char path[4096];
    metrics_table t = {0};
    *o = (outcome){.loss = INFINITY};
    snprintf(path, sizeof path, "%s/metrics.csv", run);
    if (access(path, F_OK) != 0) return STATUS_OK;
    status result = metrics_read(&t, path);
    if (!result) result = judge(o, &t, run, step);
    metrics_close(&t);
    return result;
}

void outcome_words(char sentence[STATUS_MESSAGE_SIZE], const char *path)
{
    char *text = NULL;
    size_t size = 0;
    sentence[0] = '\0';
    if (file_read_text(&text, &size, path, LOG_LIMIT)) status_clear();
    while (text && size > 0) {
        while (size > 0 && text[size - 1] == '\n') text[--size] = '\0';
        char *line = text + size;
        while (line > text && line[-1] != '\n') line--;
        if (strncmp(line, "vario: ", 7) == 0) {
            snprintf(sentence, STATUS_MESSAGE_SIZE, ": %.600s", line + 7);
            break;
        }
        size = (size_t)(line - text);
    }
    free(text);
}
