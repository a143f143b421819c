/* Checkpoints: what is written, what is read back, what is kept, and what a failed write leaves. */
#include "checkpoint_fixture.h"
#include "io/checkpoints/safetensors.h"

#include <dirent.h>

MPI_SUITE(checkpoint, NULL, NULL)

/* Whether the run's directory holds these names (separated by spaces) and no others. */
static bool holds(const char *directory, const char *names)
{
    size_t expected = 0, found = 0;
    for (const char *at = names; *at; at += strspn(at, " ")) {
        expected++;
        at += strcspn(at, " ");
    }
    DIR *opened = opendir(directory);
    if (!opened) return false;
    bool known = true;
    for (struct dirent *e = readdir(opened); e; e = readdir(opened)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char padded[2 * PATH_LENGTH], name[300];
        snprintf(padded, sizeof padded, " %s ", names);
        snprintf(name, sizeof name, " %s ", e->d_name);
        known = known && strstr(padded, name);
        found++;
    }
    closedir(opened);
    return known && found == expected;
}

static void must_hold(const setup *t, const char *names)
{
    MPI_Barrier(world.world);
    cr_assert(everywhere(holds(t->run, names)), "only %s expected in %s", names, t->run);
}

static void check_round_trip(const saved_array arrays[ARRAYS])
{
    setup t;
    checkpoint_facts facts;
    setup_open(&t, arrays);
    must_write(&t, 10, 0);
    must_read(&t, 10);
    status result = read_back(&t, &facts);
    cr_assert(everywhere(result == STATUS_OK));
    cr_expect_eq(facts.updates, 7);
    cr_expect_eq(facts.skipped_in_row, 2);
    cr_expect_eq(facts.seed, UINT64_MAX);
    cr_expect_eq(facts.item, 1234567);
    cr_expect_eq(facts.threads, 3);
    cr_expect_eq(facts.ranks, (uint64_t)world.size);
    cr_expect_str_eq(facts.instruction_set, "a \"quoted\" set");
    cr_expect_str_eq(facts.libraries, "a\\b, c 1.0");
    setup_close(&t);
}

MPI_TEST(ivon_round_trip)
{
    check_round_trip(ivon_arrays);
}

MPI_TEST(adamw_round_trip)
{
    check_round_trip(adamw_arrays);
}

static uint64_t check_file(const setup *t, size_t first, size_t end)
{
    char path[2 * PATH_LENGTH];
    content found = load(in(path, "%s/step-00000010/%s", t->run, t->arrays[first].file));
    content expected = build_file(t, 10, first, end);
    bool same = found.size == expected.size && found.bytes &&
                memcmp(found.bytes, expected.bytes, found.size) == 0;
    uint64_t bytes = found.size;
    free(found.bytes);
    free(expected.bytes);
    cr_assert(everywhere(same), "%s is not what one process writes", path);
    return bytes;
}

