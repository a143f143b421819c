/** Which arrays a state keeps: one list, which memory, checkpoints and sharing all read. */
#ifndef VARIO_RUNTIME_STATE_ARRAYS_H
#define VARIO_RUNTIME_STATE_ARRAYS_H

#include "runtime/settings.h"
#include "runtime/sharding.h"

enum { SAVED_ARRAYS = 1 + 2 * OPTIMIZER_ARRAYS + 2 + 2 + SWAG_RANK, SAVED_PREFIX = 32 };

/** What an array has a value of: every weight; those of matrices that are taken whole, or of what
 * is updated beside these; the elements of the bases of these matrices. */
typedef enum { OF_ALL, OF_MATRICES, OF_REST, OF_BASES, ARRAY_SETS } array_kind;

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
    size_t member; /**< offset of its state_array in state */
    array_kind of;
    bool whole;       /**< on every rank, else the owner's part only; OF_ALL alone can be */
    bool shared;      /**< whole, and once a node */
    const char *file; /**< of checkpoints; NULL: not saved */
    char prefix[SAVED_PREFIX];
    double (*initial)(const optimizer_settings *s); /**< NULL: 0 */
    bool identity;                                  /**< each tensor is at first the identity */
} state_row;

enum { STATE_ROWS = SAVED_ARRAYS + 4 };

/** The arrays of a state, in the order of checkpoints, which begin with those of the posterior.
 * @param training  false: only those of the posterior, all that evaluation keeps
 * @return how many */
size_t state_rows(const runtime_settings *with, size_t ranks, bool training,
                  state_row rows[STATE_ROWS]);

/** Elements of an array on this rank. */
size_t state_elements(const runtime_settings *with, const sharding *owned, array_kind of,
                      bool whole);

/** Elements of the bases of a tensor that is taken whole. */
size_t state_basis_elements(const runtime_settings *with, const tensor *t);

/** Floats that the largest matrix of this rank's needs as work. */
size_t state_work_floats(const runtime_settings *with, const sharding *owned);

/** Bytes of what a checkpoint copies of this rank's arrays. */
size_t state_saved_bytes(const runtime_settings *with, const sharding *owned);

/** Make the tensors of a kind of arrays (not OF_ALL), and this rank's slices of them.
 * @param offset  [tensor_count] out: where a tensor's values begin in such an array; or NULL
 * @return STATUS_OK or STATUS_NOMEM (set is then empty) */
status array_set_open(array_set *set, const runtime_settings *with, const sharding *owned,
                      array_kind of, size_t *offset);
void array_set_close(array_set *set);

/** The arrays of a state that is not there, without values: what its files hold. It must not move:
 * arrays point to its sets. */
typedef struct {
    saved_array arrays[SAVED_ARRAYS];
    size_t count;
    array_set sets[ARRAY_SETS];
    float first[SAVED_ARRAYS];   /**< what every element of an array begins with ... */
    bool identity[SAVED_ARRAYS]; /**< ... or every tensor */
} array_list;

/** List them, as state_saved_arrays does; not collective.
 * @param training  false: only those of the posterior
 * @return STATUS_OK or STATUS_NOMEM (l is then empty) */
status array_list_open(array_list *l, const runtime_settings *with, const sharding *owned,
                       bool training);
void array_list_close(array_list *l);

/** What a state begins with in part of a tensor of an array. @param values  [part->count] out */
void array_list_first(const array_list *l, size_t array, const slice *part, float *values);

/** As a saved array, without values and without a set. */
saved_array state_row_saved(const state_row *row);

/** Bytes of a rank's local sums of one kind, and of the norm's blocks. */
size_t state_local_bytes(const parameters *p);
size_t state_block_bytes(const sharding *owned);

#endif
