/** Where all runs stand: which go to which rung, what they scored there, and what is to be done. */
#ifndef VARIO_TUNE_BOARD_H
#define VARIO_TUNE_BOARD_H

#include "tune/outcome.h"
#include "tune/plan.h"

/** A configuration. */
typedef struct {
    size_t rung;       /**< the highest that it goes to */
    outcome *outcomes; /**< [rungs][seeds] */
} board_entry;

typedef struct {
    const tune_plan *plan;
    board_entry *entries;          /**< [configurations] */
    outcome *outcomes;             /**< of all */
    size_t rungs[OPTIMIZER_KINDS]; /**< a bracket's present one; rungs.count: it is through */
} board;

/** A run on its way to a rung. */
typedef struct {
    size_t config, seed, rung;
} board_task;

/** What a configuration has to show. */
typedef struct {
    size_t config;
    size_t rungs;    /**< done by all of its seeds; 0: there is no score */
    double loss;     /**< mean over the seeds; INFINITY: one diverged, NAN: no score */
    double spread;   /**< sample deviation, NAN of one seed */
    size_t diverged; /**< seeds */
    uint64_t step;   /**< of the last score: the least of the seeds' */
    double seconds;  /**< of training, over all seeds */
} board_line;

/** Open with nothing done. @return STATUS_OK or STATUS_NOMEM */
status board_open(board *b, const tune_plan *p);
void board_close(board *b);

/** The directory of a task's run. */
void board_path(char *path, size_t size, const board *b, const board_task *task);

/** The i-th task that is not done, in an order that depends on what is done alone.
 * @return false: there are fewer */
bool board_next(board_task *task, const board *b, size_t i);

/** Look what a task's run has written, and go on to the next rung where it was its rung's last.
 * @param done  out: whether it is there
 * @return as outcome_read */
status board_look(bool *done, board *b, const board_task *task);

/** The outcome of a task. */
const outcome *board_outcome(const board *b, const board_task *task);

/** How all stand, the best first: those with more rungs, then with the lower loss.
 * @param lines  out: [configurations] */
void board_rank(board_line *lines, const board *b);

#endif
