/** A checkpoint in the making: files that ranks fill part by part, under another name until all of
 * it is on disk. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_SINK_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_SINK_H

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"

typedef struct checkpoint_sink checkpoint_sink;

/** Begin run/step-%08steps, with files of their full length that hold only headers yet; collective.
 * What is passed is copied, but for p, which must outlive the
 * sink. Values of arrays are not looked at.
 *
 * @return STATUS_OK, STATUS_IO or STATUS_NOMEM, the same on all ranks; nothing is left behind on
 *         failure
 */
status checkpoint_sink_open(checkpoint_sink **s, MPI_Comm comm, const char *run,
                            const checkpoint_words *words, const checkpoint_prior *prior,
                            const checkpoint_facts *facts, const parameters *p,
                            const saved_array *arrays, size_t array_count);

/** What the facts say of the weights from elsewhere, where that is known only when all are read. */
void checkpoint_sink_set_init(checkpoint_sink *s, uint64_t checksum);

/** Write slices of an array at their places; local, and may be called by a thread: what failed is
 * told by checkpoint_sink_settle. All ranks' slices together cover every array exactly once, each
 * beginning at a multiple of 256 elements of its unit, or at its tensor's first.
 *
 * @param slices  [count] in logical order
 * @param values  addressed by slice.offset
 * @return false after a failure, this one or an earlier one
 */
bool checkpoint_sink_write(checkpoint_sink *s, size_t array, const slice *slices, size_t count,
                           const float *values);

/** Put what this rank wrote on disk and close its files; local, as checkpoint_sink_write. */
bool checkpoint_sink_sync(checkpoint_sink *s);

/** Sync, and agree whether all ranks wrote all that they were given; collective.
 * @return STATUS_OK or STATUS_IO, naming the file that could not be written */
status checkpoint_sink_settle(checkpoint_sink *s);

/** Finish: settle, write state.json and config.json, fsync, rename into place, remove all but
 * the newest `keep` up to this one (0: none removed); collective. Closes *s. On failure the
 * unfinished directory is removed, older checkpoints stay, and the same status is returned on all
 * ranks. */
status checkpoint_sink_finish(checkpoint_sink **s, uint64_t keep);

/** Close and remove what was written; collective; takes NULL. */
void checkpoint_sink_abandon(checkpoint_sink **s);

#endif
