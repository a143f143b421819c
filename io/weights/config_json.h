/** config.json as transformers has it: GPT-2's sizes, and what its tensors do not tell. */
#ifndef VARIO_IO_WEIGHTS_CONFIG_JSON_H
#define VARIO_IO_WEIGHTS_CONFIG_JSON_H

#include "base/status.h"
#include "model/gpt2.h"

/** A model's as text, NULL without memory; the caller frees it. `bias`, which is nobody else's key,
 * tells a model without biases from one whose biases are 0. */
char *config_json_make(const gpt2_config *c);

/** generation_config.json: the end of a text is 50256 in vocabularies that have GPT-2's tokens. */
char *config_json_make_generation(const gpt2_config *c);

/** Read a model's sizes; not collective. A model that is not computed as GPT-2 is refused.
 * @param c  out; bias is true unless the file says otherwise, dropout 0
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT naming file and key */
status config_json_read(gpt2_config *c, const char *path);

#endif
