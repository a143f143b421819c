/** A GPT-2 in Hugging Face's files: ranks fill them part by part, under other names until all is on
 * disk. */
#ifndef VARIO_IO_WEIGHTS_EXPORT_H
#define VARIO_IO_WEIGHTS_EXPORT_H

#include "base/parameters.h"
#include "model/gpt2.h"
#include "runtime/mpi_calls.h"

#include <stdbool.h>

/** model.safetensors, and the standard deviations of its weights in posterior.safetensors. */
typedef enum { EXPORT_MEAN, EXPORT_DEVIATION, EXPORT_FILES } export_file;

typedef struct export_sink export_sink;

/** Make the directory where it is absent, and begin; collective.
 *
 * @param config     the model; whether it has biases or not, the files have them
 * @param posterior  whether there will be deviations
 * @param force      replace files that the directory holds; others are left alone
 * @return STATUS_OK, STATUS_INPUT (files are there, or no directory can be), STATUS_IO or
 *         STATUS_NOMEM, the same on all ranks; *e is NULL on failure
 */
status export_open(export_sink **e, MPI_Comm comm, const char *directory, const gpt2_config *config,
                   bool posterior, bool force);

/** The tensors of the files, in their order. */
const parameters *export_parameters(const export_sink *e);

/** Write part of a tensor at its place; local. All ranks' parts together cover each file once.
 * @param part    of export_parameters; its offset is not used
 * @param values  [part->count] */
status export_write(export_sink *e, export_file file, const slice *part, const float *values);

/** Settle, write the JSON files, copy the tokenizer's, and put all under their names; collective.
 * Closes *e; on failure nothing that the directory held is touched.
 *
 * @param tokenizers  [count] directories that may have a tokenizer's files; those of the first that
 *                    has are copied. Where none has, and the meta.json of one says that tokens are
 *                    bytes, a tokenizer of bytes is written
 * @return STATUS_OK or STATUS_IO, the same on all ranks
 */
status export_finish(export_sink **e, const char *const *tokenizers, size_t count);

/** Close and remove what was written; collective; takes NULL. */
void export_abandon(export_sink **e);

#endif
