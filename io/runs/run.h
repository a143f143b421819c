/** A run's directory: made, locked, logged to. Rank 0 alone calls these. */
#ifndef VARIO_IO_RUNS_RUN_H
#define VARIO_IO_RUNS_RUN_H

#include "base/status.h"
#include "io/jobs/job.h"
#include "io/runs/metrics.h"

#include <stdint.h>
#include <stdio.h>

struct json_t;
typedef struct run run;

/** Names of the files beside its checkpoints, NULL behind the last. */
extern const char *const run_files[];

/** Make output/name where it is absent, and lock it (io/files/lock.h, on .lock).
 * @return STATUS_INPUT when another live process holds the lock, or the path is no directory or not
 * writable, naming which */
status run_open(run **r, const job *j);
void run_close(run **r);
/** Close, and remove the directory if it holds nothing: what was to be written there failed. */
void run_discard(run **r);
const char *run_path(const run *r);

/** Whether the lock is still this process's. @return as lock_check */
status run_check(const run *r);

/** Remove checkpoints, metrics and events of an earlier run (--fresh). Refused (STATUS_INPUT)
 * unless `force`: the message says how many checkpoints would be lost and how to force it. */
status run_clear(run *r, bool force);

/** Write job.yaml (resolved) under another name and rename it. */
status run_write_job(run *r, const job *j);

/** Make metrics.csv ready for rows after `steps`: those of a restart that went further than its
 * last checkpoint are removed, and what metrics_resume says of damaged ones is done.
 * @param seconds, said  out: as metrics_resume's */
status run_metrics_open(run *r, uint64_t steps, double *seconds, char said[STATUS_MESSAGE_SIZE]);

/** Write rows for TensorBoard too (io/runs/tensorboard.h), in PATH/tensorboard. What goes wrong
 * with it costs nothing but a warning, and ends it. */
void run_tensorboard_open(run *r, uint64_t steps);

/** Append a row. Where it cannot be written it waits, and goes before the next.
 * @return STATUS_OK, STATUS_IO or STATUS_NOMEM */
status run_metrics_append(run *r, const metrics *row);

/** Append one JSON object to events.jsonl: {"time": ..., "event": event, KEY: VALUE, ...}. It waits
 * as rows do.
 * @param details  an object of these members, dropped; NULL: memory for it ran out
 * @return STATUS_OK, STATUS_IO, or STATUS_NOMEM (a line that could not be made is lost) */
status run_event(run *r, const char *event, struct json_t *details);

/** Rows that wait. */
size_t run_rows_waiting(const run *r);

/** Try once more to write what waits; what still cannot be is lost, and a warning says how much. */
void run_settle(run *r);

/** Refuse (STATUS_IO, naming both figures) when the file system of the run has fewer free bytes
 * than `bytes`. */
status run_check_space(const run *r, uint64_t bytes);

#endif
