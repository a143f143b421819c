/* A small model's trainer beside its data, on any number of ranks. */
#ifndef VARIO_TESTS_TRAINER_FIXTURE_H
#define VARIO_TESTS_TRAINER_FIXTURE_H

#include "folder_fixture.h"
#include "kernels/kernels.h"
#include "mpi_fixture.h"
#include "runtime/agree.h"
#include "train/trainer.h"

enum {
    COUNT = 43, /* rows of `rows_of` */
    S = 8,      /* in a batch */
    WIDTH = 6,
    T = 16, /* tokens of a window */
    WINDOWS = 7
};

static void start(void)
{
    kernels_open();
    if (world.rank == 0) open_folder();
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, world.world);
}

static void stop(void)
{
    MPI_Barrier(world.world);
    if (world.rank == 0) close_folder();
    kernels_close();
}

/* The Hessian of the start makes a posterior wide enough for samples to differ much. */
static inline job small_job(loss_kind loss, shard_stage stage)
{
    bool values = loss == LOSS_GAUSSIAN;
    return (job){
        .seed = 3,
        .model = {.kind = MODEL_MLP,
                  .mlp = {.inputs = values ? 1 : 2,
                          .outputs = values ? 1 : 2,
                          .hidden_count = 1,
                          .hidden = {WIDTH},
                          .bias = true,
                          .dropout = 0.5,
                          .loss = loss,
                          .noise_variance = 0.01}},
        .data = {.seed = 1, .leave_out = UINT64_MAX},
        .batch = {.sequences = S, .length = 1, .microbatches = 4},
        .optimizer = {.kind = OPTIMIZER_IVON, .ess = 100.0, .hessian_init = 0.05, .mc_samples = 1},
        .parallel = {.shard = stage}};
}

static inline const char *rows_of(loss_kind loss)
{
    return loss == LOSS_GAUSSIAN ? "curve:7-49" : "moons:7-49";
}

/* Two hidden layers, and an example that training never sees. */
static inline job deep_job(loss_kind loss, shard_stage stage)
{
    job j = small_job(loss, stage);
    strcpy(j.data.train, rows_of(loss));
    j.data.leave_out = 11;
    j.model.mlp.hidden_count = 2;
    j.model.mlp.hidden[1] = WIDTH + 1;
    j.optimizer.weight_decay = 0.01;
    return j;
}

/* A GPT-2 of so many columns; token i is i^2 mod the vocabulary. Collective. */
static inline job tokens_job(shard_stage stage, size_t width, size_t vocabulary)
{
    uint16_t tokens[T * WINDOWS + 1];
    job j = deep_job(LOSS_CROSS_ENTROPY, stage);
    j.model.kind = MODEL_GPT2;
    j.model.gpt2 = (gpt2_config){.n_layer = 3,
                                 .n_head = 2,
                                 .n_embd = width,
                                 .block_size = T,
                                 .vocab_size = vocabulary,
                                 .bias = true,
                                 .dropout = 0.3};
    j.batch.sequences = 2;
    j.batch.length = T;
    j.data.leave_out = UINT64_MAX;
    for (unsigned i = 0; i < T * WINDOWS + 1; i++) tokens[i] = (uint16_t)(i * i % vocabulary);
    if (world.rank == 0) write_file("tokens.bin", tokens, sizeof tokens);
    MPI_Barrier(world.world);
    snprintf(j.data.train, sizeof j.data.train, "%s", path_of("tokens.bin"));
    return j;
}

typedef struct {
    job j;
    dataset *data;
    trainer r; /* at its initial weights */
} running;

static inline void running_begin(running *x, job j, dataset_part part, const char *text,
                                 bool training)
{
    x->j = j;
    status result = dataset_open(&x->data, &x->j, part, text);
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    result = trainer_open(&x->r, &x->j, &world, DTYPE_F32, training);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
}

/* To train on the data, or to be judged by it. */
static inline void running_open(running *x, job j, const char *text, bool training)
{
    running_begin(x, j, training ? DATASET_TRAIN : DATASET_VALID, text, training);
}

/* To be looked at, beside its job's training data. */
static inline void running_look(running *x, job j)
{
    running_begin(x, j, DATASET_TRAIN, NULL, false);
}

static inline void running_close(running *x)
{
    trainer_close(&x->r);
    dataset_close(&x->data);
}

#endif
