/* Each rank's thread writes its slices at their own offsets, through MPI-IO on a handle of its own;
 * nothing is renamed before all ranks have synced. The thread never calls fail(): the pending
 * message belongs to the main thread. */
#include "io/agree.h"
#include "io/checkpoint.h"
#include "io/checkpoint_list.h"
#include "io/checkpoint_state.h"
#include "io/file.h"
#include "io/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, MESSAGE_BYTES = 1 << 30 };

struct checkpoint_writer {
    MPI_Comm comm;
    int rank;
    char run[PATH_SIZE], temporary[PATH_SIZE], final[PATH_SIZE];
    job job;
    checkpoint_facts facts;
    const parameters *p;
    checkpoint_array arrays[CHECKPOINT_ARRAYS];    /* values are this writer's copies */
    safetensors_header headers[CHECKPOINT_ARRAYS]; /* of each array's file */
    size_t array_count, slice_count;
    slice *slices; /* offsets packed in the copies */
    float *staging;
    uint64_t *sums; /* [array_count][tensor_count] this rank's part */
    pthread_t thread;
    bool running;
    atomic_bool done;
    char error[STATUS_MESSAGE_SIZE]; /* of the thread; "" when all went well */
};

static void note_error(checkpoint_writer *w, const char *file, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code != MPI_SUCCESS) MPI_Error_string(code, text, &length);
    struct statvfs space;
    unsigned long long there =
        statvfs(w->run, &space) == 0 ? (unsigned long long)space.f_bavail * space.f_frsize : 0;
    snprintf(w->error, sizeof w->error, "write %s/%s: %.300s (%llu bytes are free there)", w->final,
             file, code != MPI_SUCCESS ? text : "fewer bytes were written than asked for", there);
}

static bool write_at(checkpoint_writer *w, MPI_File handle, const char *file, uint64_t offset,
                     const void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        int count = (int)(bytes - at < MESSAGE_BYTES ? bytes - at : MESSAGE_BYTES), written = 0;
        MPI_Status report;
        int code = MPI_File_write_at(handle, (MPI_Offset)(offset + at), (const char *)data + at,
                                     count, MPI_BYTE, &report);
        if (code == MPI_SUCCESS) MPI_Get_count(&report, MPI_BYTE, &written);
        if (code != MPI_SUCCESS || written != count) {
            note_error(w, file, code);
            return false;
        }
        at += (size_t)count;
    }
    return true;
}

/* Slices that follow each other in the file are written at once. */
static bool write_array(checkpoint_writer *w, MPI_File handle, size_t a, size_t position)
{
    const checkpoint_array *array = &w->arrays[a];
    for (size_t i = 0; i < w->slice_count;) {
        uint64_t index = w->p->tensors[w->slices[i].tensor].index + w->slices[i].first;
        size_t count = 0, first = w->slices[i].offset;
        for (; i < w->slice_count; i++) {
            const slice *s = &w->slices[i];
            if (w->p->tensors[s->tensor].index + s->first != index + count) break;
            w->sums[a * w->p->tensor_count + s->tensor] +=
                safetensors_checksum(w->p, s, array->values + s->offset);
            count += s->count;
        }
        if (!write_at(w, handle, array->file,
                      safetensors_offset(&w->headers[a], w->p, position, index),
                      array->values + first, count * sizeof(float)))
            return false;
    }
    return true;
}

static bool write_file(checkpoint_writer *w, size_t first, size_t end)
{
    char path[PATH_SIZE + 64];
    const char *file = w->arrays[first].file;
    snprintf(path, sizeof path, "%s/%s", w->temporary, file);
    MPI_File handle;
    int code = MPI_File_open(MPI_COMM_SELF, path, MPI_MODE_WRONLY | MPI_MODE_CREATE, MPI_INFO_NULL,
                             &handle);
    if (code != MPI_SUCCESS) {
        note_error(w, file, code);
        return false;
    }
    bool good = w->rank != 0 ||
                write_at(w, handle, file, 0, w->headers[first].bytes, w->headers[first].size);
    for (size_t a = first; good && a < end; a++) good = write_array(w, handle, a, a - first);
    code = good ? MPI_File_sync(handle) : MPI_SUCCESS;
    int closed = MPI_File_close(&handle);
    if (code == MPI_SUCCESS) code = closed;
    if (good && code != MPI_SUCCESS) {
        note_error(w, file, code);
        good = false;
    }
    return good;
}

