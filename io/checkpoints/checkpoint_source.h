/** A whole checkpoint, read part by part: for those who never need all of it at once. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_SOURCE_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_SOURCE_H

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"

/** What can be read of a weight. */
typedef enum {
    SOURCE_MEAN,
    SOURCE_HESSIAN,   /**< the precision's diagonal, lambda (h + delta): where a matrix has its
                           posterior in bases, (Q_L o Q_L) h (Q_R o Q_R)' */
    SOURCE_DEVIATION, /**< sigma; 0 of a point */
    SOURCE_STORED     /**< h as it stands in the file, of directions: where matrices are taken
                           whole part after part */
} source_array;

typedef struct checkpoint_source checkpoint_source;

/** Find the newest whole checkpoint, as checkpoint_read does, verify its mean and, where its
 * state.json says that there is one, its posterior with a Hessian; collective.
 *
 * Each rank verifies its own part. kernels_open has been called where the run's optimizer takes
 * matrices whole.
 *
 * @param with  of the run's job, copied
 * @param p     outlives the source
 * @return STATUS_OK, STATUS_INPUT, STATUS_IO or STATUS_NOMEM, the same on all ranks; *s is NULL on
 * failure
 */
status checkpoint_source_open(checkpoint_source **s, MPI_Comm comm, const char *run,
                              const runtime_settings *with, const parameters *p);
void checkpoint_source_close(checkpoint_source **s);

/** The directory used. */
const char *checkpoint_source_path(const checkpoint_source *s);
const checkpoint_facts *checkpoint_source_facts(const checkpoint_source *s);

/** lambda is 0 when there is no Hessian. */
const checkpoint_prior *checkpoint_source_prior(const checkpoint_source *s);

/** Whether a tensor has a Hessian. Beside those that have some are points where the optimizer takes
 * matrices whole and leaves the rest to AdamW. */
bool checkpoint_source_has_hessian(const checkpoint_source *s, size_t number);

/** Whether tensors with matrices of layers are read as a whole, since they stand in bases. */
bool checkpoint_source_takes_whole(const runtime_settings *with);

/** The part of a slice to read that begins at its element `at`, as safetensors_part has it, or all
 * of it where tensors are read as a whole. */
slice checkpoint_source_part(const runtime_settings *with, const parameters *p, const slice *whole,
                             size_t at, size_t max);

/** Elements of the largest such part. */
size_t checkpoint_source_largest(const runtime_settings *with, const parameters *p, size_t max);

/** Bytes that a source needs to read them. */
size_t checkpoint_source_bytes(const runtime_settings *with, const parameters *p);

/** Read part of a tensor, any elements, or a whole tensor where it is read as a whole (but for its
 * mean); local. The bits do not depend on the number of threads.
 *
 * @param array   SOURCE_HESSIAN and SOURCE_STORED only where there is one
 * @param values  [part->count] out
 * @return STATUS_OK, STATUS_INPUT or STATUS_IO, naming file and tensor
 */
status checkpoint_source_read(checkpoint_source *s, source_array array, const slice *part,
                              float *values);

#endif
