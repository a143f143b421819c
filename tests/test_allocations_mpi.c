/* Steps allocate nothing: every allocation of the process is counted while they run. */
#include "kernels/kernels.h"
#include "mpi_fixture.h"
#include "runtime/agree.h"
#include "train/trainer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* What counts. A rank by itself: all but the small blocks in which oneDNN describes a product. With
 * others, Open MPI may lengthen its lists of messages, by 53 kB at a time; fc's weights in the
 * model below have 64 KiB. */
enum { ALONE = 2048, WITH_OTHERS = 65536 };

static atomic_bool counting;
static atomic_size_t allocations, largest;
static size_t smallest = ALONE;

static void count(size_t bytes)
{
    if (!counting || bytes < smallest) return;
    allocations++;
    if (bytes > largest) largest = bytes;
}

#ifdef __SANITIZE_ADDRESS__
static void count_block(const volatile void *block, size_t bytes)
{
    (void)block;
    count(bytes);
}

static void ignore_block(const volatile void *block)
{
    (void)block;
}

int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                              void (*)(const volatile void *));

static void install(void)
{
    cr_assert(__sanitizer_install_malloc_and_free_hooks(count_block, ignore_block));
}
#else
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes)
{
    count(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    count(number * bytes);
    return __libc_calloc(number, bytes);
}

void *realloc(void *block, size_t bytes)
{
    count(bytes);
    return __libc_realloc(block, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    count(bytes);
    *block = __libc_memalign(alignment, bytes);
    return *block ? 0 : 12; /* ENOMEM */
}

static void install(void)
{
}
#endif

static dataset *make_tokens(const job *j)
{
    char path[] = "/tmp/vario-allocations-XXXXXX";
    dataset *data = NULL;
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "wb");
    for (uint32_t i = 0; file && i < 4096; i++) {
        uint16_t token = (uint16_t)(i * 7 % 97);
        fwrite(&token, sizeof token, 1, file);
    }
    fclose(file);
    status result = dataset_open(&data, j, DATASET_TRAIN, path);
    unlink(path);
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    return data;
}

static job small_job(optimizer_kind kind, shard_stage stage)
{
    return (job){
        .name = "allocations",
        .seed = 1,
        .model =
            {.gpt2 = {.n_layer = 2, .n_head = 2, .n_embd = 64, .block_size = 16, .vocab_size = 97},
             .init = "scratch"},
        .batch = {.sequences = 4, .length = 16, .microbatches = 4},
        .steps = 10,
        .optimizer = {.kind = kind,
                      .ess = 1e6,
                      .hessian_init = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .weight_decay = 1e-4,
                      .epsilon = 1e-8,
                      .mc_samples = 1,
                      .rescale_lr = true,
                      .debias = true},
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 1e-3},
        .clip = {.norm = 1.0, .scope = SCOPE_MICROBATCH, .update = INFINITY},
        .parallel = {.shard = stage},
        .precision = DTYPE_F32};
}

/* Steps 0 and 1 may: libraries make their scratch when they first meet a size. */
static void check_steps(const job *j, dataset *data)
{
    trainer r;
    cr_assert_eq(trainer_open(&r, j, &world, DTYPE_F32, true), STATUS_OK, "%s", status_message());
    for (uint64_t t = 0; t < 5; t++) {
        step_result result;
        counting = t > 1;
        status code = trainer_step(&r, data, t, true, &result, NULL);
        counting = false;
        cr_assert_eq(code, STATUS_OK, "%s", status_message());
    }
    cr_expect_eq(allocations, 0, "%zu blocks of up to %zu bytes, stage %d", (size_t)allocations,
                 (size_t)largest, (int)j->parallel.shard);
    trainer_close(&r);
    dataset_close(&data);
}

static void start(void)
{
    static bool installed;
    if (!installed) install();
    installed = true;
    allocations = largest = 0;
    if (world.size > 1) smallest = WITH_OTHERS;
    kernels_open();
}

static void stop(void)
{
    kernels_close();
}

MPI_SUITE(allocations, start, stop)

MPI_TEST(are_counted)
{
    counting = true;
    char *volatile block = malloc(smallest);
    counting = false;
    free(block);
    cr_expect_eq(allocations, 1);
}

MPI_TEST(none_in_steps_of_ivon)
{
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        job j = small_job(OPTIMIZER_IVON, (shard_stage)stage);
        check_steps(&j, make_tokens(&j));
    }
}

MPI_TEST(none_in_steps_of_adamw_with_recomputation)
{
    job j = small_job(OPTIMIZER_ADAMW, SHARD_GRADIENTS);
    j.recompute = RECOMPUTE_BLOCK;
    check_steps(&j, make_tokens(&j));
}

MPI_TEST(none_in_steps_of_perceptrons)
{
    job j = small_job(OPTIMIZER_IVON, SHARD_GRADIENTS);
    dataset *data = NULL;
    j.model.kind = MODEL_MLP;
    j.model.mlp = (mlp_config){.inputs = 2,
                               .outputs = 2,
                               .hidden_count = 2,
                               .hidden = {200, 200},
                               .bias = true,
                               .dropout = 0.1};
    j.batch.sequences = 64;
    j.batch.length = 1;
    j.data.leave_out = UINT64_MAX;
    status result = dataset_open(&data, &j, DATASET_TRAIN, "moons:0-99");
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    check_steps(&j, data);
}
