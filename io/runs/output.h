/** Where results may go: never in the place of what they are made of. Every verb asks here. */
#ifndef VARIO_IO_RUNS_OUTPUT_H
#define VARIO_IO_RUNS_OUTPUT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/** Refuse a path for a file of results; not collective.
 *
 * @param inputs  [count] what is read: files, directories, patterns or data sets as a job names
 *                them; NULL entries are passed over
 * @return STATUS_OK or STATUS_INPUT: an input is there, or something that is no regular file, or a
 *         file that a run keeps, or it lies in a checkpoint
 */
status output_check_file(const char *path, const char *const *inputs, size_t count);

/** Refuse a directory for results; not collective.
 *
 * @param inputs  [count] files and directories that are read; NULL entries are passed over
 * @param takes   says whether something in the directory, named from there, makes room for results
 * @return STATUS_OK or STATUS_INPUT: it is an input, or holds one that would make room, or lies in
 * a checkpoint, or is the directory of a run
 */
status output_check_directory(const char *path, const char *const *inputs, size_t count,
                              bool (*takes)(const char *name));

/** The same for a new run, which may replace an older one. */
status output_check_run(const char *path, const char *const *inputs, size_t count);

#endif
