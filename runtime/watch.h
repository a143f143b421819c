/** The watchdog: who stands still is named, on which file or for whom it waits, while others do or
 * do not.
 *
 * A thread of every rank looks some times within the stall time at what the main thread and the
 * checkpoint's writer are at (base/activity.h), and sends it to the first and the last rank, on a
 * communicator of its own: no step sends anything for it. The first rank speaks, the last one where
 * the first is silent. A rank stands still when nothing is heard of it; when it has been in one
 * call on a file, or off the processor between two marks, for three quarters of the stall time;
 * when all ranks wait for each other. One that waits for others does not, nor does one that
 * computes.
 */
#ifndef VARIO_RUNTIME_WATCH_H
#define VARIO_RUNTIME_WATCH_H

#include "runtime/comm.h"

/** Begin to watch, with the stall time that a job has by default. Collective, once a process; the
 * calling thread is the main one. @return STATUS_OK, or STATUS_NOMEM: no thread can be started */
status watch_open(comm *c);

/** End; collective. Nothing where it was not opened. */
void watch_close(void);

/** @param seconds  within which who stands still is named; 0: never
 * @param stop     end the run with code 3 then. Both the same on all ranks */
void watch_set(double seconds, bool stop);

/** All ranks have come this far, or are about to: those who said that one stood still say that it
 * goes on, and the listener hears of it. Local. */
void watch_settle(void);

/** Who stands still, or woke. */
typedef struct {
    char name[16];   /**< "stalled", "woke" */
    char ranks[256]; /**< "[0, 3]" */
    char host[64];   /**< of the first of them */
    int process;
    double seconds;
    char sentence[STATUS_MESSAGE_SIZE];
} watch_event;

/** Hear of events "stalled" and "woke", from a thread of their own; of rank 0 only. NULL: no
 * longer, and none is under way when this returns. */
typedef void watch_listener(void *context, const watch_event *event);
void watch_listen(watch_listener *heard, void *context);

#endif
