/** state.json: the facts of a checkpoint. */
#ifndef VARIO_IO_CHECKPOINT_STATE_H
#define VARIO_IO_CHECKPOINT_STATE_H

#include "io/checkpoint.h"

/** Write directory/state.json and directory/config.json. @param sums [array][tensor] checksums */
status checkpoint_state_write(const char *directory, const job *j, const checkpoint_facts *facts,
                              const parameters *p, const checkpoint_array *arrays,
                              size_t array_count, const uint64_t *sums);

/** Read and verify directory/state.json. @return STATUS_OK, or STATUS_INPUT naming the file */
status checkpoint_state_read(const char *directory, checkpoint_facts *facts, const parameters *p,
                             const checkpoint_array *arrays, size_t array_count, uint64_t *sums);

#endif
