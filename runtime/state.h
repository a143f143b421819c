/** Parameters and optimizer state of one rank, whole or owned as the stage says. */
#ifndef VARIO_RUNTIME_STATE_H
#define VARIO_RUNTIME_STATE_H

#include "base/memory.h"
#include "runtime/comm.h"
#include "runtime/settings.h"
#include "runtime/sharding.h"
#include "runtime/state_arrays.h"

/** fp32 values, one an element: of the whole logical vector, or of what this rank owns. */
typedef struct {
    float *values; /**< NULL when the optimizer has no such array */
    bool whole;
    array_kind of;
    bool shared; /**< with the ranks of the node, each of which writes what it owns */
} state_array;

typedef struct state state;

/** A posterior that is not the optimizer's. */
typedef struct state_posterior {
    /** As state_sample. */
    void (*sample)(const struct state_posterior *q, const state *s, const slice *part,
                   noise_key key, void *theta, dtype type);
} state_posterior;

struct state {
    runtime_settings settings;
    bool training; /**< else only what predicts is there */
    const parameters *p;
    const sharding *owned; /**< this rank's part */
    sharding all;          /**< the same with one rank: whole tensors */
    layout gradient;       /**< fp32, of gradient buffers and local sums */
    arena arena;
    node_memory node;        /**< of arrays that are once a node */
    state_array mean, sigma; /**< sigma only where not every array that it is formed from is at
                                  hand */
    state_array arrays[OPTIMIZER_ARRAYS];      /**< of the optimizer's row, in its order */
    state_array rest_arrays[OPTIMIZER_ARRAYS]; /**< of the row of what is no matrix */
    state_array bases, factors;                /**< where matrices are taken whole */
    array_set sets[ARRAY_SETS];                /**< of arrays that have no value of every weight */
    size_t *set_offset[ARRAY_SETS];  /**< [tensor_count] where a tensor's begin in these */
    float *work;                     /**< of matrices that are taken whole */
    state_array swag[2 + SWAG_RANK]; /**< mean, variance, deviation of snapshot s in s mod rank */
    state_array g_sum, f_sum, basis_sum; /**< the step's sums, of all ranks */
    state_array joined;                  /**< an item's gradient, of the parts that came so far */
    float *local_g, *local_f;    /**< this rank's sums (none, optimizer), in the gradient layout */
    size_t *gradient_start;      /**< [unit_count] float of local_g where each unit begins */
    double *block_sums;          /**< of all units, for the gradient's norm */
    size_t *run_blocks;          /**< first entry of each run in block_sums, as owned->first */
    double g_scale, f_scale, lr; /**< of the update in progress */
    uint64_t updates;
    uint64_t snapshots;               /**< that SWAG has collected */
    const state_posterior *posterior; /**< what state_sample draws from in place of the optimizer's
                                           posterior, borrowed; NULL: nothing */
};

/** What a step's update did. */
typedef struct {
    double grad_norm; /**< NAN when nobody asked for it */
    size_t bad_unit;  /**< first unit whose gradient is not finite; unit_count when all are */
    double clip_factor;
    uint64_t clipped, rescued; /**< elements, of this rank's part */
} state_report;

/** Posterior statistics over all parameters. */
typedef struct {
    double sigma_mean, hessian_min, hessian_mean, hessian_bias;
} state_statistics;

/** Bytes of the state arena, to the byte. */
size_t state_bytes(const runtime_settings *with, const sharding *owned, bool training);

/** Bytes of the arrays that lie once a node, to the byte. */
size_t state_shared_bytes(const runtime_settings *with, const sharding *owned, bool training);

/** Allocate these, after state_open; collective, and state_share has to follow.
 * @return STATUS_OK or STATUS_NOMEM, the same on all ranks */
status state_open_shared(state *s, comm *c);

/** Allocate the others and set to the initial weights; collective only through comm-free
 * arithmetic.
 * @param training  false: only the arrays that weights are drawn from */
