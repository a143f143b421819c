/* Verified first, read afterwards: nothing is made of a checkpoint that is not whole. */
#include "io/checkpoints/checkpoint_source.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "optimizer/matrix_row.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096, SOURCE_FILES = 2, BLOCK = 1024 /* elements */ };

struct checkpoint_source {
    const parameters *p;
    runtime_settings with;
    sharding owned; /* what this rank verifies */
    char path[PATH_SIZE];
    checkpoint_facts facts;
    checkpoint_prior prior;
    array_list list; /* the mean, then those of the posterior, where there is one */
    safetensors_header headers[SOURCE_FILES];
    int descriptors[SOURCE_FILES]; /* -1: not open */
    float *work;                   /* [work_floats] */
};

bool checkpoint_source_takes_whole(const runtime_settings *with)
{
    return with->row->matrix && with->row->spread == SPREAD_HESSIAN;
}

static bool reads_whole(const runtime_settings *with, const tensor *t)
{
    return checkpoint_source_takes_whole(with) && t->matrices > 0;
}

slice checkpoint_source_part(const runtime_settings *with, const parameters *p, const slice *whole,
                             size_t at, size_t max)
{
    bool all = reads_whole(with, &p->tensors[whole->tensor]);
    slice part = all ? *whole : safetensors_part(p, whole, at, max);
    part.offset = 0;
    return part;
}

size_t checkpoint_source_largest(const runtime_settings *with, const parameters *p, size_t max)
{
    for (size_t i = 0; i < p->tensor_count; i++)
        if (reads_whole(with, &p->tensors[i]) && p->tensors[i].count > max)
            max = p->tensors[i].count;
    return max;
}

/* A tensor, its bases, and what turning needs. */
static size_t work_floats(const runtime_settings *with, const parameters *p)
{
    size_t max = 0;
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        if (!reads_whole(with, t)) continue;
        size_t floats = t->count + state_basis_elements(with, t) +
                        optimizer_matrix_work(with->row, &with->optimizer, t->shape[0],
                                              t->shape[1] / t->matrices);
        if (floats > max) max = floats;
    }
    return max;
}

size_t checkpoint_source_bytes(const runtime_settings *with, const parameters *p)
{
    return work_floats(with, p) * sizeof(float);
}

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

/* A posterior that no optimizer of the run's made is of every weight, too. */
static status list_arrays(checkpoint_source *s, bool hessian)
{
    if (hessian && checkpoint_source_takes_whole(&s->with))
        return array_list_open(&s->list, &s->with, &s->owned, false);
    s->list.arrays[0] = (saved_array){.file = "model.safetensors"};
    s->list.arrays[1] = (saved_array){.file = "posterior.safetensors"};
    s->list.count = hessian ? 2 : 1;
    return STATUS_OK;
}

/* The mean's file has one array, so files are numbered as the first arrays of each are. */
static status open_files(checkpoint_source *s)
{
    status result = STATUS_OK;
    const saved_array *arrays = s->list.arrays;
    for (size_t f = 0; !result && f < SOURCE_FILES && f < s->list.count; f++) {
        char path[PATH_SIZE + 64];
        snprintf(path, sizeof path, "%s/%s", s->path, arrays[f].file);
        result = safetensors_make(&s->headers[f], s->p, arrays, f,
                                  safetensors_group(arrays, s->list.count, f));
        if (!result) result = file_open(&s->descriptors[f], NULL, path, "a checkpoint's file");
    }
    return result;
}

static status open_local(checkpoint_source *s, bool hessian, int ranks, int rank)
{
    size_t floats = work_floats(&s->with, s->p);
    status result = settings_shard(&s->with, &s->owned, s->p, (size_t)ranks, (size_t)rank);
    if (!result) result = list_arrays(s, hessian);
    if (!result && hessian && !(s->work = malloc((floats + 1) * sizeof *s->work)))
        result = fail(STATUS_NOMEM, "memory to read a posterior of %zu weights", s->p->count);
    return result;
}

static status open_source(checkpoint_source *s, MPI_Comm comm, const char *run)
{
    int ranks, rank, hessian = 0;
    MPI_Comm_size(comm, &ranks);
    MPI_Comm_rank(comm, &rank);
    if (rank == 0) hessian = has_hessian(run, s->p);
    MPI_Bcast(&hessian, 1, MPI_INT, 0, comm);
    status result = agree(comm, open_local(s, hessian, ranks, rank));
    if (!result)
        result = checkpoint_read(comm, run, s->p, s->list.arrays, s->list.count, s->owned.owned,
                                 s->owned.owned_count, &s->facts, s->path, sizeof s->path);
    if (!result) result = share_prior(s, comm, rank);
    return result ? result : agree(comm, open_files(s));
}

status checkpoint_source_open(checkpoint_source **out, MPI_Comm comm, const char *run,
                              const runtime_settings *with, const parameters *p)
{
    checkpoint_source *s = calloc(1, sizeof *s);
    status result = agree(comm, s ? STATUS_OK : fail(STATUS_NOMEM, "memory for a checkpoint"));
    if (s) {
        s->p = p;
        s->with = *with;
        for (size_t f = 0; f < SOURCE_FILES; f++) s->descriptors[f] = -1;
    }
    if (!result) result = open_source(s, comm, run);
    if (result) checkpoint_source_close(&s);
    *out = s;
    return result;
}

