/** How far a run is, by what it has written down itself. */
#ifndef VARIO_TUNE_OUTCOME_H
#define VARIO_TUNE_OUTCOME_H

#include "base/status.h"

#include <stdint.h>

typedef enum {
    OUTCOME_PENDING,
    OUTCOME_REACHED, /**< it has a validation loss and a checkpoint there */
    OUTCOME_DIVERGED /**< it ended before, or has no finite loss there */
} outcome_state;

typedef struct {
    outcome_state state;
    double loss;    /**< validation, at the mean; INFINITY: diverged */
    uint64_t step;  /**< of the row */
    double seconds; /**< of training until then */
} outcome;

/** Whether a run has come to a step.
 * @param run  its directory, which need not be there
 * @return STATUS_OK, STATUS_INPUT (files that are damaged) or STATUS_NOMEM */
status outcome_read(outcome *o, const char *run, uint64_t step);

/** The last failure that a run's log tells of.
 * @param sentence  out: behind ": ", or "" */
void outcome_words(char sentence[STATUS_MESSAGE_SIZE], const char *log);

#endif
