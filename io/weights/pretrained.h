/** Weights from elsewhere, read part by part: safetensors under Hugging Face's names in one file
 * or in shards, or a checkpoint of llm.c. */
#ifndef VARIO_IO_WEIGHTS_PRETRAINED_H
#define VARIO_IO_WEIGHTS_PRETRAINED_H

#include "io/checkpoints/checkpoint.h"
#include "model/model.h"

typedef struct pretrained pretrained;

/** The sizes of a GPT-2, from its config.json or llm.c's header; local (rank 0 reads for all).
 * @param path  a directory with model.safetensors or model.safetensors.index.json, or a file of
 *              llm.c
 * @param c     out; bias tells whether the weights have biases, dropout is 0
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT naming the file */
status pretrained_model(gpt2_config *c, const char *path);

/** Find all tensors of a model, and read none; collective.
 *
 * Rank 0 reads the headers. Names stand with or without "transformer."; values are F32, F16 or
 * BF16. A tensor that the model does not have is refused: it would be another model without it. So
 * is a tensor that is missing, but for biases where the weights have none at all. A model without
 * biases takes biases that are all 0. An output layer, lm_head.weight, has to be wte.weight again:
 * pretrained_read compares them.
 *
 * @param path   as pretrained_model's; where config.json is, it must be that of the model
 * @return STATUS_OK, STATUS_INPUT naming file and tensor, or STATUS_NOMEM, the same on all ranks;
 *         *w is NULL on failure
 */
status pretrained_open(pretrained **w, MPI_Comm comm, const char *path, const model_config *config);
void pretrained_close(pretrained **w);

/** Read part of a tensor, once and for all: it counts for the checksum; local.
 *
 * Matrices of llm.c are stored the other way round; a part of whole rows takes as many reads as the
 * matrix has columns.
 *
 * @param part    of the model's tensor in the order of model_parameters; begins as
 * safetensors_part's
 * @param values  [part->count] out
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT: truncated, a weight that is not finite, or an
 *         output layer that is not wte
 */
status pretrained_read(pretrained *w, const slice *part, float *values);

/** After all ranks have read all: look whether biases that the model does not have are 0, and add
 * up the checksum; collective.
 * @param checksum  out: of all values in fp32, the same on any number of ranks */
status pretrained_finish(pretrained *w, uint64_t *checksum);

/** Read what each rank owns, and finish; collective.
 * @param into  file and prefix are not used */
status pretrained_load(pretrained *w, const saved_array *into, const slice *slices,
                       size_t slice_count, uint64_t *checksum);

#endif
