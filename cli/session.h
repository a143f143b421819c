/** What every verb that computes begins and ends with: MPI, threads, the kernels. */
#ifndef VARIO_CLI_SESSION_H
#define VARIO_CLI_SESSION_H

#include "cli/options.h"
#include "runtime/placement.h"
#include "train/read_job.h"

typedef struct {
    comm c;
    placement placement;
    int threads; /**< of this rank, as placed */
    bool bf16;   /**< every rank's processor multiplies bf16 */
} session;

/** What a verb does; collective.
 * @param arguments  what session_main was given
 * @param rest       [table->most] positional arguments, NULL after the last */
typedef status session_verb(session *s, void *arguments, const char **rest);

/** A verb from beginning to end: start MPI, parse the arguments, run it unless --help was given,
 * print what failed (rank 0), end MPI.
 * @param arguments  the verb's own, which the table's options point into
 * @return the exit code */
int session_main(const option_table *table, int argc, char **argv, session_verb *run,
                 void *arguments);

/** Choose threads (0: automatic) and instructions; collective.
 * @param quiet  do not warn of threads that share a processor within a rank
 * @return STATUS_OK, or STATUS_NOMEM: a rank cannot start that many */
status session_compute(session *s, uint64_t threads, bool quiet);

/** Give a job the name and output that --out DIRECTORY means; not collective.
 * @return STATUS_OK or STATUS_INPUT: too long, or no name of a run */
status session_name_run(job *j, const char *verb, const char *out);

#endif
