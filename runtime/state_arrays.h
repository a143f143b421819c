/** Which arrays a state keeps: one list, which memory, checkpoints and sharing all read. */
#ifndef VARIO_RUNTIME_STATE_ARRAYS_H
#define VARIO_RUNTIME_STATE_ARRAYS_H

#include "runtime/settings.h"
#include "runtime/sharding.h"

enum { SAVED_ARRAYS = 1 + OPTIMIZER_ARRAYS + 2 + SWAG_RANK, SAVED_PREFIX = 32 };

/** Tensors other than all of the model's, and what this rank owns of them. */
typedef struct {
    parameters p;
    slice *slices; /**< [count] in logical order, offsets packed */
    size_t count;
} array_set;

/** One array as files hold it: this rank's slices of a value per parameter. */
typedef struct {
    const char *file; /**< "model.safetensors", "posterior.safetensors", "optimizer.safetensors" */
    char prefix[SAVED_PREFIX]; /**< before tensor names: "", "momentum.", "exp_avg.", ... */
    float *values; /**< this rank's, addressed by slice.offset, or where whole all ranks', by the
                        logical index */
    bool whole;
    const array_set *set; /**< of its tensors, borrowed; NULL: all of the model's */
} saved_array;

typedef struct {
    size_t member;    /**< offset of its state_array in state */
    bool whole;       /**< on every rank, else the owner's part only */
    const char *file; /**< of checkpoints; NULL: not saved */
    char prefix[SAVED_PREFIX];
    double (*initial)(const optimizer_settings *s); /**< NULL: 0 */
} state_row;

enum { STATE_ROWS = SAVED_ARRAYS + 3 };

/** The arrays of a state, in the order of checkpoints, which begin with those of the posterior.
 * @param training  false: only those of the posterior, all that evaluation keeps
 * @return how many */
size_t state_rows(const runtime_settings *with, size_t ranks, bool training,
                  state_row rows[STATE_ROWS]);

/** How many of them training saves. */
size_t state_saved(const runtime_settings *with);

/** Elements of an array on this rank. */
size_t state_elements(const sharding *owned, bool whole);

/** Bytes of a rank's local sums of one kind, and of the norm's blocks. */
size_t state_local_bytes(const parameters *p);
size_t state_block_bytes(const sharding *owned);

#endif
