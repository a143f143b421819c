/** state.json: the facts of a checkpoint. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_STATE_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_STATE_H

#include "io/checkpoints/checkpoint.h"

/** @return STATUS_OK or STATUS_NOMEM (both texts are then NULL) */
status checkpoint_words_copy(checkpoint_words *words, const checkpoint_words *from);
void checkpoint_words_close(checkpoint_words *words);

/** That of settings: ess (0 where nothing is drawn) and settings_decay. @return STATUS_OK or
 * STATUS_NOMEM (delta is then NULL) */
status checkpoint_prior_of_settings(checkpoint_prior *prior, const runtime_settings *settings,
                                    const parameters *p);
status checkpoint_prior_copy(checkpoint_prior *prior, const checkpoint_prior *from,
                             const parameters *p);

/** Read that of a checkpoint from directory/state.json, which is verified; lambda is 0 unless the
 * file lists checksums of h in posterior.safetensors. @return STATUS_OK, STATUS_NOMEM, or
 * STATUS_INPUT naming the file (delta is then NULL) */
status checkpoint_prior_read(checkpoint_prior *prior, const char *directory, const parameters *p);
void checkpoint_prior_close(checkpoint_prior *prior);

/** Write directory/state.json and directory/config.json. @param sums  of every array's tensors */
status checkpoint_state_write(const char *directory, const checkpoint_words *words,
                              const checkpoint_prior *prior, const checkpoint_facts *facts,
                              const parameters *p, const saved_array *arrays, size_t array_count,
                              const uint64_t *sums);

/** Read and verify directory/state.json. @return STATUS_OK, or STATUS_INPUT naming the file */
status checkpoint_state_read(const char *directory, checkpoint_facts *facts, const parameters *p,
                             const saved_array *arrays, size_t array_count, uint64_t *sums);

/** The job that a checkpoint was written with, as directory/state.json, which is verified, has it:
 * a job file's text.
 * @param text  out: the caller frees it; NULL on failure
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT naming the file */
status checkpoint_job_text(char **text, const char *directory);

#endif
