/** The plan on disk: tune.json, and the jobs that runs are started with. */
#ifndef VARIO_TUNE_PLAN_FILE_H
#define VARIO_TUNE_PLAN_FILE_H

#include "io/files/lock.h"
#include "tune/plan.h"

/** Make the folder and write the plan into it, or find the same plan there.
 * @return STATUS_OK, STATUS_IO, STATUS_NOMEM, or STATUS_INPUT: another plan is there (the message
 *         names what differs), or the directory of a run */
status plan_file_settle(const tune_plan *p);

/** Take the lock of the folder's own files, plan and results, for as long as it takes to write
 * them; another process that has it is waited for.
 * @return as lock_take */
status plan_file_lock(folder_lock **l, const tune_plan *p);

#endif
