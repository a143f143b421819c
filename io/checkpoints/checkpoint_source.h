/** A whole checkpoint, read part by part: for those who never need all of it at once. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_SOURCE_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_SOURCE_H

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"

/** What can be read. */
typedef enum { SOURCE_MEAN, SOURCE_HESSIAN } source_array;

typedef struct checkpoint_source checkpoint_source;

/** Find the newest whole checkpoint, as checkpoint_read does, verify its mean and, where its
 * state.json says that there is one, its Hessian; collective.
 *
 * @param p       outlives the source
 * @param slices  [slice_count] what this rank verifies; those of all ranks together cover every
 *                parameter exactly once
 * @return STATUS_OK, STATUS_INPUT, STATUS_IO or STATUS_NOMEM, the same on all ranks; *s is NULL on
 * failure
 */
status checkpoint_source_open(checkpoint_source **s, MPI_Comm comm, const char *run,
                              const parameters *p, const slice *slices, size_t slice_count);
void checkpoint_source_close(checkpoint_source **s);

/** The directory used. */
const char *checkpoint_source_path(const checkpoint_source *s);
const checkpoint_facts *checkpoint_source_facts(const checkpoint_source *s);

/** lambda is 0 when there is no Hessian. */
const checkpoint_prior *checkpoint_source_prior(const checkpoint_source *s);

/** Read part of a tensor, any elements; local.
 *
 * @param array   SOURCE_HESSIAN only where there is one
 * @param values  [part->count] out
 * @return STATUS_OK, STATUS_INPUT or STATUS_IO, naming file and tensor
 */
status checkpoint_source_read(const checkpoint_source *s, source_array array, const slice *part,
                              float *values);

#endif
