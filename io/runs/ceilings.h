/** Measured ceilings of hosts, remembered in the user's cache directory: one JSON object in
 * $XDG_CACHE_HOME/vario/ceilings.json, or $HOME/.cache/vario/ceilings.json, of GFLOP/s by what they
 * were measured on. Only ever a shortcut: what cannot be read or written fails nothing. */
#ifndef VARIO_IO_RUNS_CEILINGS_H
#define VARIO_IO_RUNS_CEILINGS_H

#include <stddef.h>

enum { CEILING_KEY = 256 };

typedef struct {
    char key[CEILING_KEY]; /**< what it was measured on, "AMD EPYC 9354, 32 processors, ..." */
    double gflops;
} host_ceiling;

/** Name of this host's processor, as /proc/cpuinfo or else uname calls it. */
void ceilings_processor(char *name, size_t size);

/** Look up the keys of [count] ceilings, which may repeat; gflops out: 0 where nothing good is
 * remembered. */
void ceilings_recall(host_ceiling *wanted, size_t count);

/** Add [count] ceilings, which replace those of the same keys; a damaged file is replaced. Other
 * processes see the file before or after, never a part. */
void ceilings_remember(const host_ceiling *found, size_t count);

/** Remove the file: what it says has turned out wrong. */
void ceilings_forget(void);

#endif
