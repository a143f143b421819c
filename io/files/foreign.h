/** Files that are not what their names say: what a download or a clone leaves in their place. */
#ifndef VARIO_IO_FILES_FOREIGN_H
#define VARIO_IO_FILES_FOREIGN_H

#include "base/status.h"

/** Tell a Git LFS pointer and an HTML page by name. For a file that cannot be read as what it
 * should be, before that is said; one that cannot be opened is not told either.
 * @return STATUS_OK or STATUS_INPUT */
status foreign_refuse(const char *path);

#endif
