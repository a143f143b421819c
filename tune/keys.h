/** The keys that are tuned: what `--key KEY=...` says of each, a range or a list. */
#ifndef VARIO_TUNE_KEYS_H
#define VARIO_TUNE_KEYS_H

#include "io/jobs/job_schema.h"

enum {
    TUNE_KEYS = 8,    /**< at most */
    TUNE_VALUES = 64, /**< of a list, at most */
    TUNE_TEXT = 64    /**< bytes of a value */
};

/** An end of a range. */
typedef struct {
    double value;
    bool relative; /**< times what the job has there: "x0.1" */
} tune_bound;

typedef struct {
    const schema_row *row;
    size_t count; /**< values of a list; 0: a range */
    char values[TUNE_VALUES][TUNE_TEXT];
    tune_bound low, high;
    bool log;
} tune_key;

/** A key's range for one job. */
typedef struct {
    double low, high;
} tune_range;

/** Read "KEY=LOW:HIGH:log", "KEY=LOW:HIGH:linear" or "KEY=VALUE,VALUE...".
 * @return STATUS_OK, or STATUS_INPUT (no such key, one that does not change a result, no range) */
status tune_key_parse(tune_key *k, const char *text);

/** The range that a key has for a job; of a list nothing is asked.
 * @return STATUS_OK, or STATUS_INPUT: empty, or logarithmic and not above 0 */
status tune_key_range(tune_range *range, const tune_key *k, const job *j);

/** The value at a place: of a range with four digits, so that they are the same on every machine,
 * but for its ends, and whole where the key is a count.
 * @param at  0 to 1, where a list ends below 1 */
void tune_key_value(char text[TUNE_TEXT], const tune_key *k, const tune_range *range, double at);

#endif
