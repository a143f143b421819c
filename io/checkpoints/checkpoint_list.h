/** Which checkpoints a run has, by their directories' names. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_LIST_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_LIST_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/** List the checkpoints of a run, newest first; not collective.
 *
 * Only names that a writer gives count: step-%08 of a number. A copy that a user keeps beside them
 * (step-00000100-best) is neither read nor removed.
 *
 * @param steps  out: [*count] the caller frees it, also after a failure; NULL when there are none
 * @param count  out
 * @return STATUS_OK (*count may be 0), STATUS_INPUT when run is no directory, STATUS_IO when it
 *         cannot be read, STATUS_NOMEM
 */
status checkpoint_list(uint64_t **steps, size_t *count, const char *run);

#endif