status state_open(state *s, const runtime_settings *with, const sharding *owned, bool training);
void state_close(state *s);

/** Pointer to a slice's elements: of `owned` or of `all`. */
float *state_at(const state *s, state_array array, const slice *part);

/** The slices this rank updates: its own, or everything where all is kept whole (none). */
const sharding *state_updated(const state *s);

/** Draw a slice's weights from the posterior: a mean and deviations, or what SWAG has collected.
 * @param theta  [part->count] of type */
void state_sample(const state *s, const slice *part, noise_key key, void *theta, dtype type);

/** Whether the posterior's mean is the average of snapshots, not the weights in training. */
bool state_is_averaged(const state *s);

/** The posterior's mean of a slice. */
const float *state_center(const state *s, const slice *part);

/** Count the weights in when a snapshot is due; not collective: who keeps a mean follows it.
 * @param steps  finished */
void state_collect(state *s, uint64_t steps);
/** Deviations of a slice's weights, from the h (IVON) or the log deviations of its elements, which
 * are at hand; of a tensor that is taken whole only as a whole. 0 where there is a point alone.
 * @param sigma  [part->count] out */
void state_sigma(const state *s, const slice *part, float *sigma);

/** What the posterior of a tensor is diagonal in that is taken whole and drawn in bases, on its
 * owner: each part's covariance is (Q_R kron Q_L) diag(sigma^2) (Q_R kron Q_L)'.
 * @param sigma  [part->count] out: part after part, each (rows, columns)
 * @param bases  out: Q_L, Q_R of every part, as far as there are (optimizer_has_basis), borrowed */
void state_directions(const state *s, const slice *part, float *sigma, const float **bases);

/** Add a work item's gradient of a slice to the sums.
 * @param first  what they held is forgotten */
void state_accumulate(state *s, const slice *part, const gradient_piece *piece, bool first);

/** Set the local sums (none, optimizer) to +0, on a rank that will add nothing to them. */
void state_clear_local_sums(state *s);

/** Squared norm of an array that every rank has what it owns of, added up in the same order on any
 * number of ranks; collective.
 * @param bad_unit  out: the first whose part of it is not finite; unit_count: none */
double state_squared_norm(state *s, comm *c, state_array array, double scale, size_t *bad_unit);

/** Norm of the mean gradient and where it is bad, from the sums; collective. */
void state_norm(state *s, comm *c, uint64_t items, state_report *report);

/** What the update is made with; between it and state_end_update every slice is updated once.
 * @param items   work items of the step: G K
 * @param lr      learning rate
 * @param report  its clip_factor is read */
void state_begin_update(state *s, uint64_t items, double lr, const state_report *report);

/** Update all slices from the sums; collective.
 * @param statistics  out, may be NULL: the posterior before this update and the bias of h */
void state_update(state *s, comm *c, state_report *report, state_statistics *statistics);

/** Update a slice from its sums and pieces that these lack; where the row takes pieces.
 * @param pieces  [count] in the order of work items
 * @param empty   the sums lack everything but the pieces */
void state_update_with(state *s, const slice *part, const gradient_piece *pieces, size_t count,
                       bool empty, state_report *report);

/** Share what all ranks keep; collective. */
void state_end_update(state *s, comm *c);

/** Check what was read of bases; collective.
 * @param path  of the checkpoint, for the message
 * @return STATUS_OK or STATUS_INPUT, the same on all ranks: one is not orthonormal */
status state_check_bases(const state *s, comm *c, const char *path);

/** Compute sigma from h and share what all ranks keep, after opening and after a checkpoint was
 * read; collective. */
void state_share(state *s, comm *c);

/** Arrays as a checkpoint holds them, whose slices are the owned ones; without training the first
 * of them, which are all that evaluation reads. Settings and training alone are looked at, for the
 * names.
 * @return how many */
size_t state_saved_arrays(const state *s, saved_array arrays[SAVED_ARRAYS]);

#endif
