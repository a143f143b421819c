/** A run that begins with weights from elsewhere. */
#ifndef VARIO_ANALYSIS_IMPORTING_H
#define VARIO_ANALYSIS_IMPORTING_H

#include "io/jobs/job.h"
#include "runtime/comm.h"

struct json_t;

/** The same on all ranks, but for details. */
typedef struct {
    size_t parameters;
    uint64_t checksum;      /**< of the weights in fp32 */
    struct json_t *details; /**< rank 0's, an object; the caller drops it */
} importing_report;

/** Make the run of a job whose model.init has weights: its checkpoint of step 0 has them, the
 * posterior at its start and momentum 0; collective.
 *
 * Each rank reads and writes its part, piece by piece: memory does not grow with the model. The
 * bytes do not depend on the number of ranks.
 *
 * @param force  replace the checkpoints that the new run's directory holds
 * @return STATUS_OK, STATUS_INPUT, STATUS_IO or STATUS_NOMEM, the same on all ranks; on failure
 * what the new run's directory held is as it was
 */
status importing_run(const job *j, comm *c, bool force, importing_report *report);

#endif
