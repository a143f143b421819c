/* A thread writes copies of the values while training goes on. It never calls fail(): the pending
 * message belongs to the main thread. */
#include "base/activity.h"
#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_sink.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "runtime/agree.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

/* An array's values, side by side. */
typedef struct {
    slice *slices; /* [count] offsets packed */
    size_t count;
    float *values;
} copied;

struct checkpoint_writer {
    MPI_Comm comm;
    checkpoint_sink *sink;
    size_t array_count;
    copied arrays[SAVED_ARRAYS];
    slice *slices;  /* of all arrays */
    float *staging; /* of all arrays */
    pthread_t thread;
    bool running;
    atomic_bool done;
};

static void write_all(checkpoint_writer *w)
{
    bool good = true;
    for (size_t a = 0; good && a < w->array_count; a++)
        good = checkpoint_sink_write(w->sink, a, w->arrays[a].slices, w->arrays[a].count,
                                     w->arrays[a].values);
    checkpoint_sink_sync(w->sink);
    atomic_store(&w->done, true);
}

static void *write_in_background(void *context)
{
    activity_enter(ACTIVITY_WRITER);
    activity_phase("checkpoint in the background");
    write_all(context);
    activity_leave();
    return NULL;
}

static void writer_free(checkpoint_writer **out)
{
    checkpoint_writer *w = *out;
    if (!w) return;
    free(w->slices);
    free(w->staging);
    free(w);
    *out = NULL;
}

static status copy_values(checkpoint_writer *w, const parameters *p, const saved_array *arrays,
                          const slice *slices, size_t slice_count)
{
    size_t elements = 0, parts = 0;
    for (size_t a = 0; a < w->array_count; a++) {
        const slice *own = arrays[a].set ? arrays[a].set->slices : slices;
        size_t count = arrays[a].set ? arrays[a].set->count : slice_count;
        for (size_t i = 0; i < count; i++) elements += own[i].count;
        parts += count;
    }
    w->staging = malloc(elements * sizeof(float) + 1);
    w->slices = calloc(parts + 1, sizeof *w->slices);
    if (!w->staging || !w->slices)
        return fail(STATUS_NOMEM, "memory to copy a checkpoint of %zu values", elements);
    slice *part = w->slices;
    float *values = w->staging;
    for (size_t a = 0; a < w->array_count; a++) {
        const slice *own = arrays[a].set ? arrays[a].set->slices : slices;
        size_t count = arrays[a].set ? arrays[a].set->count : slice_count, offset = 0;
        w->arrays[a] = (copied){.slices = part, .count = count, .values = values};
        for (size_t i = 0; i < count; i++, part++) {
            *part = own[i];
            part->offset = offset;
            memcpy(values + offset, safetensors_values(&arrays[a], p, &own[i]),
                   own[i].count * sizeof(float));
            offset += own[i].count;
        }
        values += offset;
    }
    return STATUS_OK;
}

status checkpoint_begin(checkpoint_writer **out, MPI_Comm comm, const char *run,
                        const checkpoint_words *words, const checkpoint_prior *prior,
                        const checkpoint_facts *facts, const parameters *p,
                        const saved_array *arrays, size_t array_count, const slice *slices,
                        size_t slice_count)
{
    *out = NULL;
    checkpoint_writer *w = calloc(1, sizeof *w);
    status result = w ? STATUS_OK : fail(STATUS_NOMEM, "memory for a checkpoint");
    if (!result) {
        w->comm = comm;
        w->array_count = array_count;
        result = copy_values(w, p, arrays, slices, slice_count);
    }
    result = agree(comm, result);
    if (!result)
        result =
            checkpoint_sink_open(&w->sink, comm, run, words, prior, facts, p, arrays, array_count);
    if (!result) {
        w->running = pthread_create(&w->thread, NULL, write_in_background, w) == 0;
        if (!w->running) write_all(w);
    } else {
        writer_free(&w);
    }
    *out = w;
    return result;
}

bool checkpoint_written(const checkpoint_writer *w)
{
    return atomic_load(&w->done);
}

status checkpoint_finish(checkpoint_writer **out, uint64_t keep)
{
    checkpoint_writer *w = *out;
    if (w->running) {
        activity_wait("the checkpoint to be written", -1);
        activity_done(pthread_join(w->thread, NULL));
    }
    status result = checkpoint_sink_finish(&w->sink, keep);
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
                status_warn("rename %s: %s", path, strerror(errno));
        }
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    status_clear();
}

uint64_t checkpoint_bytes(const parameters *p, const saved_array *arrays, size_t array_count)
{
    uint64_t bytes = 64 << 10;
    for (size_t a = 0, end; a < array_count; a = end) {
        safetensors_header h;
        end = safetensors_group(arrays, array_count, a);
        if (safetensors_make(&h, p, arrays, a, end)) break;
        bytes += safetensors_offset(&h, p, arrays, a, end, 0);
        free(h.bytes);
    }
    return bytes;
}
