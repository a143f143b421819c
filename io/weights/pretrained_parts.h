/** What the readers of files from elsewhere share. */
#ifndef VARIO_IO_WEIGHTS_PRETRAINED_PARTS_H
#define VARIO_IO_WEIGHTS_PRETRAINED_PARTS_H

#include "base/parameters.h"
#include "model/gpt2.h"

#include <stdint.h>

enum { PRETRAINED_NAME = 256, PRETRAINED_FILES = 1000, PRETRAINED_PATH = 4096 };

typedef enum { STORED_NOWHERE, STORED_F32, STORED_F16, STORED_BF16 } stored_type;

/** Where a tensor's values are. */
typedef struct {
    uint64_t offset; /**< bytes, in its file */
    size_t file;
    stored_type type; /**< nowhere: a bias that is 0 */
    bool transposed;  /**< stored as (out, in) */
} stored_tensor;

/** GPT-2's output layer, which is tied to wte.weight. */
#define STORED_HEAD "lm_head.weight"

/** The files that hold a model, by their paths; rank 0 makes the list. */
typedef struct {
    char (*paths)[PRETRAINED_PATH];
    size_t count;
} stored_files;

/** Find the tensors of p in DIRECTORY/model.safetensors or the shards of its index; local.
 *
 * @param p      with all tensors that the weights may have
 * @param gpt    whether it is a GPT-2's: with tensors *.bias that the weights may lack all
 * together, and an output layer that they may have beside wte.weight
 * @param found  [p->tensor_count + 1] out, zeros before; the last is the output layer's place
 * @param files  out; the caller frees paths, also after a failure
 */
status stored_find_safetensors(stored_tensor *found, stored_files *files, const char *directory,
                               const parameters *p, bool gpt);

/** Whether a path is a file that begins with llm.c's magic number. */
bool stored_is_llmc(const char *path);

/** The sizes in the header of llm.c's file. @return STATUS_OK, or STATUS_INPUT naming what is wrong
 */
status stored_llmc_model(gpt2_config *c, const char *path);

/** Find the tensors of GPT-2 with biases in llm.c's file, whose sizes must be those of c; local. */
status stored_find_llmc(stored_tensor *found, stored_files *files, const char *path,
                        const parameters *p, const gpt2_config *c);

/** Bytes of a value. */
static inline size_t stored_bytes(stored_type type)
{
    return type == STORED_F32 ? 4 : 2;
}

#endif
