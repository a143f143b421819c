/** Locks: one process at a time writes a folder.
 *
 * The kernel's lock of a file ends with its process, however that ends, and is taken wherever there
 * is one. Where the file system has none (Lustre without flock, NFS without a lock daemon) a second
 * file, PATH.held, is the lock: made by one process alone, it names host and process and is touched
 * every LOCK_BEAT_SECONDS. It is free when its process is gone, which is known at once on the same
 * host, or when it was not touched for LOCK_STALE_SECONDS. Not collective. */
#ifndef VARIO_IO_FILES_LOCK_H
#define VARIO_IO_FILES_LOCK_H

#include "base/status.h"

#include <stdbool.h>

enum { LOCK_BEAT_SECONDS = 10, LOCK_STALE_SECONDS = 120 };

typedef struct folder_lock folder_lock;

/** Lock a file, made where it is absent, until lock_release or the end of the process; it names
 * host and process.
 * @param what  is in use when another process holds the lock, and `who` uses it
 * @return STATUS_OK, STATUS_INPUT (held, or no file that can be opened), STATUS_IO or STATUS_NOMEM;
 *         *l is NULL on failure */
status lock_take(folder_lock **l, const char *path, const char *what, const char *who);

/** Takes NULL. */
void lock_release(folder_lock **l);

/** Whether the lock is still this process's. A PATH.held can be lost: by a process that stood still
 * for LOCK_STALE_SECONDS, or to a hand that removes it.
 * @return STATUS_OK or STATUS_IO, naming who has it */
status lock_check(const folder_lock *l);

/** Whether another process holds the lock of a file; false where there is none. */
bool lock_is_held(const char *path);

/** Seconds between touches. Tests shorten it, before lock_take. */
extern double lock_beat_seconds;

#endif
