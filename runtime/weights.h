/** Where the model's weights come from: sampled here from (mean, sigma) that every rank keeps, or
 * fetched, each rank its private sample, from the owners (shard: parameters). */
#ifndef VARIO_RUNTIME_WEIGHTS_H
#define VARIO_RUNTIME_WEIGHTS_H

#include "runtime/comm.h"
#include "runtime/slots.h"
#include "runtime/state.h"

/** What the ranks compute with in one round. */
typedef struct {
    size_t active;         /**< ranks 0 .. active - 1 have work */
    const noise_key *keys; /**< [active] each rank's sample */
    bool sampled;          /**< false: all use the mean, keys are unused */
    bool trained;          /**< the mean in training, where the posterior's is another (SWAG) */
    bool backward;         /**< the pass goes back over the blocks */
} weights_round;

typedef struct {
    comm *c;
    const state *s;
    layout compute;
    bool fetched; /**< shard: parameters, but for a lone rank whose draws are kept */
    arena arena;
    slots theta;
    bool *ready;   /**< [unit_count] theta holds the unit of this round */
    bool valid;    /**< ready units hold the present parameters' ... */
    bool sampled;  /**< ... sample `key`, or else their mean ... */
    bool averaged; /**< ... over snapshots */
    noise_key key;
    weights_round round;
    /* Fetching: fetch f of the pass is unit order(f); two are in flight. */
    size_t posted, done;
    char *outgoing[2];
    MPI_Request *sends[2], *receives[2];
    size_t send_count[2], receive_count[2];
} weights;

/** Bytes of the arena, to the byte. */
status weights_bytes(const runtime_settings *with, const sharding *owned, dtype precision,
                     size_t *bytes);

status weights_open(weights *w, comm *c, const state *s, dtype precision);
void weights_close(weights *w);

/** Begin a round; collective when weights are fetched. keys must live until the round's end. */
void weights_begin(weights *w, const weights_round *round);

/** The parameters have changed. */
void weights_changed(weights *w);

/** The unit's weights in the compute layout; NULL on a rank without work. Called in the order of
 * model_hooks by every rank. */
const void *weights_get(weights *w, size_t unit_number);

/** A pass of a rank without work, which calls weights_get as the others do. */
void weights_idle(weights *w, bool backward);

/** End a round: waits for what was sent. */
void weights_end(weights *w);

/** Bytes that a rank sends for the fetches of one pass with `active` ranks (0 unless fetched). */
uint64_t weights_sent(const runtime_settings *with, const sharding *owned, const layout *compute,
                      size_t active, bool backward);

#endif