void checkpoint_source_close(checkpoint_source **out)
{
    checkpoint_source *s = *out;
    if (!s) return;
    for (size_t f = 0; f < SOURCE_FILES; f++) {
        data_file_close(&s->descriptors[f], false);
        free(s->headers[f].bytes);
    }
    checkpoint_prior_close(&s->prior);
    array_list_close(&s->list);
    sharding_close(&s->owned);
    free(s->work);
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

bool checkpoint_source_has_hessian(const checkpoint_source *s, size_t number)
{
    return s->prior.lambda > 0.0 &&
           (!checkpoint_source_takes_whole(&s->with) ||
            optimizer_is_variational(settings_row(&s->with, &s->p->tensors[number])));
}

/* Values of an array's own tensors, from an element of these on. */
static status read_values(const checkpoint_source *s, size_t array, const char *name, size_t index,
                          size_t count, float *values)
{
    char path[PATH_SIZE + 64];
    size_t file = array > 0;
    snprintf(path, sizeof path, "%s/%s", s->path, s->list.arrays[array].file);
    return data_file_read(
        s->descriptors[file], path, name,
        safetensors_offset(&s->headers[file], s->p, s->list.arrays, file, array, index), values,
        count * sizeof(float));
}

/* The array of the posterior that is of a kind of tensors. */
static size_t find_array(const checkpoint_source *s, array_kind of)
{
    size_t a = 1;
    while (s->list.arrays[a].set && s->list.arrays[a].set != &s->list.sets[of]) a++;
    return a;
}

/* h as it stands. */
static status read_stored(const checkpoint_source *s, const slice *part, float *values)
{
    const tensor *t = &s->p->tensors[part->tensor];
    size_t a = find_array(s, reads_whole(&s->with, t) ? OF_MATRICES : OF_REST);
    const parameters *own = safetensors_tensors(&s->list.arrays[a], s->p);
    size_t index = own->tensors[parameters_find(own, t->name)].index + part->first;
    return read_values(s, a, t->name, index, part->count, values);
}

/* A tensor's bases stand one after the other. */
static status read_bases(const checkpoint_source *s, const tensor *t, float *bases)
{
    size_t a = find_array(s, OF_BASES), count = state_basis_elements(&s->with, t);
    size_t length = strlen(t->name), i = 0;
    if (count == 0) return STATUS_OK;
    const parameters *own = safetensors_tensors(&s->list.arrays[a], s->p);
    while (strncmp(own->tensors[i].name, t->name, length) != 0 ||
           own->tensors[i].name[length] != '.')
        i++;
    return read_values(s, a, t->name, own->tensors[i].index, count, bases);
}

/* On one thread, whose bits do not depend on how many there are. */
static void turn_back(checkpoint_source *s, source_array array, const optimizer_matrix *m,
                      float *values)
{
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    if (array == SOURCE_DEVIATION)
        s->with.row->matrix->sigma(m, values);
    else
        matrix_row_diagonal(values, m);
    omp_set_num_threads(threads);
}

static status read_matrices(checkpoint_source *s, source_array array, const slice *part,
                            float *values)
{
    const tensor *t = &s->p->tensors[part->tensor];
    float *h = s->work, *bases = h + t->count;
    float *arrays[OPTIMIZER_ARRAYS] = {h};
    optimizer_settings settings = s->with.optimizer;
    settings.ess = s->prior.lambda;
    status result = read_stored(s, part, h);
    if (!result) result = read_bases(s, t, bases);
    if (result) return result;
    const optimizer_matrix m = {.settings = &settings,
                                .rows = t->shape[0],
                                .columns = t->shape[1] / t->matrices,
                                .parts = t->matrices,
                                .index = t->index,
                                .decay = s->prior.delta[part->tensor],
                                .arrays = arrays,
                                .bases = bases,
                                .work = bases + state_basis_elements(&s->with, t)};
    turn_back(s, array, &m, values);
    return STATUS_OK;
}

static void make_deviations(const checkpoint_source *s, const slice *part, float *values)
{
    float h[BLOCK];
    for (size_t at = 0; at < part->count; at += BLOCK) {
        size_t count = part->count - at < BLOCK ? part->count - at : BLOCK;
        memcpy(h, values + at, count * sizeof *h);
        ivon_sigma(values + at, h, s->prior.lambda, s->prior.delta[part->tensor], count);
    }
}

status checkpoint_source_read(checkpoint_source *s, source_array array, const slice *part,
                              float *values)
{
    const tensor *t = &s->p->tensors[part->tensor];
    if (array == SOURCE_MEAN)
        return read_values(s, 0, t->name, t->index + part->first, part->count, values);
    if (array == SOURCE_DEVIATION && !checkpoint_source_has_hessian(s, part->tensor)) {
        memset(values, 0, part->count * sizeof *values);
        return STATUS_OK;
    }
    if (array != SOURCE_STORED && reads_whole(&s->with, t))
        return read_matrices(s, array, part, values);
    status result = read_stored(s, part, values);
    if (!result && array == SOURCE_DEVIATION) make_deviations(s, part, values);
    return result;
}
