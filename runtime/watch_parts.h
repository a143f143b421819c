/** What the watchdog's files share: what ranks say of themselves, and what is made of it. */
#ifndef VARIO_RUNTIME_WATCH_PARTS_H
#define VARIO_RUNTIME_WATCH_PARTS_H

#include "base/activity.h"
#include "base/status.h"

#include <stdbool.h>

/** What a rank sends of its threads. */
typedef struct {
    activity_kind kind[ACTIVITY_THREADS];
    double still[ACTIVITY_THREADS]; /**< seconds without a sign that it gets on */
    bool asked;                     /**< to stop, by a signal or the allocation's end */
    bool saves;                     /**< a stop has something to save */
    char text[ACTIVITY_THREADS][ACTIVITY_TEXT];
} watch_beat;

typedef enum { STALL_NONE, STALL_SILENT, STALL_STUCK, STALL_LOCKED } stall_kind;

/** A rank as a watcher knows it. */
typedef struct {
    char host[64];
    int process;
    double heard; /**< clock of its last beat */
    watch_beat beat;
    stall_kind stall;  /**< at present */
    double since;      /**< clock at which it began to stand still, where it does */
    stall_kind told;   /**< what was said of it; STALL_NONE: nothing */
    double told_since; /**< clock at which that began */
} watch_peer;

/** Find who stands still. @param seconds  the stall time, INFINITY for none */
void watch_judge(watch_peer *peers, int size, double seconds, double clock);

/** Whether any rank was asked to stop, and whether a stop would save something. */
bool watch_asked(const watch_peer *peers, int size, bool *saves);

/** The sentence of those who stand still and of whom nothing was said yet; marks them as told.
 * @param again    of whom something was said too
 * @param ranks    out: "[2, 5]"
 * @param seconds  out: for how long the first has
 * @return the first of them, -1 for none */
int watch_tell_stalls(watch_peer *peers, int size, double clock, bool again,
                      char sentence[STATUS_MESSAGE_SIZE], char ranks[256], double *seconds);

/** The same of those who get on again. */
int watch_tell_woken(watch_peer *peers, int size, double clock, char sentence[STATUS_MESSAGE_SIZE],
                     char ranks[256], double *seconds);

#endif
