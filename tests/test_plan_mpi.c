/* vario plan against what the arenas hold and the counters count, to the byte. */
#include "analysis/sensitivity.h"
#include "io/files/file.h"
#include "kernels/kernels.h"
#include "mpi_fixture.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

MPI_SUITE(plan, NULL, NULL)

enum { TOKENS = 20000, PATH_SIZE = 32 };

/* A job small enough for a step in milliseconds, with tensors that no chunk boundary meets. */
static job small_job(void)
{
    return (job){
        .name = "plan",
        .seed = 7,
        .model = {.gpt2 = {.n_layer = 3,
                           .n_head = 2,
                           .n_embd = 20,
                           .block_size = 16,
                           .vocab_size = 97,
                           .bias = true},
                  .init = "scratch"},
        .batch = {.sequences = 2, .length = 16, .microbatches = 5},
        .steps = 2,
        .optimizer = {.kind = OPTIMIZER_IVON,
                      .ess = 1e6,
                      .hessian_init = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.999,
                      .weight_decay = 1e-4,
                      .mc_samples = 1,
                      .epsilon = 1e-8,
                      .momentum = 0.9,
                      .rescale_lr = true,
                      .debias = true},
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 0.1},
        .clip = {.norm = INFINITY, .update = INFINITY},
        .parallel = {.shard = SHARD_GRADIENTS, .threads = 1},
    };
}

static const mlp_config three_layers = {
    .inputs = 2, .outputs = 3, .hidden_count = 2, .hidden = {37, 50}, .bias = true, .dropout = 0.1};

/* The same on examples. */
static job examples_job(size_t hidden_layers)
{
    job j = small_job();
    j.model.kind = hidden_layers ? MODEL_MLP : MODEL_LINEAR;
    j.model.mlp = three_layers;
    j.model.mlp.hidden_count = hidden_layers;
    j.data.leave_out = UINT64_MAX;
    j.batch.sequences = 7;
    j.batch.length = 1;
    return j;
}

static void write_tokens(char *path)
{
    FILE *file = fdopen(mkstemp(path), "wb");
    cr_assert(file);
    for (unsigned i = 0; i < TOKENS; i++) {
        uint16_t token = (uint16_t)(i * i % 97);
        fwrite(&token, sizeof token, 1, file);
    }
    fclose(file);
}

static dataset *open_data(const job *j, char path[PATH_SIZE])
{
    bool tokens_wanted = j->model.kind == MODEL_GPT2;
    if (world.rank == 0 && tokens_wanted) write_tokens(path);
    MPI_Bcast(path, PATH_SIZE, MPI_BYTE, 0, world.world);
    dataset *data = NULL;
    const char *text = tokens_wanted ? path : "moons:0-99";
    status result = agree(world.world, dataset_open(&data, j, DATASET_TRAIN, text));
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    return data;
}

static plan_rank this_rank(void)
{
    return (plan_rank){.ranks = (size_t)world.size,
                       .rank = (size_t)world.rank,
                       .nodes = (size_t)world.nodes.count,
                       .place = (size_t)world.nodes.place};
}

/* A sum of this rank's mean after the steps: equal where its bits are. */
static uint64_t check(const job *j, dtype precision)
{
    char path[PATH_SIZE] = "/tmp/vario-test-plan-XXXXXX";
    dataset *data = open_data(j, path);
    plan expected;
    trainer r;
    step_result step;
    const plan_rank here = this_rank();
    cr_assert_eq(plan_make(&expected, j, &here, precision, &sensitivity_estimator), STATUS_OK);
    cr_assert_eq(trainer_open(&r, j, &world, precision, true), STATUS_OK, "%s", status_message());
    size_t shared = r.rounds.state.node.bytes, kept = world.nodes.place == 0 ? shared : 0;
    cr_expect_eq(expected.memory.node, shared);
    cr_expect_eq(expected.memory.state, r.rounds.state.arena.used + kept);
    cr_expect_eq(expected.memory.weights, r.weights.arena.used);
    cr_expect_eq(expected.memory.gradients, r.rounds.gradients_arena.used);
    cr_expect_eq(expected.memory.pieces, r.rounds.pieces.arena.used);
    cr_expect_eq(expected.memory.state, r.rounds.state.arena.capacity + kept);
    cr_expect_eq(expected.memory.weights, r.weights.arena.capacity);
    cr_expect_eq(expected.memory.pieces, r.rounds.pieces.arena.capacity);
    for (uint64_t t = 0; t < 2; t++) {
        memset(world.sent, 0, sizeof world.sent);
        cr_assert_eq(trainer_step(&r, data, t, true, &step, NULL), STATUS_OK);
        cr_expect_not(step.skipped);
        for (int kind = 0; kind < BYTES_KINDS; kind++)
            cr_expect_eq(world.sent[kind], expected.sent[kind], "%s: %llu sent, %llu planned",
                         bytes_names[kind], (unsigned long long)world.sent[kind],
                         (unsigned long long)expected.sent[kind]);
    }
    const state *s = &r.rounds.state;
    uint64_t sum = XXH3_64bits(s->mean.values,
                               (s->mean.whole ? s->p->count : s->owned->elements) * sizeof(float));
    trainer_close(&r);
    dataset_close(&data);
    MPI_Barrier(world.world);
    if (world.rank == 0) unlink(path);
    return sum;
}

