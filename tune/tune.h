/** `vario tune`: the runs of a plan, made by child processes of this one and of any others that
 * were given the same command. */
#ifndef VARIO_TUNE_TUNE_H
#define VARIO_TUNE_TUNE_H

#include "tune/board.h"

typedef struct {
    uint64_t jobs;  /**< runs side by side, at least 1 */
    uint64_t ranks; /**< of each; above 1 mpirun starts them */
    double minutes; /**< after which no run is begun, INFINITY: none */
    bool quiet;
} tune_options;

/** Make what is missing of a plan's runs, rung by rung, until all are there or the time is over. A
 * run that others have is waited for. Where a run fails, but for one that diverges, or a signal
 * comes, the others stop with a checkpoint.
 *
 * @param b     of the plan, opened; out: how all stand
 * @param over  out: the time was over before all was done
 * @return STATUS_OK, STATUS_STOPPED, or a failure that names the run */
status tune_make(board *b, bool *over, const tune_options *options);

#endif
