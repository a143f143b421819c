/** What every verb that computes begins and ends with: MPI, threads, the kernels. */
#ifndef VARIO_CLI_SESSION_H
#define VARIO_CLI_SESSION_H

#include "cli/options.h"
#include "io/job.h"
#include "runtime/placement.h"

typedef struct {
    comm c;
    placement placement;
    int threads; /**< of this rank, as placed */
    bool bf16;   /**< every rank's processor multiplies bf16 */
} session;

/** Parse the verb's arguments, then start MPI when `with_mpi`; collective.
 * @param helped  out: nothing is left to do
 * @return STATUS_OK or STATUS_INPUT or STATUS_PEER, the same on all ranks */
status session_open(session *s, const option_table *table, int argc, char **argv, const char **rest,
                    size_t *rest_count, bool *helped);

/** Choose threads (0: automatic) and instructions; collective.
 * @param quiet  do not warn of threads that share a processor within a rank */
void session_compute(session *s, uint64_t threads, bool quiet);

/** Rank 0 reads the job, all get it; collective. */
status session_read_job(session *s, job *j, const char *path, const option_list *overrides);

/** Find a run's directory and job of RUN: a run directory, or one of its checkpoints; rank 0
 * reads; collective. */
status session_read_run(session *s, job *j, const char *path);

/** Print what failed (rank 0), end MPI, give the exit code. */
int session_close(session *s, status result);

#endif