static void check_stages(job j)
{
    kernels_open();
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        j.parallel.shard = (shard_stage)stage;
        check(&j, DTYPE_F32);
        check(&j, DTYPE_BF16);
    }
    kernels_close();
}

MPI_TEST(ivon)
{
    check_stages(small_job());
}

MPI_TEST(adamw)
{
    job j = small_job();
    j.optimizer.kind = OPTIMIZER_ADAMW;
    check_stages(j);
}

MPI_TEST(bbb)
{
    job j = small_job();
    j.optimizer.kind = OPTIMIZER_BBB;
    j.optimizer.sigma_init = 1e-3;
    check_stages(j);
}

/* Matrices whole on their owners, of whom some may have none. */
static void check_whole(optimizer_kind kind)
{
    job j = small_job();
    j.optimizer.kind = kind;
    j.optimizer.basis_beta = 0.9;
    j.optimizer.basis_every = 1;
    j.optimizer.estimate_clip = INFINITY;
    j.optimizer.whiten = kind == OPTIMIZER_EVON;
    j.optimizer.rest_lr = 1e-3;
    j.parallel.shard = SHARD_PARAMETERS;
    kernels_open();
    for (size_t limit = 16; limit <= 96; limit += 40) { /* no side has a basis, some, all */
        j.optimizer.basis_limit = limit;
        j.optimizer.rest = kind == OPTIMIZER_EVON && limit == 56 ? REST_IVON : REST_ADAMW;
        j.clip.norm = limit == 96 ? 1.0 : INFINITY;
        check(&j, DTYPE_F32);
        check(&j, DTYPE_BF16);
    }
    kernels_close();
}

MPI_TEST(evon)
{
    check_whole(OPTIMIZER_EVON);
}

MPI_TEST(soap)
{
    check_whole(OPTIMIZER_SOAP);
}

MPI_TEST(muon)
{
    check_whole(OPTIMIZER_MUON);
}

MPI_TEST(swag)
{
    job j = small_job();
    j.optimizer.kind = OPTIMIZER_SGD;
    j.swag.start = j.swag.every = 1;
    j.swag.rank = 3;
    check_stages(j);
}

MPI_TEST(wire_bf16_and_norms_by_microbatch)
{
    job j = small_job();
    j.parallel.wire = DTYPE_BF16;
    j.clip.norm = 1.0;
    j.clip.scope = SCOPE_MICROBATCH;
    check_stages(j);
}

/* One unit, two, and three: nothing between the first and the last, and something. Fewer elements
 * than ranks could own. */
MPI_TEST(models_of_examples)
{
    for (size_t hidden_layers = 0; hidden_layers <= 2; hidden_layers++) {
        check_stages(examples_job(hidden_layers));
        job clipped = examples_job(hidden_layers);
        clipped.clip.norm = 1.0;
        clipped.clip.scope = SCOPE_MICROBATCH;
        check_stages(clipped);
    }
}

MPI_TEST(two_samples_an_item)
{
    job j = small_job();
    j.optimizer.mc_samples = 2;
    check_stages(j);
}

/* No rank may be without work in every round. */
MPI_TEST(ranks_without_work)
{
    job j = small_job();
    j.batch.microbatches = 12;
    j.optimizer.mc_samples = 2;
    cr_expect_eq(trainer_check_ranks(&j, "launch", 24), STATUS_OK);
    cr_expect_eq(trainer_check_ranks(&j, "launch", 25), STATUS_INPUT);
    cr_expect(strstr(status_message(), "launch: 25 ranks found, at most 24 expected"), "%s",
              status_message());
    status_clear();
}

