/** A YAML job file as a flat list of dotted keys. */
#ifndef VARIO_IO_JOBS_JOB_YAML_H
#define VARIO_IO_JOBS_JOB_YAML_H

#include "io/jobs/job.h"

/** Every key once, the sections, and JOB_OVERRIDES, with room to find what does not belong. */
enum { JOB_ENTRIES = 256 };

typedef enum {
    SHAPE_PLAIN,    /**< a scalar without quotes: a number, a word */
    SHAPE_QUOTED,   /**< a scalar that the file says is text */
    SHAPE_LIST,     /**< of plain scalars; value is "a,b" */
    SHAPE_MAPPING,  /**< a section: its keys are entries of their own; value is "" */
    SHAPE_OVERRIDE, /**< --set: whatever the key takes */
} entry_shape;

typedef struct {
    char key[128];
    char value[JOB_TEXT + 1];
    entry_shape shape;
    size_t line, column; /**< of the key, from 1 */
    bool too_long;       /**< value is cut */
} job_entry;

typedef struct {
    job_entry entries[JOB_ENTRIES];
    size_t count;
} job_entries;

/** Read the file's entries in their order; which keys there are is not checked.
 *
 * One document, one mapping, sections one level deep; no anchors, aliases or tags.
 * @return STATUS_OK, STATUS_INPUT with path:line:column, or STATUS_NOMEM
 */
status job_yaml_read(job_entries *out, const char *path);

/** The same of a text. @param path  stands for the file in messages */
status job_yaml_parse(job_entries *out, const char *path, const char *text, size_t size);

#endif
