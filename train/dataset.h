/** What a run learns from or is tested on: windows of tokens (gpt2) or examples (the other models).
 */
#ifndef VARIO_TRAIN_DATASET_H
#define VARIO_TRAIN_DATASET_H

#include "io/jobs/job.h"
#include "io/tokens/tokenizer.h"

/** A micro-batch's buffers, and what the model sees of them. */
typedef struct {
    batch view;                 /**< view.sequences of them are filled */
    uint16_t *tokens, *targets; /**< [rows]; NULL where the model has none */
    float *inputs, *values;     /**< (rows, inputs), (rows, outputs); NULL where it has none */
} dataset_batch;

/** Allocate for a job's micro-batch; not collective. @return STATUS_OK or STATUS_NOMEM */
status dataset_batch_open(dataset_batch *b, const job *j);
void dataset_batch_close(dataset_batch *b);

typedef enum {
    DATASET_TRAIN,
    DATASET_VALID,
    DATASET_UNLABELLED, /**< as DATASET_VALID, but examples may have classes of their own: each
                             has class 0 */
} dataset_part;

typedef struct dataset dataset;

/** Open a job's data and check that it fits the model; not collective.
 *
 * Mislabelled examples, and one that is left out, are the training set's only.
 *
 * @param text  a file, a glob or a set of examples, kept; NULL: the job's data.train or data.valid
 * @return STATUS_OK, STATUS_INPUT, STATUS_IO or STATUS_NOMEM; on failure *d is NULL
 */
status dataset_open(dataset **d, const job *j, dataset_part part, const char *text);
void dataset_close(dataset **d);

uint64_t dataset_count(const dataset *d); /**< W: windows or examples */
uint64_t dataset_rows(const dataset *d);  /**< tokens or examples */

/** What is known of its tokens, of examples nothing.
 * @param of  kept: names them in messages; NULL: the text that it was opened with */
tokens_meaning dataset_means(const dataset *d, const char *of);

/** Whether its tokens mean what those of a run do, or of a checkpoint or weights from elsewhere;
 * reads files, on one rank.
 * @param of     as above
 * @param run    NULL: nobody's
 * @param whose  names the run in messages; NULL: its path
 * @return as tokenizer_compare */
status dataset_check_tokens(const dataset *d, const char *of, const char *run, const char *whose);

/** The same as a warning; for rank 0. */
void dataset_warn_tokens(const dataset *d, const char *run);

/** Batches of the job's size, the last of which may be short: they hold all there is. */
uint64_t dataset_batches(const dataset *d);

/** Tokens or examples of batch n in the order of the files. */
size_t dataset_batch_rows(const dataset *d, uint64_t n);

/** Window or example v, in the order of the files, as sequence s of a batch.
 * @return STATUS_OK or STATUS_INPUT: a token at or above vocab_size */
status dataset_window(const dataset *d, uint64_t v, dataset_batch *b, size_t s);

/** Whether training example v has a planted wrong class, or is the one that is left out; never of
 * other data. */
bool dataset_mislabelled(const dataset *d, uint64_t v);
bool dataset_left_out(const dataset *d, uint64_t v);

/** Batch number n in the order of the files. */
status dataset_windows(const dataset *d, uint64_t n, dataset_batch *b);

/** Training items q, q + 1, ..., a micro-batch of them: item q is window pi_e(q mod W), shifted, of
 * epoch e = q div W. The example that is left out is passed over and nothing takes its place, so
 * that all others are seen when they would be. On failure the batch is whole and all zeros. */
status dataset_items(const dataset *d, uint64_t q, dataset_batch *b);

#endif
