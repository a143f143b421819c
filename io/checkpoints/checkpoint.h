/** Checkpoints: directories step-NNNNNNNN of safetensors files whose bytes depend neither on the
 * number of ranks nor on the sharding stage, and a state.json with the facts of the run. */
#ifndef VARIO_IO_CHECKPOINTS_CHECKPOINT_H
#define VARIO_IO_CHECKPOINTS_CHECKPOINT_H

#include "base/parameters.h"
#include "base/status.h"
#include "runtime/mpi_calls.h"
#include "runtime/state_arrays.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t steps;   /**< finished */
    uint64_t updates; /**< made: steps less those skipped */
    uint64_t skipped_in_row;
    uint64_t seed;
    uint64_t item;       /**< q of the next sequence */
    double loo_best;     /**< least estimate of the leave-one-out loss, while loo_made */
    uint64_t loo_made;   /**< estimates */
    uint64_t loo_waited; /**< of them since the least */
    uint64_t threads;    /**< per rank; 0: nothing was computed */
    uint64_t ranks;      /**< that wrote it; a fact for people, nothing depends on it */
    uint64_t snapshots;  /**< that SWAG has collected */
    uint64_t init;       /**< checksum of the weights from elsewhere that it began with, 0: none */
    char instruction_set[64];
    char libraries[256]; /**< versions */
} checkpoint_facts;

/** What a checkpoint says of the program that wrote it, as texts: a job or another's settings. */
typedef struct {
    char *job;     /**< a job file */
    char *config;  /**< config.json */
    bool collects; /**< SWAG's snapshots are counted */
} checkpoint_words;

/** What h means in posterior.safetensors: the precision of a weight is lambda (h + delta). Of bbb,
 * which keeps log deviations instead, lambda delta is the prior's precision. */
typedef struct {
    double lambda; /**< 0: there is no posterior */
    double *delta; /**< [tensor_count] */
} checkpoint_prior;

typedef struct checkpoint_writer checkpoint_writer;

/** Begin writing run/step-%08steps under another name; collective. Copies the values, starts the
 * writing in the background (a thread a rank, on descriptors of its own) and returns.
 *
 * @param comm    a communicator used for nothing else
 * @param words, prior, facts  copied
 * @param arrays  [array_count] consecutive entries of the same file share it, in the order given
 * @param slices  [slice_count] what this rank owns, in logical order; all ranks' slices together
 *                cover every parameter exactly once
 * @return STATUS_OK or STATUS_IO or STATUS_NOMEM, the same on all ranks; nothing is left behind
 *         on failure
 */
status checkpoint_begin(checkpoint_writer **w, MPI_Comm comm, const char *run,
                        const checkpoint_words *words, const checkpoint_prior *prior,
                        const checkpoint_facts *facts, const parameters *p,
                        const saved_array *arrays, size_t array_count, const slice *slices,
                        size_t slice_count);

/** Whether this rank's background work is over (local, never waits). */
bool checkpoint_written(const checkpoint_writer *w);

/** Finish: wait, agree, write state.json and config.json, fsync, rename into place, remove all but
 * the newest `keep` up to this one (0: none removed); collective. Closes *w. On failure the
 * unfinished directory is removed, older checkpoints stay, and the same status is returned on all
 * ranks. */
status checkpoint_finish(checkpoint_writer **w, uint64_t keep);

/** Find the newest whole checkpoint and read it; collective.
 *
 * Candidates are run/step-* from the newest to the oldest; or `run` itself if it is a checkpoint
 * directory. A torn, truncated or altered one is refused with one sentence that names file and
 * tensor, printed to stderr by rank 0 as a warning when an older one is there to be used.
 *
 * @param arrays  [array_count] files to read into values; a file is verified whole by checksums,
 *                also those without values (NULL), which are read in parts of a megabyte
 * @param facts   out
 * @param path    out: [path_size] the directory used
 * @return STATUS_OK; STATUS_INPUT when there is none (message says so) or none is whole; STATUS_IO
 */
status checkpoint_read(MPI_Comm comm, const char *run, const parameters *p,
                       const saved_array *arrays, size_t array_count, const slice *slices,
                       size_t slice_count, checkpoint_facts *facts, char *path, size_t path_size);

/** Whether run holds any step-%08 directory (local). */
bool checkpoint_exists(const char *run);

/** Remove leftovers of writers that were killed; rank 0 alone calls it, under the run's lock. */
void checkpoint_sweep(const char *run);

/** Bytes that one checkpoint takes on disk, headers included, json files estimated at 64 KiB. */
uint64_t checkpoint_bytes(const parameters *p, const saved_array *arrays, size_t array_count);

#endif