static void *write_all(void *context)
{
    checkpoint_writer *w = context;
    for (size_t a = 0, end; a < w->array_count; a = end) {
        end = safetensors_group(w->arrays, w->array_count, a);
        if (!write_file(w, a, end)) break;
    }
    atomic_store(&w->done, true);
    return NULL;
}

static void writer_free(checkpoint_writer **out)
{
    checkpoint_writer *w = *out;
    if (!w) return;
    for (size_t a = 0, end; a < w->array_count; a = end) {
        end = safetensors_group(w->arrays, w->array_count, a);
        free(w->headers[a].bytes);
    }
    free(w->slices);
    free(w->staging);
    free(w->sums);
    free(w);
    *out = NULL;
}

static status make_headers(checkpoint_writer *w)
{
    for (size_t a = 0, end; a < w->array_count; a = end) {
        end = safetensors_group(w->arrays, w->array_count, a);
        status result = safetensors_make(&w->headers[a], w->p, w->arrays, a, end);
        if (result) return result;
        for (size_t b = a + 1; b < end; b++) w->headers[b] = w->headers[a];
    }
    return STATUS_OK;
}

static status copy_values(checkpoint_writer *w, const slice *slices)
{
    size_t elements = 0;
    for (size_t i = 0; i < w->slice_count; i++) elements += slices[i].count;
    w->staging = malloc(w->array_count * elements * sizeof(float) + 1);
    w->slices = calloc(w->slice_count + 1, sizeof *w->slices);
    w->sums = calloc(w->array_count * w->p->tensor_count, sizeof *w->sums);
    if (!w->staging || !w->slices || !w->sums)
        return fail(STATUS_NOMEM, "memory to copy a checkpoint of %zu values", elements);
    for (size_t a = 0; a < w->array_count; a++) {
        float *copy = w->staging + a * elements;
        size_t offset = 0;
        for (size_t i = 0; i < w->slice_count; i++) {
            memcpy(copy + offset, safetensors_values(&w->arrays[a], w->p, &slices[i]),
                   slices[i].count * sizeof(float));
            w->slices[i] = slices[i];
            w->slices[i].offset = offset;
            offset += slices[i].count;
        }
        w->arrays[a].values = copy;
        w->arrays[a].whole = false;
    }
    return STATUS_OK;
}

static status make_directory(const checkpoint_writer *w)
{
    if (w->rank != 0) return STATUS_OK;
    status result = file_remove_tree(w->temporary);
    if (result) return result;
    if (mkdir(w->temporary, 0777) == 0) return STATUS_OK;
    return fail(STATUS_IO, "create %s: %s", w->temporary, strerror(errno));
}

status checkpoint_begin(checkpoint_writer **out, MPI_Comm comm, const char *run, const job *j,
                        const checkpoint_facts *facts, const parameters *p,
                        const checkpoint_array *arrays, size_t array_count, const slice *slices,
                        size_t slice_count)
{
    *out = NULL;
    checkpoint_writer *w = calloc(1, sizeof *w);
    status result = agree(comm, w ? STATUS_OK : fail(STATUS_NOMEM, "memory for a checkpoint"));
    if (result) {
        free(w);
        return result;
    }
    w->comm = comm;
    w->job = *j;
    w->facts = *facts;
    w->p = p;
    w->array_count = array_count;
    w->slice_count = slice_count;
    MPI_Comm_rank(comm, &w->rank);
    memcpy(w->arrays, arrays, array_count * sizeof *arrays);
    snprintf(w->run, sizeof w->run, "%s", run);
    snprintf(w->temporary, sizeof w->temporary, "%.3900s/.writing-step-%08" PRIu64, run,
             facts->steps);
    snprintf(w->final, sizeof w->final, "%.3900s/step-%08" PRIu64, run, facts->steps);
    result = copy_values(w, slices);
    if (!result) result = make_headers(w);
    if (!result) result = make_directory(w);
    result = agree(comm, result);
    if (!result) {
        w->running = pthread_create(&w->thread, NULL, write_all, w) == 0;
        if (!w->running) write_all(w);
    } else {
        if (w->rank == 0) file_remove_tree(w->temporary);
        writer_free(&w);
    }
    *out = w;
    return result;
}

