/** Which arrays a job's state keeps: one table, which memory, checkpoints and sharing all read. */
#ifndef VARIO_RUNTIME_STATE_ARRAYS_H
#define VARIO_RUNTIME_STATE_ARRAYS_H

#include "io/checkpoint.h"
#include "io/job.h"
#include "runtime/sharding.h"

typedef struct {
    size_t member;    /**< offset of its state_array in state */
    bool whole;       /**< on every rank, else the owner's part only */
    const char *file; /**< of checkpoints; NULL: not saved */
    char prefix[CHECKPOINT_PREFIX];
} state_row;

enum { STATE_ROWS = CHECKPOINT_ARRAYS + 4 };

/** The arrays of a job, in the order of checkpoints, which begin with those of the posterior.
 * @param training  false: only those of the posterior, all that evaluation keeps
 * @return how many */
size_t state_rows(const job *j, size_t ranks, bool training, state_row rows[STATE_ROWS]);

/** How many of them training saves. */
size_t state_saved(const job *j);

/** Elements of an array on this rank. */
size_t state_elements(const sharding *owned, bool whole);

/** Bytes of a rank's local sums of one kind, and of the norm's blocks. */
size_t state_local_bytes(const parameters *p);
size_t state_block_bytes(const parameters *p);

#endif
