/* Verified first, read afterwards: nothing is made of a checkpoint that is not whole. */
#include "io/checkpoints/checkpoint_source.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_SIZE = 4096, SOURCE_ARRAYS = 2 };

static const saved_array arrays[SOURCE_ARRAYS] = {
    [SOURCE_MEAN] = {.file = "model.safetensors"},
    [SOURCE_HESSIAN] = {.file = "posterior.safetensors"},
};

struct checkpoint_source {
    const parameters *p;
    char path[PATH_SIZE];
    checkpoint_facts facts;
    checkpoint_prior prior;
    size_t array_count; /* 1 without a Hessian */
    safetensors_header headers[SOURCE_ARRAYS];
    int descriptors[SOURCE_ARRAYS]; /* -1: not open */
};

/* Whether the newest checkpoint with a whole state.json has a Hessian. Where none has one, the
 * reader says what is wrong. */
static bool has_hessian(const char *run, const parameters *p)
{
    uint64_t *steps;
    size_t count;
    checkpoint_prior prior = {0};
    char path[PATH_SIZE];
    status result = checkpoint_list(&steps, &count, run);
    if (!result && count == 0) result = checkpoint_prior_read(&prior, run, p);
    for (size_t i = 0; !result && !prior.delta && i < count; i++) {
        snprintf(path, sizeof path, "%.3900s/step-%08" PRIu64, run, steps[i]);
        if (checkpoint_prior_read(&prior, path, p)) status_clear();
    }
    bool found = prior.lambda > 0.0;
    status_clear();
    free(steps);
    checkpoint_prior_close(&prior);
    return found;
}

static status share_prior(checkpoint_source *s, MPI_Comm comm, int rank)
{
    size_t tensors = s->p->tensor_count;
    status result = STATUS_OK;
    if (rank == 0)
        result = checkpoint_prior_read(&s->prior, s->path, s->p);
    else if (!(s->prior.delta = calloc(tensors, sizeof(double))))
        result = fail(STATUS_NOMEM, "memory for the prior of %zu tensors", tensors);
    result = agree(comm, result);
    if (result) return result;
    MPI_Bcast(&s->prior.lambda, 1, MPI_DOUBLE, 0, comm);
    MPI_Bcast(s->prior.delta, (int)tensors, MPI_DOUBLE, 0, comm);
    return STATUS_OK;
}

static status open_files(checkpoint_source *s)
{
    status result = STATUS_OK;
    for (size_t a = 0; !result && a < s->array_count; a++) {
        char path[PATH_SIZE + 64];
        snprintf(path, sizeof path, "%s/%s", s->path, arrays[a].file);
        result = safetensors_make(&s->headers[a], s->p, arrays, a, a + 1);
        if (!result) result = file_open(&s->descriptors[a], NULL, path, "a checkpoint's file");
    }
    return result;
}

static status open_source(checkpoint_source *s, MPI_Comm comm, const char *run, const slice *slices,
                          size_t slice_count)
{
    int rank, hessian = 0;
    MPI_Comm_rank(comm, &rank);
    if (rank == 0) hessian = has_hessian(run, s->p);
    MPI_Bcast(&hessian, 1, MPI_INT, 0, comm);
    s->array_count = hessian ? SOURCE_ARRAYS : 1;
    status result = checkpoint_read(comm, run, s->p, arrays, s->array_count, slices, slice_count,
                                    &s->facts, s->path, sizeof s->path);
    if (!result) result = share_prior(s, comm, rank);
    return result ? result : agree(comm, open_files(s));
}

status checkpoint_source_open(checkpoint_source **out, MPI_Comm comm, const char *run,
                              const parameters *p, const slice *slices, size_t slice_count)
{
    checkpoint_source *s = calloc(1, sizeof *s);
    status result = agree(comm, s ? STATUS_OK : fail(STATUS_NOMEM, "memory for a checkpoint"));
    if (!result) {
        s->p = p;
        for (size_t a = 0; a < SOURCE_ARRAYS; a++) s->descriptors[a] = -1;
        result = open_source(s, comm, run, slices, slice_count);
    }
    if (result) checkpoint_source_close(&s);
    *out = s;
    return result;
}

void checkpoint_source_close(checkpoint_source **out)
{
    checkpoint_source *s = *out;
    if (!s) return;
    for (size_t a = 0; a < SOURCE_ARRAYS; a++) {
        data_file_close(&s->descriptors[a], false);
        free(s->headers[a].bytes);
    }
    checkpoint_prior_close(&s->prior);
    free(s);
    *out = NULL;
}

const char *checkpoint_source_path(const checkpoint_source *s)
{
    return s->path;
}

const checkpoint_facts *checkpoint_source_facts(const checkpoint_source *s)
{
    return &s->facts;
}

const checkpoint_prior *checkpoint_source_prior(const checkpoint_source *s)
{
    return &s->prior;
}

status checkpoint_source_read(const checkpoint_source *s, source_array array, const slice *part,
                              float *values)
{
    char path[PATH_SIZE + 64];
    const tensor *t = &s->p->tensors[part->tensor];
    snprintf(path, sizeof path, "%s/%s", s->path, arrays[array].file);
    return data_file_read(
        s->descriptors[array], path, t->name,
        safetensors_offset(&s->headers[array], s->p, arrays, array, array, t->index + part->first),
        values, part->count * sizeof(float));
}
