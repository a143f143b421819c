/** A run that a verb makes of others: nothing of what its directory held is touched before all of
 * the new checkpoint is on disk. */
#ifndef VARIO_ANALYSIS_NEW_RUN_H
#define VARIO_ANALYSIS_NEW_RUN_H

#include "io/checkpoints/checkpoint_sink.h"
#include "io/jobs/job.h"
#include "io/runs/run.h"
#include "runtime/comm.h"

typedef struct {
    const job *job; /**< the new run's; its directory is output/name */
    comm *c;
    const char *source; /**< the input whose tokenizer is the new run's; NULL: none has one */
    bool force;         /**< replace the checkpoints that the directory holds */
    char path[2 * JOB_TEXT + 2];
    run *run; /**< rank 0 only */
    checkpoint_sink *sink;
} new_run;

/** Name the run and refuse, before anything is read, a directory that holds an input or, without
 * force, checkpoints; collective.
 * @param inputs  [count] runs or checkpoints of them; NULL entries are passed over
 * @return STATUS_OK or STATUS_INPUT, the same on all ranks; new_run_close takes n either way */
status new_run_open(new_run *n, const job *j, comm *c, bool force, const char *const *inputs,
                    size_t count);

/** Make and lock the directory, and look whether the disk can hold the checkpoint; collective.
 * @return STATUS_OK, STATUS_INPUT (in use, or it has checkpoints now), STATUS_IO, STATUS_NOMEM */
status new_run_lock(new_run *n, const parameters *p, const saved_array *arrays, size_t count);

/** Begin the checkpoint of step 0 in n->sink; collective.
 * @param source  facts of the checkpoint that it is made of: threads and versions stay those, so
 *                that state.json does not depend on who makes the run; steps and counts become 0 */
status new_run_begin(new_run *n, const checkpoint_facts *source, const checkpoint_prior *prior,
                     const parameters *p, const saved_array *arrays, size_t count);

/** Write this rank's part of an array as a run begins with it; local.
 * @param buffer  [count], which is a multiple of 256
 * @return false after a failure, which new_run_settle tells */
bool new_run_write_first(const new_run *n, const array_list *list, size_t array,
                         const sharding *owned, float *buffer, size_t count);

/** Wait until all that was given to the sink is on disk; collective. */
status new_run_settle(new_run *n);

/** Put the settled checkpoint, the job and an event in the place of what was there; collective.
 * @param details  run_event's, but that they stay the caller's; rank 0's count */
status new_run_publish(new_run *n, const char *event, struct json_t *details);

/** Close; what was not published is removed, with the directory where nothing else is in it;
 * collective. */
void new_run_close(new_run *n);

#endif
