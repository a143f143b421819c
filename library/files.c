/* Checkpoints, by the code that reads and writes those of runs; without its thread, so that any
 * thread mode of MPI will do. */
#include "io/checkpoints/checkpoint_sink.h"
#include "io/files/file.h"
#include "kernels/choose.h"
#include "library/optimizer.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { PATH_SIZE = 4096 };

static status check_directory(const vario_optimizer *v, const char *directory, const char *call)
{
    if (!directory || !*directory || strlen(directory) > PATH_SIZE - 200)
        return fail(STATUS_INPUT, "%s: a directory of 1 to %d bytes expected, %s found", call,
                    PATH_SIZE - 200, directory ? *directory ? "a longer name" : "''" : "NULL");
    if (v->round > 0)
        return fail(STATUS_INPUT, "%s: round %zu of a step was accumulated, vario_step expected",
                    call, v->round);
    return STATUS_OK;
}

static uint64_t hash_of(const char *directory, uint64_t keep)
{
    return directory ? XXH3_64bits_withSeed(directory, strlen(directory), keep) : 0;
}

static checkpoint_facts facts_of(const vario_optimizer *v)
{
    static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4"};
    checkpoint_facts f = {.steps = v->steps,
                          .updates = v->r.state.updates,
                          .skipped_in_row = v->skipped_in_row,
                          .seed = v->r.state.settings.seed,
                          .item = v->steps * v->r.state.settings.items,
                          .threads = (uint64_t)omp_get_max_threads(),
                          .ranks = (uint64_t)v->c.size};
#if defined(__x86_64__)
    snprintf(f.instruction_set, sizeof f.instruction_set, "%s", levels[choose_level()]);
#else
    (void)levels;
#endif
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0';
    snprintf(f.libraries, sizeof f.libraries, "libvario %s, %.100s", VARIO_VERSION, mpi);
    return f;
}

/* This rank's slices; of whole arrays they stand at their logical index. What fails is told when
 * the sink is finished. */
static void write_arrays(const vario_optimizer *v, checkpoint_sink *sink, const saved_array *arrays,
                         size_t count)
{
    const sharding *owned = &v->r.owned;
    for (size_t a = 0; a < count; a++)
        for (size_t i = 0; i < owned->owned_count; i++) {
            slice part = owned->owned[i];
            if (arrays[a].whole) part.offset = slice_index(&v->r.p, &part);
            if (!checkpoint_sink_write(sink, a, &part, 1, arrays[a].values)) return;
        }
}

static status save(const vario_optimizer *v, const char *directory, uint64_t keep)
{
    const runtime_settings *with = &v->r.state.settings;
    MPI_Comm world = v->c.world;
    saved_array arrays[SAVED_ARRAYS];
    size_t count = state_saved_arrays(&v->r.state, arrays);
    checkpoint_facts facts = facts_of(v);
    checkpoint_words words = {0};
    checkpoint_prior prior = {0};
    checkpoint_sink *sink = NULL;
    status result = v->c.rank == 0 ? file_make_directories(directory) : STATUS_OK;
    if (!result) result = library_words(&words, with);
    if (!result) result = checkpoint_prior_of_settings(&prior, with, &v->r.p);
    result = agree(world, result);
    if (!result)
        result = checkpoint_sink_open(&sink, world, directory, &words, &prior, &facts, &v->r.p,
                                      arrays, count);
    checkpoint_prior_close(&prior);
    checkpoint_words_close(&words);
    if (result) return result;
    write_arrays(v, sink, arrays, count);
    return checkpoint_sink_finish(&sink, keep);
}

vario_status vario_save(vario_optimizer *v, const char *directory, uint64_t keep)
{
    library_begin();
    status result = library_connected(v, "vario_save");
    if (result) return library_end(result);
    result = library_usable(v, "vario_save");
    if (!result) result = check_directory(v, directory, "vario_save");
    result = library_agree(v, result, hash_of(directory, keep),
                           "vario_save: ranks differ in the directory or in how many to keep, the "
                           "same expected");
    if (!result) result = save(v, directory, keep);
    return library_end(result);
}

/* Rank 0: the posterior in the checkpoint means what this optimizer's does. */
static status check_prior(const vario_optimizer *v, const char *path, const checkpoint_facts *facts)
{
    const runtime_settings *with = &v->r.state.settings;
    checkpoint_prior prior;
    double lambda = with->variational ? with->optimizer.ess : 0.0;
    if (facts->seed != with->seed)
        return fail(STATUS_INPUT, "%s: seed %" PRIu64 " expected, %" PRIu64 " found", path,
                    with->seed, facts->seed);
    status result = checkpoint_prior_read(&prior, path, &v->r.p);
    if (result) return result;
    if (prior.lambda != lambda)
        result =
            fail(STATUS_INPUT, "%s: ess %.17g expected, %.17g found", path, lambda, prior.lambda);
    for (size_t i = 0; !result && i < v->r.p.tensor_count; i++) {
        const tensor *t = &v->r.p.tensors[i];
        double delta = settings_decay(with, t);
        if (prior.delta[i] != delta)
            result = fail(STATUS_INPUT, "%s: tensor '%s': weight decay %.17g expected, %.17g found",
                          path, t->name, delta, prior.delta[i]);
    }
    checkpoint_prior_close(&prior);
    return result;
}

static status load(vario_optimizer *v, const char *directory)
{
    char path[PATH_SIZE];
    state *s = &v->r.state;
    saved_array arrays[SAVED_ARRAYS];
    checkpoint_facts facts;
    size_t count = state_saved_arrays(s, arrays);
    status result = checkpoint_read(v->c.world, directory, &v->r.p, arrays, count, s->owned->owned,
                                    s->owned->owned_count, &facts, path, sizeof path);
    if (!result)
        result = agree(v->c.world, v->c.rank == 0 ? check_prior(v, path, &facts) : STATUS_OK);
    if (result) return result;
    s->updates = facts.updates;
    v->steps = facts.steps;
    v->skipped_in_row = facts.skipped_in_row;
    state_share(s, &v->c);
    return STATUS_OK;
}

vario_status vario_load(vario_optimizer *v, const char *directory)
{
    library_begin();
    status result = library_connected(v, "vario_load");
    if (result) return library_end(result);
    result = library_agree(v, check_directory(v, directory, "vario_load"), hash_of(directory, 0),
                           "vario_load: ranks differ in the directory, the same expected");
    if (result) return library_end(result);
    result = load(v, directory);
    v->broken = result != STATUS_OK;
    v->sampled = false;
    return library_end(result);
}
