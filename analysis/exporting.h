/** A run's model in Hugging Face's files. */
#ifndef VARIO_ANALYSIS_EXPORTING_H
#define VARIO_ANALYSIS_EXPORTING_H

#include "io/jobs/job.h"
#include "runtime/comm.h"

typedef struct {
    const char *run; /**< or one of its checkpoints */
    const char *out; /**< directory of the files */
    bool force;      /**< replace files that it holds */
} exporting_options;

struct json_t;

/** The same on all ranks, but for details. */
typedef struct {
    size_t parameters;
    bool posterior;         /**< with deviations */
    struct json_t *details; /**< rank 0's, an object; the caller drops it */
} exporting_report;

/** Write the mean and, of IVON's runs, the standard deviations; collective.
 *
 * All of the newest whole checkpoint is verified first. Each rank reads and writes its part, piece
 * by piece: memory does not grow with the model. The bytes do not depend on the number of ranks.
 *
 * @param j  the run's
 * @return STATUS_OK, STATUS_INPUT (not GPT-2, no whole checkpoint, files in the way, an average of
 *         snapshots), STATUS_IO or STATUS_NOMEM; on failure the directory is as it was
 */
status exporting_run(const job *j, comm *c, const exporting_options *options,
                     exporting_report *report);

#endif
