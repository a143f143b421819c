/* Job files for tests: a small one as text, with line numbers that tests name, and edits of it. */
#ifndef TESTS_JOB_TEXT_H
#define TESTS_JOB_TEXT_H

#include "io/jobs/job.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char small_job[] = "name: base\n"         /*  1 */
                                "model:\n"             /*  2 */
                                "  n_layer: 2\n"       /*  3 */
                                "  n_head: 2\n"        /*  4 */
                                "  n_embd: 32\n"       /*  5 */
                                "  block_size: 32\n"   /*  6 */
                                "  vocab_size: 256\n"  /*  7 */
                                "data:\n"              /*  8 */
                                "  train: train.bin\n" /*  9 */
                                "  valid: val.bin\n"   /* 10 */
                                "batch:\n"             /* 11 */
                                "  sequences: 2\n"     /* 12 */
                                "  microbatches: 5\n"  /* 13 */
                                "steps: 50\n"          /* 14 */
                                "optimizer:\n"         /* 15 */
                                "  kind: ivon\n"       /* 16 */
                                "schedule:\n"          /* 17 */
                                "  kind: cosine\n";    /* 18 */

static const char mlp_job[] = "name: base\n"           /*  1 */
                              "model:\n"               /*  2 */
                              "  kind: mlp\n"          /*  3 */
                              "  inputs: 2\n"          /*  4 */
                              "  outputs: 2\n"         /*  5 */
                              "  hidden: [20, 10]\n"   /*  6 */
                              "data:\n"                /*  7 */
                              "  train: moons:0-99\n"  /*  8 */
                              "  valid: moons:100-9\n" /*  9 */
                              "batch:\n"               /* 10 */
                              "  sequences: 4\n"       /* 11 */
                              "steps: 50\n";           /* 12 */

enum { TEXT_MAX = 16384, PATH_SIZE = 64 };

/* Read a job from text; path is where it stood. */
static status read_bytes(job *j, const char *text, size_t length, char path[PATH_SIZE],
                         const char *const *overrides, size_t count)
{
    snprintf(path, PATH_SIZE, "/tmp/vario-test-job-XXXXXX");
    int handle = mkstemp(path);
    cr_assert_geq(handle, 0);
    cr_assert_eq(write(handle, text, length), (ssize_t)length);
    close(handle);
    status_clear();
    status result = job_read(j, path, overrides, count);
    unlink(path);
    return result;
}

static inline status read_text(job *j, const char *text, char path[PATH_SIZE])
{
    return read_bytes(j, text, strlen(text), path, NULL, 0);
}

/* A job with overrides; asserts that it is good. */
static inline job read_with(const char *text, const char *const *overrides, size_t count)
{
    job j;
    char path[PATH_SIZE];
    status result = read_bytes(&j, text, strlen(text), path, overrides, count);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    return j;
}

static inline job read_small(const char *const *overrides, size_t count)
{
    return read_with(small_job, overrides, count);
}

static inline void write_text(char text[TEXT_MAX], const job *j)
{
    FILE *out = fmemopen(text, TEXT_MAX, "w");
    cr_assert_not_null(out);
    cr_assert_eq(job_write(j, out), STATUS_OK, "%s", status_message());
    fclose(out);
}

/* Replace the first `old` by `new`. */
static inline void edit(char out[TEXT_MAX], const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    cr_assert_not_null(at, "'%s' is not in the job", old);
    snprintf(out, TEXT_MAX, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

#endif