/* On any number of ranks the files are those that the test writes alone. */
MPI_TEST(bytes_do_not_depend_on_ranks)
{
    setup t;
    char path[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    uint64_t bytes = check_file(&t, 0, 1) + check_file(&t, 1, 2) + check_file(&t, 2, 3);
    cr_expect_eq(checkpoint_bytes(&t.p, t.arrays, ARRAYS), bytes + (64 << 10));
    cr_expect(everywhere(holds(in(path, "%s/step-00000010", t.run),
                               "model.safetensors posterior.safetensors optimizer.safetensors "
                               "state.json config.json")));
    setup_close(&t);
    setup_open(&t, adamw_arrays);
    must_write(&t, 10, 0);
    bytes = check_file(&t, 0, 1) + check_file(&t, 1, 3);
    cr_expect_eq(checkpoint_bytes(&t.p, t.arrays, ARRAYS), bytes + (64 << 10));
    setup_close(&t);
}

/* Written on all ranks, read by every rank alone, from the checkpoint's own directory, and not all
 * of its files. */
MPI_TEST(reads_on_other_ranks)
{
    setup t;
    sharding whole;
    checkpoint_facts facts;
    char path[2 * PATH_LENGTH], used[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    cr_assert_eq(sharding_open(&whole, &t.p, 1, 0), STATUS_OK);
    saved_array alone[2] = {t.arrays[0], t.arrays[1]};
    for (int a = 0; a < 2; a++) alone[a].values = calloc(t.p.count, sizeof(float));
    status result = checkpoint_read(MPI_COMM_SELF, in(path, "%s/step-00000010", t.run), &t.p, alone,
                                    2, whole.owned, whole.owned_count, &facts, used, sizeof used);
    bool same = result == STATUS_OK && facts.steps == 10 && strcmp(used, path) == 0;
    for (size_t a = 0; a < 2; a++)
        same = same && has_values(alone[a].values, &t.p, whole.owned, whole.owned_count, 10, a);
    cr_assert(everywhere(same), "%s", status_message());
    for (int a = 0; a < 2; a++) free(alone[a].values);
    sharding_close(&whole);
    setup_close(&t);
}

/* Parts read one after the other have the checksum of the whole. */
MPI_TEST(parts_have_the_sum_of_the_whole)
{
    setup t;
    setup_open(&t, ivon_arrays);
    set_values(&t, 10);
    bool same = true, cut = t.s.owned_count == 0;
    for (size_t i = 0; i < t.s.owned_count; i++) {
        const slice *whole = &t.s.owned[i];
        const float *values = t.arrays[0].values + whole->offset;
        uint64_t sum = 0;
        for (size_t at = 0; at < whole->count;) {
            slice part = safetensors_part(&t.p, whole, at, 512);
            cut = cut || part.count < whole->count;
            same = same && part.count > 0 && part.count <= 512;
            sum += safetensors_checksum(&t.p, &part, values + at);
            at += part.count;
        }
        same = same && sum == safetensors_checksum(&t.p, whole, values);
    }
    cr_expect(everywhere(same && cut));
    setup_close(&t);
}

MPI_TEST(ends_in_the_background)
{
    setup t;
    checkpoint_writer *w;
    setup_open(&t, ivon_arrays);
    status result = begin(&t, &w, 10);
    cr_assert(everywhere(result == STATUS_OK));
    while (!checkpoint_written(w)) usleep(1000);
    must_hold(&t, ".writing-step-00000010");
    cr_expect_not(checkpoint_exists(t.run));
    result = checkpoint_finish(&w, 0);
    cr_assert(everywhere(result == STATUS_OK && !w));
    must_hold(&t, "step-00000010");
    cr_expect(checkpoint_exists(t.run));
    setup_close(&t);
}

MPI_TEST(says_when_there_is_none)
{
    setup t;
    char run[PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_refuse(&t, "no checkpoint", "no checkpoint found", t.run);
    strcpy(run, t.run);
    strcat(t.run, "/absent");
    must_refuse(&t, "no run", "No such file or directory", t.run);
    cr_expect_not(checkpoint_exists(t.run));
    strcpy(t.run, run);
    setup_close(&t);
}

MPI_TEST(same_step_again)
{
    setup t;
    char path[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    bool cut = true;
    if (world.rank == 0) {
        cut = truncate(in(path, "%s/step-00000010/model.safetensors", t.run), 99) == 0;
        mkdir(in(path, "%s/.writing-step-00000010", t.run), 0777); /* a killed writer's */
        store(in(path, "%s/.writing-step-00000010/model.safetensors.part", t.run), "x", 1);
        mkdir(in(path, "%s/.old-step-00000010", t.run), 0777);
        store(in(path, "%s/.old-step-00000010/state.json", t.run), "x", 1);
    }
    cr_assert(everywhere(cut));
    must_write(&t, 10, 0);
    must_hold(&t, "step-00000010");
    must_read(&t, 10);
    setup_close(&t);
}

static void add_directory(const setup *t, const char *name)
{
    char path[2 * PATH_LENGTH];
    bool made = world.rank != 0 || mkdir(in(path, "%s/%s", t->run, name), 0777) == 0;
    cr_assert(everywhere(made));
}

MPI_TEST(keeps_the_newest)
{
    setup t;
    setup_open(&t, ivon_arrays);
    add_directory(&t, "step-00000010-best");
    for (uint64_t steps = 10; steps <= 40; steps += 10) must_write(&t, steps, 2);
    must_hold(&t, "step-00000010-best step-00000030 step-00000040");
    must_write(&t, 50, 0);
    must_hold(&t, "step-00000010-best step-00000030 step-00000040 step-00000050");
    must_read(&t, 50);
    setup_close(&t);
}

/* The run did not resume from a newer one, so that one is torn: it must not push out the one just
 * written. */
MPI_TEST(keeps_the_one_just_written)
{
    setup t;
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 1);
    add_directory(&t, "step-00000030");
    must_write(&t, 20, 1);
    must_hold(&t, "step-00000020 step-00000030");
    must_read(&t, 20);
    must_write(&t, 30, 1);
    must_hold(&t, "step-00000030");
    must_read(&t, 30);
    setup_close(&t);
}

MPI_TEST(counts_steps_as_numbers)
{
    setup t;
    setup_open(&t, ivon_arrays);
    must_write(&t, 99999999, 1);
    must_write(&t, 100000000, 0);
    must_read(&t, 100000000);
    must_write(&t, 100000001, 1);
    must_hold(&t, "step-100000001");
    setup_close(&t);
}

MPI_TEST(finds_the_newest_of_many)
{
    setup t;
    char name[32];
    setup_open(&t, ivon_arrays);
    for (int i = 1; i <= 1500; i++) {
        snprintf(name, sizeof name, "step-%08d", i);
        add_directory(&t, name);
    }
    must_write(&t, 1501, 0);
    must_read(&t, 1501);
    setup_close(&t);
}

MPI_TEST(falls_back_to_an_older_one)
{
    setup t;
    char path[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    for (uint64_t steps = 10; steps <= 40; steps += 10) must_write(&t, steps, 0);
    bool damaged = true;
    if (world.rank == 0) {
        content c = load(in(path, "%s/step-00000040/posterior.safetensors", t.run));
        c.bytes[c.size / 2] ^= 4;
        damaged = store(path, c.bytes, c.size) &&
                  unlink(in(path, "%s/step-00000030/optimizer.safetensors", t.run)) == 0;
        free(c.bytes);
    }
    cr_assert(everywhere(damaged));
    must_read(&t, 20);
    if (world.rank == 0)
        damaged = truncate(in(path, "%s/step-00000020/state.json", t.run), 100) == 0 &&
                  truncate(in(path, "%s/step-00000010/model.safetensors", t.run), 100) == 0;
    cr_assert(everywhere(damaged));
    must_refuse(&t, "all torn", "step-00000010/model.safetensors", "truncated");
    setup_close(&t);
}

static void check_failed_write(int rank)
{
    setup t;
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 1);
    if (world.rank == rank || rank < 0) limit_files(4096);
    status result = write_steps(&t, 20, 1);
    limit_files(RLIM_INFINITY);
    cr_assert(everywhere(result == STATUS_IO && strstr(status_message(), "step-00000020/model")),
              "status %d: %s", (int)result, status_message());
    status_clear();
    must_hold(&t, "step-00000010");
    must_read(&t, 10);
    must_write(&t, 20, 1);
    must_hold(&t, "step-00000020");
    must_read(&t, 20);
    setup_close(&t);
}

MPI_TEST(all_ranks_fail_to_write)
{
    check_failed_write(-1);
}

MPI_TEST(last_rank_fails_to_write)
{
    check_failed_write(world.size - 1);
}

MPI_TEST(fails_to_publish)
{
    setup t;
    checkpoint_writer *w;
    char path[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 1);
    status result = begin(&t, &w, 20);
    cr_assert(everywhere(result == STATUS_OK));
    bool made = world.rank != 0 ||
                mkdir(in(path, "%s/.writing-step-00000020/state.json", t.run), 0777) == 0;
    cr_assert(everywhere(made));
    result = checkpoint_finish(&w, 1);
    cr_assert(everywhere(result == STATUS_IO && strstr(status_message(), "state.json")), "%s",
              status_message());
    status_clear();
    must_hold(&t, "step-00000010");
    must_read(&t, 10);
    setup_close(&t);
}

MPI_TEST(fails_to_begin)
{
    setup t;
    checkpoint_writer *w;
    char run[PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    strcpy(run, t.run);
    strcat(t.run, "/absent");
    status result = begin(&t, &w, 10);
    cr_assert(everywhere(result == STATUS_IO && !w && strstr(status_message(), t.run)), "%s",
              status_message());
    status_clear();
    strcpy(t.run, run);
    must_hold(&t, "");
    setup_close(&t);
}

MPI_TEST(sweep_brings_back_and_removes)
{
    setup t;
    char path[2 * PATH_LENGTH], old[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    in(path, "%s/step-00000010", t.run);
    in(old, "%s/.old-step-00000010", t.run);
    bool moved = world.rank != 0 || rename(path, old) == 0;
    add_directory(&t, ".writing-step-00000010");
    if (world.rank == 0) {
        store(in(path, "%s/.writing-step-00000010/model.safetensors", t.run), "torn", 4);
        checkpoint_sweep(t.run);
    }
    cr_assert(everywhere(moved));
    must_hold(&t, "step-00000010");
    must_read(&t, 10);
    add_directory(&t, ".old-step-00000010");
    if (world.rank == 0) checkpoint_sweep(t.run);
    must_hold(&t, "step-00000010");
    must_read(&t, 10);
    setup_close(&t);
}
