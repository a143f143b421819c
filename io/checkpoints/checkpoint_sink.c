/* Each rank writes at its own offsets, on descriptors of its own; nothing is renamed before all
 * ranks have synced. What a thread may call never calls fail(): the pending message belongs to the
 * main thread. */
#include "io/checkpoints/checkpoint_sink.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "io/files/file_calls.h"
#include "runtime/agree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

struct checkpoint_sink {
    MPI_Comm comm;
    int rank;
    char run[PATH_SIZE], temporary[PATH_SIZE], final[PATH_SIZE];
    checkpoint_words words;
    checkpoint_prior prior;
    checkpoint_facts facts;
    const parameters *p;
    saved_array arrays[SAVED_ARRAYS];
    size_t array_count;
    size_t file[SAVED_ARRAYS]; /* of each array: the first array in it, which stands for it */
    safetensors_header headers[SAVED_ARRAYS]; /* of files */
    int descriptors[SAVED_ARRAYS];            /* of files, -1: not open */
    size_t first_sum[SAVED_ARRAYS + 1];       /* of each array in sums */
    uint64_t *sums;                           /* of every array's tensors, this rank's part */
    char error[STATUS_MESSAGE_SIZE];          /* "" while all goes well */
};

/* The first one counts; 0 is none. */
static bool note_error(checkpoint_sink *s, const char *verb, size_t file, int error)
{
    char path[PATH_SIZE + 64];
    if (!error) return true;
    snprintf(path, sizeof path, "%s/%s", s->final, s->arrays[file].file);
    if (!s->error[0]) data_file_explain(s->error, sizeof s->error, verb, path, s->run, error);
    return false;
}

static bool write_at(checkpoint_sink *s, size_t file, uint64_t offset, const void *data,
                     size_t bytes)
{
    return note_error(s, "write", file, data_file_write(s->descriptors[file], offset, data, bytes));
}

static void name_file(char path[PATH_SIZE + 64], const checkpoint_sink *s, size_t file)
{
    snprintf(path, PATH_SIZE + 64, "%s/%s", s->temporary, s->arrays[file].file);
}

/* Where it is not open yet. */
static bool open_file(checkpoint_sink *s, size_t file)
{
    char path[PATH_SIZE + 64];
    if (s->descriptors[file] >= 0) return true;
    name_file(path, s, file);
    return note_error(s, "open", file, data_file_join(&s->descriptors[file], path));
}

/* Rank 0, before others open it. */
static bool make_file(checkpoint_sink *s, size_t file, size_t end)
{
    char path[PATH_SIZE + 64];
    const safetensors_header *h = &s->headers[file];
    uint64_t bytes = safetensors_offset(h, s->p, s->arrays, file, end, 0);
    name_file(path, s, file);
    return note_error(s, "create", file, data_file_create(&s->descriptors[file], path, bytes)) &&
           write_at(s, file, 0, h->bytes, h->size);
}

void checkpoint_sink_set_init(checkpoint_sink *s, uint64_t checksum)
{
    s->facts.init = checksum;
}

/* Slices that follow each other in the file and in memory are written at once. */
bool checkpoint_sink_write(checkpoint_sink *s, size_t array, const slice *slices, size_t count,
                           const float *values)
{
    size_t file = s->file[array];
    const parameters *p = safetensors_tensors(&s->arrays[array], s->p);
    if (s->error[0] || !open_file(s, file)) return false;
    for (size_t i = 0; i < count;) {
        uint64_t index = p->tensors[slices[i].tensor].index + slices[i].first;
        size_t elements = 0, begin = slices[i].offset;
        for (; i < count; i++) {
            const slice *part = &slices[i];
            if (p->tensors[part->tensor].index + part->first != index + elements ||
                part->offset != begin + elements)
                break;
            s->sums[s->first_sum[array] + part->tensor] +=
                safetensors_checksum(p, part, values + part->offset);
            elements += part->count;
        }
        if (!write_at(s, file,
                      safetensors_offset(&s->headers[file], s->p, s->arrays, file, array, index),
                      values + begin, elements * sizeof(float)))
            return false;
    }
    return true;
}

bool checkpoint_sink_sync(checkpoint_sink *s)
{
    for (size_t a = 0; a < s->array_count; a++)
        note_error(s, "write", a, data_file_close(&s->descriptors[a], !s->error[0]));
    return !s->error[0];
}

static void sink_free(checkpoint_sink **out)
{
    checkpoint_sink *s = *out;
    if (!s) return;
    for (size_t a = 0; a < s->array_count; a++) free(s->headers[a].bytes);
    checkpoint_words_close(&s->words);
    checkpoint_prior_close(&s->prior);
    free(s->sums);
    free(s);
    *out = NULL;
}

static status make_headers(checkpoint_sink *s)
{
    for (size_t a = 0, end; a < s->array_count; a = end) {
        end = safetensors_group(s->arrays, s->array_count, a);
        status result = safetensors_make(&s->headers[a], s->p, s->arrays, a, end);
        if (result) return result;
        for (size_t b = a; b < end; b++) s->file[b] = a;
    }
    return STATUS_OK;
}

/* Rank 0: the directory, and in it every file. */
static status make_files(checkpoint_sink *s)
{
    status result = file_remove_tree(s->temporary);
    if (result) return result;
    if (mkdir(s->temporary, 0777) != 0)
        return fail(STATUS_IO, "create %s: %s", s->temporary, strerror(errno));
    for (size_t a = 0, end; a < s->array_count; a = end) {
        end = safetensors_group(s->arrays, s->array_count, a);
        if (!make_file(s, a, end)) return fail(STATUS_IO, "%s", s->error);
    }
    return STATUS_OK;
}

