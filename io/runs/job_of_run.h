/** The job of a run: its job.yaml or, where that is lost or damaged, what its checkpoints say. */
#ifndef VARIO_IO_RUNS_JOB_OF_RUN_H
#define VARIO_IO_RUNS_JOB_OF_RUN_H

#include "io/jobs/job.h"

/** Read the job of a run or of one of its checkpoints; not collective.
 *
 * job.yaml counts: of the run, also for a checkpoint in it. A file that is not there or is no job
 * is made up for by the newest state.json that is whole; nothing is written.
 *
 * @param path  a run's directory, or a checkpoint's
 * @param said  out: why job.yaml was not taken and what was, for the user; "": it was
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT (no run; neither has a job) */
status job_of_run(job *j, const char *path, char said[STATUS_MESSAGE_SIZE]);

/** Whether a directory is a run's: it holds job.yaml or checkpoints. */
bool job_run_exists(const char *path);

#endif
