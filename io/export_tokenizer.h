/** The tokenizer's files that go with a model. */
#ifndef VARIO_IO_EXPORT_TOKENIZER_H
#define VARIO_IO_EXPORT_TOKENIZER_H

#include "base/status.h"

#include <stddef.h>

/** Copy the files of the first directory that has tokenizer.json or vocab.json; where none has, and
 * the meta.json of one says that its tokens are bytes, write a tokenizer.json of bytes; else
 * nothing. Not collective.
 * @return STATUS_OK, STATUS_INPUT (a file cannot be read), STATUS_IO or STATUS_NOMEM */
status export_tokenizer(const char *into, const char *const *directories, size_t count);

#endif