/* IVON's gradient bytes are AdamW's where pieces travel every round, and all bytes are with
 * sharded parameters. */
MPI_TEST(ivon_sends_what_adamw_sends)
{
    job ivon = small_job(), adamw = ivon;
    adamw.optimizer.kind = OPTIMIZER_ADAMW;
    plan a, b;
    const plan_rank here = this_rank();
    cr_assert_eq(plan_make(&a, &ivon, &here, DTYPE_BF16, &sensitivity_estimator), STATUS_OK);
    cr_assert_eq(plan_make(&b, &adamw, &here, DTYPE_BF16, &sensitivity_estimator), STATUS_OK);
    cr_expect_eq(a.sent[BYTES_GRADIENTS], b.sent[BYTES_GRADIENTS]);
    if (world.size > 1) cr_expect_gt(a.sent[BYTES_GRADIENTS], 0);
    ivon.parallel.shard = adamw.parallel.shard = SHARD_PARAMETERS;
    cr_assert_eq(plan_make(&a, &ivon, &here, DTYPE_BF16, &sensitivity_estimator), STATUS_OK);
    cr_assert_eq(plan_make(&b, &adamw, &here, DTYPE_BF16, &sensitivity_estimator), STATUS_OK);
    for (int kind = 0; kind < BYTES_KINDS; kind++) cr_expect_eq(a.sent[kind], b.sent[kind]);
    if (world.size > 1) cr_expect_gt(a.sent[BYTES_WEIGHTS], 0);
}

/* A node whose ranks share a control group of so many bytes. */
static void write_node(const char *folder, double group)
{
    char name[96], text[256];
    const char *const files[] = {"meminfo", "self/cgroup", "self/mountinfo", "group/memory.max",
                                 "group/memory.current"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *texts[] = {"MemTotal: 99000000 kB\nMemAvailable: 99000000 kB\n", "0::/\n", text,
                               text, "0\n"};
        if (i == 2)
            snprintf(text, sizeof text, "31 22 0:28 / %s/group rw - cgroup2 cgroup2 rw\n", folder);
        if (i == 3) snprintf(text, sizeof text, "%.0f\n", group);
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        cr_assert_eq(file_write_atomic(name, texts[i], strlen(texts[i])), STATUS_OK);
    }
}

static void open_node(char *folder, double group)
{
    char name[96];
    if (world.rank == 0) {
        cr_assert(mkdtemp(folder));
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "%s/%s", folder, i ? "group" : "self");
            cr_assert_eq(file_make_directories(name), STATUS_OK);
        }
        write_node(folder, group);
    }
    MPI_Bcast(folder, PATH_SIZE, MPI_BYTE, 0, world.world);
    free_memory_proc = folder;
}

static void close_node(const char *folder)
{
    MPI_Barrier(world.world);
    if (world.rank == 0) file_remove_tree(folder);
    free_memory_proc = "/proc";
}

/* The ranks of a node share its control group, and arenas that are open take what they will use. */
MPI_TEST(ranks_share_a_limit)
{
    char folder[PATH_SIZE] = "/tmp/vario-test-plan-XXXXXX", expected[64];
    arena a;
    open_node(folder, 1e8);
    status result = free_memory_check(world.world, 4e7, "%d ranks", world.size);
    cr_expect_eq(result, world.size > 2 ? STATUS_NOMEM : STATUS_OK, "%s", status_message());
    snprintf(expected, sizeof expected, "(%d) need %.4g GB, and 0.1 GB are free", world.size,
             0.04 * world.size);
    if (result) cr_expect(strstr(status_message(), expected), "%s", status_message());
    status_clear();
    cr_assert_eq(arena_open(&a, "test", 50 << 20), STATUS_OK);
    cr_expect_eq(free_memory_check(world.world, 4e7, "ranks"),
                 world.size > 1 ? STATUS_NOMEM : STATUS_OK);
    cr_expect_eq(free_memory_check(world.world, 6e7, "ranks"), STATUS_NOMEM);
    status_clear();
    arena_close(&a);
    close_node(folder);
}

