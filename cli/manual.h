/** Man pages and the shell's completion, from the tables that --help prints. */
#ifndef VARIO_CLI_MANUAL_H
#define VARIO_CLI_MANUAL_H

#include "cli/options.h"
#include "cli/verbs.h"

/** Write DIRECTORY/man1/vario.1, vario-VERB.1 of each verb, and DIRECTORY/completion/vario.
 * @return STATUS_OK, STATUS_INPUT (no such directory can be made) or STATUS_IO */
status manual_write(const char *directory, const verb *verbs, size_t count);

/** A verb's part of its page, to stdout: synopsis, description, options. */
void manual_print_table(const option_table *table);

/** A verb's options, to stdout, for completion: "--set --json ". */
void manual_print_words(const option_table *table);

#endif
