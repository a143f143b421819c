/** What the machine of ranks is told: plain data, filled by whoever opens it (a job, a program with
 * tensors of its own), and what follows from it, decided once. */
#ifndef VARIO_RUNTIME_SETTINGS_H
#define VARIO_RUNTIME_SETTINGS_H

#include "base/parameters.h"
#include "optimizer/table.h"
#include "runtime/sharding.h"

/** What is split over the ranks, each with all before it: ZeRO's stages 0 to 3. */
typedef enum { SHARD_NONE, SHARD_OPTIMIZER, SHARD_GRADIENTS, SHARD_PARAMETERS } shard_stage;
typedef enum { SCOPE_MICROBATCH, SCOPE_STEP } clip_scope;

typedef struct {
    double norm; /**< infinity: no clipping */
    clip_scope scope;
    double update; /**< infinity: no clipping */
} clip_settings;

typedef struct {
    uint64_t start; /**< steps before the first snapshot; 0: none is taken */
    uint64_t every, rank;
} swag_settings;

typedef struct {
    uint64_t seed;
    const optimizer *row; /**< of the optimizer's kind, or a caller's own */
    optimizer_settings optimizer;
    double peak; /**< highest learning rate */
    swag_settings swag;
    uint64_t microbatches, parts; /**< and into how many parts each of these is cut */
    clip_settings clip;
    shard_stage shard;
    dtype wire; /**< of matrices' gradients in messages */
    /* What follows; settings_decide. */
    const optimizer *rest; /**< of what is no layer's matrix, where the row takes these whole; else
                                NULL */
    optimizer_settings rest_optimizer;
    double rest_rate;  /**< times the learning rate */
    uint64_t items;    /**< work items of a step: micro-batches times samples */
    bool variational;  /**< every item draws its weights */
    bool updates_all;  /**< every rank keeps everything and updates it */
    bool sums_locally; /**< ranks add up their own items and exchange sums once a step */
    bool fetches;      /**< a rank's weights come from their owners */
    bool holds_round;  /**< an item's norm is clipped: its pieces wait for the round's end */
    bool joins;        /**< an item's gradient is the sum of its parts' */
    bool takes_pieces; /**< an update adds the pieces of a step's last round on its way */
    /* Where the ranks are; settings_place. */
    size_t nodes; /**< whose ranks share memory; 0: nobody does */
    bool shares;  /**< mean and deviations lie once a node while training */
    bool keeps;   /**< they count as this rank's */
} runtime_settings;

/** Decide what follows from the rest. */
void settings_decide(runtime_settings *s);

/** Say where a rank is: in the so many-th place of one of so many nodes. @param nodes  0: nobody
 * shares memory */
void settings_place(runtime_settings *s, size_t nodes, size_t place);

/** The effective sample size of what is drawn and updated from here on. */
void settings_set_ess(runtime_settings *s, double ess);

/** Whether the row takes a tensor whole. */
static inline bool settings_take_whole(const runtime_settings *s, const tensor *t)
{
    return s->row->matrix && t->matrices > 0;
}

/** The row that updates a tensor, and what it is told. */
static inline const optimizer *settings_row(const runtime_settings *s, const tensor *t)
{
    return s->rest && !t->matrices ? s->rest : s->row;
}
static inline const optimizer_settings *settings_optimizer(const runtime_settings *s,
                                                           const tensor *t)
{
    return s->rest && !t->matrices ? &s->rest_optimizer : &s->optimizer;
}

/** Cut units for the ranks: into chunks, or where the row takes matrices whole, dealt out by their
 * cost. @return STATUS_OK or STATUS_NOMEM (owned is then empty) */
status settings_shard(const runtime_settings *s, sharding *owned, const parameters *p, size_t ranks,
                      size_t rank);

/** The weight decay of a tensor: none of 1-D tensors, but for bbb, whose prior holds for all. */
double settings_decay(const runtime_settings *s, const tensor *t);

#endif
