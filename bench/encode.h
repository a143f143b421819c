/** The tokenizer, on one thread. */
#ifndef VARIO_BENCH_ENCODE_H
#define VARIO_BENCH_ENCODE_H

#include "bench/report.h"

/** MB/s, by the thread's processor time, of encoding beside that of the splitting pattern alone,
 * the same of long pieces beside shorter ones, decoding, and the time to learn a tokenizer.
 *
 * @param text       a file of at most 64 MB are encoded; NULL: words drawn for the purpose
 * @param tokenizer  of tokenizer_open; NULL: the one that is learned
 * @return STATUS_OK, STATUS_INPUT, STATUS_IO or STATUS_NOMEM
 */
status bench_encode(report *r, const char *text, const char *tokenizer);

#endif
