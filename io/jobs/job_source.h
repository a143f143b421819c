/** Where a job's keys were written, for messages. */
#ifndef VARIO_IO_JOBS_JOB_SOURCE_H
#define VARIO_IO_JOBS_JOB_SOURCE_H

#include "io/jobs/job_yaml.h"

typedef struct {
    const char *path;
    job_entries *entries; /**< the file's, then the overrides; the last of a key counts */
    bool kept;            /**< of a run that has begun: its paths stand */
} job_source;

/** Add "key=value" overrides. @return STATUS_OK or STATUS_INPUT */
status source_override(const job_source *s, const char *const *overrides, size_t count);

/** The entry that counts, NULL when the key is given nowhere. */
const job_entry *source_find(const job_source *s, const char *key);

/** Fail with STATUS_INPUT at an entry's place: "path:line:column: ..." or "--set key=value: ...";
 * e NULL: "path: ...". */
status source_refuse(const job_source *s, const job_entry *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** A text for a message: cut after 100 bytes at most, between characters; a tab is <tab>. */
const char *source_show(const char *text, char out[104]);

/** What optimizer.settings is where it is not given: by what else is. */
settings_kind source_settings(const job_source *s, const job *j);

/** The keys that optimizer.settings has to derive: those that are not given.
 * @param s  NULL: none is */
unsigned source_waiting(const job_source *s, const job *j);

/** Whether fp32 holds what updates are multiplied by at the highest learning rate. */
bool job_rates_fit(const job *j);

/** Refuse what keys hold together: contradictions, products out of range. */
status job_check(const job_source *s, const job *j);

#endif