/* Refused before memory is taken, the same on all ranks, and opened where there is enough. */
MPI_TEST(a_trainer_looks_for_memory)
{
    char folder[PATH_SIZE] = "/tmp/vario-test-plan-XXXXXX";
    job j = small_job();
    trainer r;
    for (int training = 0; training < 2; training++) {
        open_node(folder, 5e6);
        cr_expect_eq(trainer_open(&r, &j, &world, DTYPE_F32, training), STATUS_NOMEM);
        cr_expect(strstr(status_message(), "0.005 GB are free of the 0.005 GB of control group /"),
                  "%s", status_message());
        cr_expect(strstr(status_message(), "plan: rank 0 is to take"), "%s", status_message());
        cr_expect_null(r.rounds.state.arena.base);
        status_clear();
        close_node(folder);
        strcpy(folder, "/tmp/vario-test-plan-XXXXXX");
        open_node(folder, 3e9);
        cr_assert_eq(trainer_open(&r, &j, &world, DTYPE_F32, training), STATUS_OK, "%s",
                     status_message());
        trainer_close(&r);
        close_node(folder);
        strcpy(folder, "/tmp/vario-test-plan-XXXXXX");
    }
}

/* As if MPI could count no further: all messages have several parts, and pieces are gathered one by
 * one. */
enum { FEW = 100 };

MPI_TEST(steps_in_small_parts)
{
    size_t max = world.count_max;
    kernels_open();
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        job j = small_job();
        j.parallel.shard = (shard_stage)stage;
        j.parallel.wire = stage % 2 ? DTYPE_BF16 : DTYPE_F32;
        uint64_t whole = check(&j, DTYPE_F32);
        world.count_max = FEW;
        uint64_t parts = check(&j, DTYPE_F32);
        world.count_max = max;
        cr_expect_eq(whole, parts, "stage %d", stage);
    }
    kernels_close();
}

/* What rank r sends: byte i. */
static unsigned char byte_of(int r, size_t i)
{
    return (unsigned char)(i * 7 + i / 256 + (size_t)r * 31);
}

static bool are_of(const unsigned char *bytes, size_t count, int r)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != byte_of(r, i)) return false;
    return true;
}

enum { LENGTH = 1009, RANKS_MAX = 4 };

static void fill(unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) bytes[i] = byte_of(world.rank, i);
}

/* Round the ring; whole parts, and a rest. */
static bool ring_works(size_t count)
{
    unsigned char out[LENGTH], in[LENGTH + 1] = {0};
    int next = (world.rank + 1) % world.size, last = (world.rank + world.size - 1) % world.size;
    MPI_Request requests[2];
    fill(out, count);
    comm_receive(&world, in, count, last, TAG_WEIGHTS, &requests[0]);
    comm_send(&world, out, count, next, TAG_WEIGHTS, BYTES_WEIGHTS, &requests[1]);
    comm_wait(&world, requests, 2);
    return are_of(in, count, last) && in[count] == 0;
}

static bool broadcast_works(int from)
{
    unsigned char bytes[LENGTH];
    fill(bytes, LENGTH);
    comm_broadcast(&world, bytes, LENGTH, from);
    return are_of(bytes, LENGTH, from);
}

static bool collect_works(void)
{
    unsigned char bytes[RANKS_MAX * LENGTH];
    fill(bytes, LENGTH);
    comm_collect(&world, bytes, LENGTH);
    for (int r = 0; world.rank == 0 && r < world.size; r++)
        if (!are_of(bytes + r * LENGTH, LENGTH, r)) return false;
    return true;
}

/* Uneven pieces of 3-byte elements. */
static bool gather_works(void)
{
    unsigned char bytes[3 * LENGTH] = {0};
    size_t first[RANKS_MAX + 1] = {0};
    for (int r = 0; r < world.size; r++) first[r + 1] = first[r] + 30 + 60 * (size_t)r;
    fill(bytes + 3 * first[world.rank], 3 * (first[world.rank + 1] - first[world.rank]));
    comm_all_gather(&world, bytes, first, 3, BYTES_PARAMETERS);
    for (int r = 0; r < world.size; r++)
        if (!are_of(bytes + 3 * first[r], 3 * (first[r + 1] - first[r]), r)) return false;
    return true;
}

MPI_TEST(messages_in_small_parts)
{
    const size_t limits[] = {world.count_max, 1, FEW, LENGTH - 1, LENGTH};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        world.count_max = limits[i];
        cr_expect(everywhere(ring_works(LENGTH)), "limit %zu", limits[i]);
        cr_expect(everywhere(ring_works(10 * FEW)), "limit %zu", limits[i]);
        cr_expect(everywhere(broadcast_works(world.size - 1)), "limit %zu", limits[i]);
        cr_expect(everywhere(collect_works()), "limit %zu", limits[i]);
        cr_expect(everywhere(gather_works()), "limit %zu", limits[i]);
    }
}
