/** A cluster in a few measured numbers, of which the time of a step is predicted: a YAML file that
 * `vario bench cluster` writes. docs/clusters.md has its keys. */
#ifndef VARIO_IO_JOBS_CLUSTER_H
#define VARIO_IO_JOBS_CLUSTER_H

#include "base/parameters.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { CLUSTER_PROFILES = 8, CLUSTER_TEXT = 128 };

/** The optimizers whose arithmetic is measured; others count as the one they are like. */
typedef enum { COST_ADAMW, COST_IVON, COST_EVON, CLUSTER_COSTS } cluster_cost;

/** Their names in job files. */
extern const char *const cluster_cost_names[CLUSTER_COSTS];

typedef struct {
    double latency;   /**< seconds of a message */
    double bandwidth; /**< bytes a second; 0: not known */
} cluster_link;

/** A GPT-2 of a width in a precision, on one rank while all ranks of its node do the same. */
typedef struct {
    dtype precision;
    uint64_t width;
    double blocks, head; /**< FLOP/s of blocks and of the output layer, forward and backward */
    double sample;       /**< seconds to draw a weight of a work item */
    double item[CLUSTER_COSTS], step[CLUSTER_COSTS]; /**< seconds of an owner for a parameter: a
                                                          work item's gradient, a step */
} cluster_profile;

typedef struct {
    char name[CLUSTER_TEXT];
    uint64_t ranks;       /**< of a node */
    cluster_link inside;  /**< of a rank to another of its node, while all of them send */
    cluster_link between; /**< of a node to others, all its ranks together */
    double hour;          /**< price of a node for an hour; 0: not known */
    double watts;         /**< of a node at work; 0: not known */
    cluster_profile profiles[CLUSTER_PROFILES]; /**< of a precision by increasing width */
    size_t profile_count;
} cluster;

/** Read a file; what is missing or out of range is refused with its place.
 * @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM */
status cluster_read(cluster *out, const char *path);

/** Write what cluster_read reads. */
void cluster_write(FILE *out, const cluster *c);

/** The figures of a width: between two measured ones by the width's logarithm, beyond them the
 * nearest's. @return false where the precision was not measured */
bool cluster_profile_of(cluster_profile *out, const cluster *c, dtype precision, uint64_t width);

#endif
