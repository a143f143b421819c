/** The schema of job files: one row a key. */
#ifndef VARIO_IO_JOB_SCHEMA_H
#define VARIO_IO_JOB_SCHEMA_H

#include "io/job.h"

typedef enum { KEY_TEXT, KEY_COUNT, KEY_NUMBER, KEY_BOOL, KEY_CHOICE, KEY_COUNTS } key_type;

/** Which optimizers a key belongs to. */
enum { FOR_IVON = 1, FOR_ADAMW = 2, FOR_SGD = 4, FOR_ALL = 7 };

typedef struct {
    const char *key; /**< dotted */
    key_type type;
    size_t offset;                             /**< in job */
    const char *standard;                      /**< default as text, NULL: required */
    const char *standard_adamw, *standard_sgd; /**< where they differ, else NULL */
    double least, most;                        /**< of numbers and counts, both allowed */
    const char *choices;                       /**< "a|b|c" */
    bool may_change;                           /**< on resume */
    int optimizers;                            /**< FOR_... */
    const char *help;
} schema_row;

extern const schema_row schema_rows[];
extern const size_t schema_count;

const schema_row *schema_find(const char *key);

/** The known key with the smallest edit distance. */
const char *schema_nearest(const char *key);

/** The default of a row for an optimizer; NULL: required. */
const char *schema_standard(const schema_row *row, optimizer_kind kind);

/** Parse text into the job's field.
 * @param expected  [size] out on failure: what the key takes
 * @return whether it was a valid value */
bool schema_parse(const schema_row *row, job *j, const char *text, char *expected, size_t size);

/** The job's value as text that schema_parse reads back. */
void schema_format(const schema_row *row, const job *j, char *text, size_t size);

#endif
