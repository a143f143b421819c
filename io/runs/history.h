/** What a run has written down, read again: while it goes on, and after it. Rank 0 alone. */
#ifndef VARIO_IO_RUNS_HISTORY_H
#define VARIO_IO_RUNS_HISTORY_H

#include "io/jobs/job.h"
#include "io/runs/metrics.h"

#include <jansson.h>

typedef enum {
    HISTORY_WAITING,  /**< a process has it, and no step is logged */
    HISTORY_RUNNING,  /**< a process has it */
    HISTORY_FINISHED, /**< ended as the job says */
    HISTORY_STOPPED,  /**< by a signal, a deadline or a pause, with a checkpoint */
    HISTORY_BROKEN,   /**< no process has it, and none said that it ended */
    HISTORY_UNTRAINED /**< no process has it, and no restart ever began */
} history_state;

typedef struct {
    char path[2 * JOB_TEXT];
    job job;
    char said[STATUS_MESSAGE_SIZE]; /**< of a job that is not of job.yaml; "": it is */
    metrics_table metrics;          /**< empty where there is no file */
    json_t *events;                 /**< array of objects */
    size_t damaged;                 /**< lines of events.jsonl that are no objects */
    history_state state;
} history;

/** Read the job (io/runs/job_of_run.h), metrics.csv and events.jsonl of a run directory.
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT (no run, a damaged file); h is empty on failure
 */
status history_read(history *h, const char *path);
void history_close(history *h);

/** The newest event of a name, NULL for none. */
const json_t *history_event(const history *h, const char *name);

/** The event of the newest restart that began, NULL for none. */
const json_t *history_restart(const history *h);

/** A state in words. */
const char *history_words(history_state state);

/** How many events of a name there are. */
size_t history_count(const history *h, const char *name);

/** Objects of a file with one a line, an empty array where there is no file.
 * @param lines    out: an array, the caller drops it, after a failure too
 * @param damaged  out: lines that are no objects, as a torn last one
 * @return STATUS_OK, STATUS_NOMEM or STATUS_INPUT (a file that cannot be read) */
status history_read_lines(json_t **lines, size_t *damaged, const char *directory, const char *name);

/** Whether the newest restart of a run has not said that it ended. The lock is not asked for: for
 * the process that holds it.
 * @return as history_read_lines */
status history_broken(bool *broken, const char *directory);

/** The number of a key, or what else where there is none. */
double history_number(const json_t *object, const char *key, double otherwise);

#endif