bool checkpoint_written(const checkpoint_writer *w)
{
    return atomic_load(&w->done);
}

/* Newer ones than the one just written are not counted: the run did not resume from them, so they
 * were refused, and the run replaces them when it gets there. */
static status prune(const checkpoint_writer *w, uint64_t keep)
{
    uint64_t *steps;
    size_t count, older = 0;
    status result = checkpoint_list(&steps, &count, w->run);
    for (size_t i = 0; !result && i < count; i++) {
        char path[PATH_SIZE];
        if (steps[i] > w->facts.steps || older++ < keep) continue;
        snprintf(path, sizeof path, "%.3900s/step-%08" PRIu64, w->run, steps[i]);
        result = file_remove_tree(path);
    }
    free(steps);
    return result;
}

/* The same step's older checkpoint steps aside and comes back when the new one cannot take its
 * name; a run killed in between finds it by checkpoint_sweep. */
static status put_in_place(const checkpoint_writer *w)
{
    char old[PATH_SIZE];
    snprintf(old, sizeof old, "%.3900s/.old-step-%08" PRIu64, w->run, w->facts.steps);
    bool replaces = access(w->final, F_OK) == 0;
    status result = replaces ? file_remove_tree(old) : STATUS_OK;
    if (result) return result;
    if (replaces && rename(w->final, old) != 0)
        return fail(STATUS_IO, "rename %s: %s", w->final, strerror(errno));
    if (rename(w->temporary, w->final) != 0) {
        result = fail(STATUS_IO, "rename %s: %s", w->temporary, strerror(errno));
        if (replaces && rename(old, w->final) != 0)
            fprintf(stderr, "vario: warning: rename %s: %s\n", old, strerror(errno));
        return result;
    }
    result = file_sync_directory(w->run);
    return !result && replaces ? file_remove_tree(old) : result;
}

/* Rank 0: facts, names, and only then the older ones go. */
static status publish(checkpoint_writer *w, uint64_t keep)
{
    status result = checkpoint_state_write(w->temporary, &w->job, &w->facts, w->p, w->arrays,
                                           w->array_count, w->sums);
    if (!result) result = file_sync_directory(w->temporary);
    if (!result) result = put_in_place(w);
    if (!result && keep > 0) result = prune(w, keep);
    return result;
}

status checkpoint_finish(checkpoint_writer **out, uint64_t keep)
{
    checkpoint_writer *w = *out;
    if (w->running) pthread_join(w->thread, NULL);
    status result = w->error[0] ? fail(STATUS_IO, "%s", w->error) : STATUS_OK;
    result = agree(w->comm, result);
    size_t sums = w->array_count * w->p->tensor_count;
    if (!result) {
        MPI_Allreduce(MPI_IN_PLACE, w->sums, (int)sums, MPI_UINT64_T, MPI_SUM, w->comm);
        result = agree(w->comm, w->rank == 0 ? publish(w, keep) : STATUS_OK);
    }
    if (result && w->rank == 0) file_remove_tree(w->temporary);
    writer_free(out);
    return result;
}

void checkpoint_sweep(const char *run)
{
    struct dirent **entries;
    int n = scandir(run, &entries, NULL, NULL);
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE], final[PATH_SIZE];
        const char *name = entries[i]->d_name;
        snprintf(path, sizeof path, "%.3600s/%.400s", run, name);
        if (strncmp(name, ".writing-step-", 14) == 0) file_remove_tree(path);
        if (strncmp(name, ".old-step-", 10) == 0) {
            /* Killed between two renames: the old one comes back. */
            snprintf(final, sizeof final, "%.3600s/%.400s", run, name + 5);
            if (access(final, F_OK) == 0)
                file_remove_tree(path);
            else if (rename(path, final) != 0)
                fprintf(stderr, "vario: warning: rename %s: %s\n", path, strerror(errno));
        }
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    status_clear();
}

uint64_t checkpoint_bytes(const parameters *p, const checkpoint_array *arrays, size_t array_count)
{
    uint64_t bytes = 64 << 10;
    for (size_t a = 0, end; a < array_count; a = end) {
        safetensors_header h;
        end = safetensors_group(arrays, array_count, a);
        if (safetensors_make(&h, p, arrays, a, end)) break;
        bytes += safetensors_offset(&h, p, end - a, 0);
        free(h.bytes);
    }
    return bytes;
}
