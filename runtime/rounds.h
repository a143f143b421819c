/** The rounds of a step, on the ranks: whose gradients they are is not known here. Every rank hands
 * over the gradients of its work item, or of its part of one, unit by unit; they go to their
 * owners, who add up parts, then items, both in their order, and update. A model's trainer and the
 * library's optimizer both drive it.
 *
 * In a step: rounds_begin_step; for each round rounds_begin_round, rounds_gradient and
 * rounds_gradient_done for every unit from the last to the first, rounds_share, and before the next
 * one rounds_end; then rounds_finish_step. */
#ifndef VARIO_RUNTIME_ROUNDS_H
#define VARIO_RUNTIME_ROUNDS_H

#include "runtime/comm.h"
#include "runtime/pieces.h"
#include "runtime/sharding.h"
#include "runtime/state.h"

/** One rank's part of a round, known to all at its end. */
typedef struct {
    double loss, norm_squared; /**< of items that are no sums of parts */
    uint64_t bad_unit;         /**< first unit with a gradient that is not finite, or unit_count */
    bool stop;                 /**< it wants to stop */
    bool written;              /**< its checkpoint writer is done */
    bool failed;               /**< its item could not be read */
} round_facts;

typedef struct {
    comm *c;
    parameters p;
    sharding owned;
    state state;
    pieces pieces;
    bool training; /**< else there are no gradients */
    bool direct;   /**< gradients are written where their pieces are kept */
    bool measures; /**< the norm of every item's gradient */
    arena gradients_arena;
    slots gradients;
    double *norm_blocks; /**< scratch for one tensor's norm */
    noise_key *keys;     /**< [P] of the round */
    round_facts *facts;  /**< [P] of the round */
    /* The step and round in progress. */
    uint64_t t, items;   /**< step, and its work items */
    uint64_t parts;      /**< all parts of these; without parts as many as items */
    double next_ess;     /**< from the step's end on, even if it is skipped; 0: as it is */
    uint64_t first_part; /**< of rank 0 in this round */
    size_t senders;
    bool exchanging_hessian; /**< pieces carry f (none, optimizer) */
    double norm_squared;
    uint64_t bad_unit;
    double norm_max;           /**< largest squared norm of the step's items */
    uint64_t gradient_clipped; /**< items */
    state_report *updating; /**< the update that takes the round's pieces; NULL: they are summed */
} rounds;

typedef struct {
    double loss; /**< mean of the step's sampled losses */
    double gradient_clip_fraction;
    bool stopped; /**< a rank wants to stop: nothing was changed */
    bool written; /**< every rank's checkpoint writer was done */
    bool skipped; /**< a loss or norm was not finite: parameters are unchanged */
    size_t bad_unit;
    uint64_t bad_item;      /**< the first, where skipped */
    double norm_squared;    /**< sum over the items whose norms are measured */
    double clipped_squared; /**< the same after clip.norm of micro-batches */
    state_report report;
} step_result;

/** Open all that ranks need; p, c and training are set, and p is closed with it. Not collective.
 * @param measures  the norm of every item's gradient, also where none is clipped */
status rounds_open(rounds *r, const runtime_settings *with, bool measures);
void rounds_close(rounds *r);

/** Bytes of a rank's arenas for training, to the byte. */
typedef struct {
    size_t state, gradients, pieces;
} rounds_memory;

/** Plan a rank's memory; not collective. @return STATUS_OK or STATUS_NOMEM */
status rounds_plan(const runtime_settings *with, const sharding *owned, rounds_memory *memory);

/** The work item of which a rank computes a part in the round in progress, and its noise, which is
 * that of all its parts. */
uint64_t rounds_item(const rounds *r, size_t from);
noise_key rounds_item_key(const rounds *r, size_t from);

/** Noise of the part alone. */
noise_key rounds_part_key(const rounds *r, size_t from, noise_stream stream);

/** Begin step t of so many work items, and a round of their parts, one a rank from rank 0 on;
 * local.
 */
void rounds_begin_step(rounds *r, uint64_t t, uint64_t items, step_result *result);
void rounds_begin_round(rounds *r, uint64_t first);

/** Where this rank's gradient of a unit is to be written, fp32 in the gradient layout. */
float *rounds_gradient(rounds *r, size_t unit_number);

/** It is written; a rank without work in the round calls this too, in the same order. */
void rounds_gradient_done(rounds *r, size_t unit_number);

/** After every unit's gradient of this rank's item: what the round's facts mean for the step is in
 * the result; collective.
 * @param mine  loss and flags of this rank */
void rounds_share(rounds *r, round_facts mine, step_result *result);

/** Whether a rank could not read its item: it goes through the round with the others, so that none
 * waits in vain. */
bool rounds_any_failed(const rounds *r);

/** Use all pieces of a round: before the next, and of a step's last one where it is given up. */
void rounds_end(rounds *r);

/** After the last round, whose pieces are still to be used: update, unless the result says that the
 * step is skipped or becomes so. Collective.
 * @param lr          learning rate
 * @param statistics  out, may be NULL */
void rounds_finish_step(rounds *r, double lr, step_result *result, state_statistics *statistics);

#endif