static status checkpoint_sink_open_local(checkpoint_sink *s, const checkpoint_words *words,
                                         const checkpoint_prior *prior)
{
    for (size_t a = 0; a < s->array_count; a++)
        s->first_sum[a + 1] =
            s->first_sum[a] + safetensors_tensors(&s->arrays[a], s->p)->tensor_count;
    s->sums = calloc(s->first_sum[s->array_count] + 1, sizeof *s->sums);
    status result = s->sums ? STATUS_OK : fail(STATUS_NOMEM, "memory for a checkpoint's checksums");
    if (!result) result = checkpoint_words_copy(&s->words, words);
    if (!result) result = checkpoint_prior_copy(&s->prior, prior, s->p);
    if (!result) result = make_headers(s);
    return result || s->rank != 0 ? result : make_files(s);
}

status checkpoint_sink_open(checkpoint_sink **out, MPI_Comm comm, const char *run,
                            const checkpoint_words *words, const checkpoint_prior *prior,
                            const checkpoint_facts *facts, const parameters *p,
                            const saved_array *arrays, size_t array_count)
{
    *out = NULL;
    checkpoint_sink *s = calloc(1, sizeof *s);
    status result = agree(comm, s ? STATUS_OK : fail(STATUS_NOMEM, "memory for a checkpoint"));
    if (result) {
        free(s);
        return result;
    }
    s->comm = comm;
    s->facts = *facts;
    s->p = p;
    s->array_count = array_count;
    MPI_Comm_rank(comm, &s->rank);
    memcpy(s->arrays, arrays, array_count * sizeof *arrays);
    for (size_t a = 0; a < array_count; a++) s->descriptors[a] = -1;
    snprintf(s->run, sizeof s->run, "%s", run);
    snprintf(s->temporary, sizeof s->temporary, "%.3900s/.writing-step-%08" PRIu64, run,
             facts->steps);
    snprintf(s->final, sizeof s->final, "%.3900s/step-%08" PRIu64, run, facts->steps);
    result = agree(comm, checkpoint_sink_open_local(s, words, prior));
    if (result) checkpoint_sink_abandon(&s);
    *out = s;
    return result;
}

/* Newer ones than the one just written are not counted: the run did not resume from them, so they
 * were refused, and the run replaces them when it gets there. */
static status prune(const checkpoint_sink *s, uint64_t keep)
{
    uint64_t *steps;
    size_t count, older = 0;
    status result = checkpoint_list(&steps, &count, s->run);
    for (size_t i = 0; !result && i < count; i++) {
        char path[PATH_SIZE];
        if (steps[i] > s->facts.steps || older++ < keep) continue;
        snprintf(path, sizeof path, "%.3900s/step-%08" PRIu64, s->run, steps[i]);
        result = file_remove_tree(path);
    }
    free(steps);
    return result;
}

/* The same step's older checkpoint steps aside and comes back when the new one cannot take its
 * name; a run killed in between finds it by checkpoint_sweep. */
static status put_in_place(const checkpoint_sink *s)
{
    char old[PATH_SIZE];
    snprintf(old, sizeof old, "%.3900s/.old-step-%08" PRIu64, s->run, s->facts.steps);
    bool replaces = access(s->final, F_OK) == 0;
    status result = replaces ? file_remove_tree(old) : STATUS_OK;
    if (result) return result;
    if (replaces && rename(s->final, old) != 0)
        return fail(STATUS_IO, "rename %s: %s", s->final, strerror(errno));
    if (rename(s->temporary, s->final) != 0) {
        result = fail(STATUS_IO, "rename %s: %s", s->temporary, strerror(errno));
        if (replaces && rename(old, s->final) != 0)
            status_warn("rename %s: %s", old, strerror(errno));
        return result;
    }
    result = file_sync_directory(s->run);
    return !result && replaces ? file_remove_tree(old) : result;
}

/* Rank 0: facts, names, and only then the older ones go. */
static status publish(checkpoint_sink *s, uint64_t keep)
{
    status result = checkpoint_state_write(s->temporary, &s->words, &s->prior, &s->facts, s->p,
                                           s->arrays, s->array_count, s->sums);
    if (!result) result = file_sync_directory(s->temporary);
    if (!result) result = put_in_place(s);
    if (!result && keep > 0) result = prune(s, keep);
    return result;
}

status checkpoint_sink_settle(checkpoint_sink *s)
{
    bool whole = checkpoint_sink_sync(s);
    return agree(s->comm, whole ? STATUS_OK : fail(STATUS_IO, "%s", s->error));
}

status checkpoint_sink_finish(checkpoint_sink **out, uint64_t keep)
{
    checkpoint_sink *s = *out;
    status result = checkpoint_sink_settle(s);
    if (!result) {
        MPI_Allreduce(MPI_IN_PLACE, s->sums, (int)s->first_sum[s->array_count], MPI_UINT64_T,
                      MPI_SUM, s->comm);
        result = agree(s->comm, s->rank == 0 ? publish(s, keep) : STATUS_OK);
    }
    if (result && s->rank == 0) file_remove_tree(s->temporary);
    sink_free(out);
    return result;
}

/* All ranks have closed their files before rank 0 removes them. */
void checkpoint_sink_abandon(checkpoint_sink **out)
{
    checkpoint_sink *s = *out;
    if (!s) return;
    for (size_t a = 0; a < s->array_count; a++) data_file_close(&s->descriptors[a], false);
    MPI_Barrier(s->comm);
    if (s->rank == 0) file_remove_tree(s->temporary);
    sink_free(out);
}
