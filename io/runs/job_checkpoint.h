/** Checkpoints of jobs: what io/checkpoints is told of them. */
#ifndef VARIO_IO_RUNS_JOB_CHECKPOINT_H
#define VARIO_IO_RUNS_JOB_CHECKPOINT_H

#include "io/checkpoints/checkpoint_sink.h"
#include "io/jobs/job.h"

/** The words of a job: its resolved text, and a config.json of its model.
 * @param words  out: checkpoint_words_close frees it
 * @return STATUS_OK or STATUS_NOMEM (words are then empty) */
status job_checkpoint_words(checkpoint_words *words, const job *j);

/** checkpoint_begin with the words and the prior of a job. */
status job_checkpoint_begin(checkpoint_writer **w, MPI_Comm comm, const char *run, const job *j,
                            const checkpoint_facts *facts, const parameters *p,
                            const saved_array *arrays, size_t array_count, const slice *slices,
                            size_t slice_count);

/** checkpoint_sink_open with the words of a job. */
status job_checkpoint_open(checkpoint_sink **s, MPI_Comm comm, const char *run, const job *j,
                           const checkpoint_prior *prior, const checkpoint_facts *facts,
                           const parameters *p, const saved_array *arrays, size_t array_count);

#endif
