/** What every verb that computes begins and ends with: MPI, threads, the kernels. */
#ifndef VARIO_CLI_SESSION_H
#define VARIO_CLI_SESSION_H

#include "cli/options.h"
#include "runtime/placement.h"
#include "train/read_job.h"

typedef struct {
    comm c;
    const option_table *table; /**< the verb's */
    placement placement;
    int threads; /**< of this rank, as placed */
    bool bf16;   /**< every rank's processor multiplies bf16 */
} session;

/** What a verb does; collective.
 * @param arguments  what session_main was given
 * @param rest       [table->max] positional arguments, NULL after the last */
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

/** Read a job, or that of RUN (a run directory, or one of its checkpoints), and refuse results that
 * would take the place of its data; collective. */
status session_read_job(session *s, job *j, const char *path, const option_list *overrides);
status session_read_run(session *s, job *j, const char *path);

/** Refuse results of the verb that would take the place of a job's data; collective.
 * @param path  where the job was read from */
status session_check_outputs(const session *s, const job *j, const char *path);

/** Give a job the name and output that --out DIRECTORY means; not collective.
 * @return STATUS_OK or STATUS_INPUT: too long, or no name of a run */
status session_name_run(job *j, const char *verb, const char *out);

#endif
