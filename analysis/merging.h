/** Runs made into one: checkpoints read, merged and written piece by piece, so that no model is
 * ever in memory, by all ranks. */
#ifndef VARIO_ANALYSIS_MERGING_H
#define VARIO_ANALYSIS_MERGING_H

#include "io/jobs/job.h"
#include "posterior/merge.h"
#include "runtime/comm.h"

struct json_t;

typedef struct {
    merge_method method;
    const char *base;        /**< a run or one of its checkpoints; NULL: none */
    const char *const *runs; /**< [run_count] likewise */
    const job *jobs;         /**< [run_count] of the runs; NULL: their optimizers are that of j */
    size_t run_count;
    double alpha;
    const double *scales; /**< [run_count] s of each run; NULL: lambda_t / lambda_0 */
    bool force;           /**< replace the checkpoints of a run of the new one's name */
} merging_options;

typedef struct {
    struct json_t *details; /**< on rank 0: what was merged how, an object; the caller drops it */
    size_t parameters;
    bool posterior;    /**< the result has one */
    uint64_t negative; /**< values of h below 0 that counted as 0 */
} merging_report;

/** Merge runs into output/name of a job, a run whose checkpoint of step 0 training goes on from;
 * collective.
 *
 * A tensor's h is the diagonal of its precision, whatever bases it stands in: a run of evon comes
 * with that, and bases that are the identity, which its first update makes anew. What the lead
 * keeps as a point beside a posterior (optimizer.rest adamw) is averaged with equal weights, or
 * with a base moved by the average difference; task keeps its sums.
 *
 * Every input is verified before anything is written. The bytes of the result do not depend on the
 * number of ranks. The result keeps lambda and delta of the base, or of the first run without one.
 *
 * @param j       the base's or the first run's, under the new name; the models' shapes are its
 * @param report  out
 * @return STATUS_OK; STATUS_INPUT for inputs that cannot be merged, or when output/name is one of
 *         them, is in use, or has checkpoints and force is not given; STATUS_IO, STATUS_NOMEM
 */
status merging_run(const job *j, comm *c, const merging_options *options, merging_report *report);

#endif
