/** state.json: the facts of a checkpoint. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_STATE_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_STATE_H

#include "io/checkpoints/checkpoint.h"

/** What h means in posterior.safetensors: the precision of a weight is lambda (h + delta). Of bbb,
 * which keeps log deviations instead, lambda delta is the prior's precision. */
typedef struct {
    double lambda; /**< 0: there is no posterior */
    double *delta; /**< [tensor_count] */
} checkpoint_prior;

/** That of a job: ess (0 but for ivon and bbb) and job_decay. @return STATUS_OK or STATUS_NOMEM
 * (delta is then NULL) */
status checkpoint_prior_of_job(checkpoint_prior *prior, const job *j, const parameters *p);
status checkpoint_prior_copy(checkpoint_prior *prior, const checkpoint_prior *from,
                             const parameters *p);

/** Read that of a checkpoint from directory/state.json, which is verified; lambda is 0 unless the
 * file lists checksums of h in posterior.safetensors. @return STATUS_OK, STATUS_NOMEM, or
 * STATUS_INPUT naming the file (delta is then NULL) */
status checkpoint_prior_read(checkpoint_prior *prior, const char *directory, const parameters *p);
void checkpoint_prior_close(checkpoint_prior *prior);

/** Write directory/state.json and directory/config.json. @param sums [array][tensor] checksums */
status checkpoint_state_write(const char *directory, const job *j, const checkpoint_prior *prior,
                              const checkpoint_facts *facts, const parameters *p,
                              const saved_array *arrays, size_t array_count, const uint64_t *sums);

/** Read and verify directory/state.json. @return STATUS_OK, or STATUS_INPUT naming the file */
status checkpoint_state_read(const char *directory, checkpoint_facts *facts, const parameters *p,
                             const saved_array *arrays, size_t array_count, uint64_t *sums);

/** The job that a checkpoint was written with, as directory/state.json, which is verified, has it:
 * a job file's text.
 * @param text  out: the caller frees it; NULL on failure
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT naming the file */
status checkpoint_job_text(char **text, const char *directory);

#endif
