/* The ceiling of all ranks: measured once, then remembered, the same on every rank. */
#include "io/files/file.h"
#include "kernels/kernels.h"
#include "mpi_fixture.h"
#include "runtime/agree.h"
#include "train/utilization.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static char cache[64];
static char path[100];

static void open_cache(void)
{
    strcpy(cache, "/tmp/vario-utilization-XXXXXX");
    kernels_open();
    if (world.rank == 0) cr_assert(mkdtemp(cache));
    MPI_Bcast(cache, sizeof cache, MPI_BYTE, 0, world.world);
    setenv("XDG_CACHE_HOME", cache, 1);
    snprintf(path, sizeof path, "%s/vario/ceilings.json", cache);
}

static void close_cache(void)
{
    MPI_Barrier(world.world);
    if (world.rank == 0) file_remove_tree(cache);
    kernels_close();
}

MPI_SUITE(utilization, open_cache, close_cache)

static double find(void)
{
    placement p = placement_choose(&world, 1);
    double mine = utilization_ceiling(&world, DTYPE_F32, &p), first = mine;
    MPI_Bcast(&first, 1, MPI_DOUBLE, 0, world.world);
    bool same = memcmp(&mine, &first, sizeof mine) == 0;
    cr_assert_eq(agree(world.world, same ? STATUS_OK : fail(STATUS_NUMERIC, "differs")), STATUS_OK);
    return mine;
}

static void write_file(const char *text)
{
    status result = world.rank == 0 ? file_write_atomic(path, text, strlen(text)) : STATUS_OK;
    cr_assert_eq(agree(world.world, result), STATUS_OK);
}

/* Give the one ceiling of the file another value. */
static status change_file(double gflops)
{
    json_t *all = json_load_file(path, 0, NULL);
    const char *key = json_object_iter_key(json_object_iter(all));
    bool good = key && json_object_size(all) == 1 && strstr(key, kernels_library_version()) &&
                json_object_set_new(all, key, json_real(gflops)) == 0 &&
                json_dump_file(all, path, 0) == 0;
    json_decref(all);
    return good ? STATUS_OK : fail(STATUS_IO, "%s: one ceiling expected", path);
}

MPI_TEST(ceilings_are_measured_and_remembered)
{
    double measured = find();
    cr_expect_gt(measured, 0.0);
    status changed = world.rank == 0 ? change_file(0.0625) : STATUS_OK;
    cr_assert_eq(agree(world.world, changed), STATUS_OK, "%s", status_message());
    cr_expect_eq(find(), 0.0625);
    write_file("{\"torn");
    cr_expect_gt(find(), 0.0625);
    changed = world.rank == 0 ? change_file(0.0625) : STATUS_OK;
    cr_assert_eq(agree(world.world, changed), STATUS_OK, "%s", status_message());
}

MPI_TEST(needs_no_cache)
{
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    cr_expect_gt(find(), 0.0);
}

MPI_TEST(counts_every_sample)
{
    job j = {.model.gpt2 = {.n_layer = 2, .n_embd = 8, .vocab_size = 10},
             .batch = {.length = 4},
             .optimizer.mc_samples = 1};
    double flops = 6.0 * (2 * 12 * 64 + 80) + 6.0 * 2 * 8 * 4;
    cr_expect_float_eq(utilization_of(&j, 1e9, 2.0 * flops), 0.5, 1e-12);
    j.optimizer.mc_samples = 3;
    cr_expect_float_eq(utilization_of(&j, 1e9, 2.0 * flops), 1.5, 1e-12);
    cr_expect(isnan(utilization_of(&j, 1e9, 0.0)));
    job layers = {.model = {.kind = MODEL_LINEAR, .mlp = {.inputs = 10, .outputs = 5}},
                  .optimizer.mc_samples = 1};
    cr_expect_float_eq(utilization_of(&layers, 1e9, 400.0), 0.5, 1e-12);
}
