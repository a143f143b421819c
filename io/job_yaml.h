/** A YAML job file as a flat list of dotted keys. */
#ifndef VARIO_IO_JOB_YAML_H
#define VARIO_IO_JOB_YAML_H

#include "io/job.h"

enum { JOB_ENTRIES = 128 };

typedef struct {
    char key[128];
    char value[JOB_TEXT + 1]; /**< a list as "a,b" */
    size_t line, column;      /**< from 1; line 0: of an override */
    bool too_long;
} job_entry;

typedef struct {
    job_entry entries[JOB_ENTRIES];
    size_t count;
} job_entries;

/** @return STATUS_OK or STATUS_INPUT, the message naming path:line:column */
status job_yaml_read(job_entries *out, const char *path);

#endif
