/** How long a step is going to take on a cluster that was measured (io/jobs/cluster.h).
 *
 *     arithmetic = rounds (passes over a part + draws) + items of the largest owner + its update
 *     wait       = what messages of the rounds take beyond the passes + messages after the update
 *
 * Messages of a rank: bytes to its node over the bandwidth inside, bytes to others over its share
 * of the node's bandwidth, and a latency each. docs/clusters.md has the formulas.
 */
#ifndef VARIO_TRAIN_STEP_TIME_H
#define VARIO_TRAIN_STEP_TIME_H

#include "io/jobs/cluster.h"
#include "train/plan.h"

typedef struct {
    size_t ranks, nodes;
    double passes, draws, owner; /**< seconds of arithmetic */
    double wait;                 /**< seconds for messages that nothing hides */
    double seconds;              /**< of a step */
} step_time;

/** Predict a step of a GPT-2; not collective.
 * @param path   of the cluster's file, for messages
 * @param nodes  with ceil(ranks / nodes) ranks at most each
 * @return STATUS_OK; STATUS_INPUT where the file lacks what it takes; STATUS_NOMEM */
status step_time_predict(step_time *out, const job *j, const cluster *c, const char *path,
                         size_t ranks, size_t nodes, const loo_estimator *estimator);

/** A table of a job on 1, 2, 4, ... nodes as full as the file's, as far as its step has work for
 * them; or of one launch alone.
 * @param ranks  0: the table */
status step_time_print(FILE *out, const job *j, const cluster *c, const char *path, size_t ranks,
                       size_t nodes, bool json, const loo_estimator *estimator);

#endif
