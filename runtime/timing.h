/** Where a rank's time goes: one stopwatch that is always on one thing, so that times add up. */
#ifndef VARIO_RUNTIME_TIMING_H
#define VARIO_RUNTIME_TIMING_H

#include <stdbool.h>

/** What a rank is at. Kinds up to TIME_DATA make up a step. */
typedef enum {
    TIME_SAMPLE,     /**< drawing weights, for itself or for others */
    TIME_FORWARD,    /**< embeddings to final norm */
    TIME_BACKWARD,   /**< output layer, loss, and back to the embeddings */
    TIME_WAIT,       /**< in calls that wait for other ranks */
    TIME_UPDATE,     /**< gradients' norms, pieces and sums, and the optimizer */
    TIME_DATA,       /**< reading tokens */
    TIME_CHECKPOINT, /**< between steps: copying for the writer, waiting for it */
    TIME_KINDS
} time_kind;

/** Zeroed: stopped, nothing counted. */
typedef struct {
    double seconds[TIME_KINDS];
    double since; /**< when it was switched to `now` */
    time_kind now;
    bool running;
} timing;

/** Monotonic clock. */
double timing_clock(void);

/** Start a stopped watch on a kind, or stop it. */
void timing_start(timing *t, time_kind kind);
void timing_stop(timing *t);

/** Turn to another kind; nothing while stopped, as in evaluations.
 * @return the kind before, to turn back to */
time_kind timing_switch(timing *t, time_kind kind);

/** What was counted since the last time, which is zeroed. */
void timing_take(timing *t, double seconds[TIME_KINDS]);

#endif
