/* A small perceptron's trainer beside its data, on any number of ranks. */
#ifndef VARIO_TESTS_TRAINER_FIXTURE_H
#define VARIO_TESTS_TRAINER_FIXTURE_H

#include "io/agree.h"
#include "kernels/kernels.h"
#include "mpi_fixture.h"
#include "runtime/trainer.h"

enum { COUNT = 43 /* rows of `rows_of` */, S = 8 /* in a batch */, WIDTH = 6 };

static void start(void)
{
    world_open();
    kernels_open();
}

static void stop(void)
{
    kernels_close();
    world_close();
}

#define TRAINER_SUITE(name) TestSuite(name, .init = start, .fini = stop, .timeout = 60)

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

typedef struct {
    job j;
    dataset *data;
    trainer r; /* at its initial weights */
} running;

/* To train on the data, or to be judged by it. */
static inline void running_open(running *x, job j, const char *text, bool training)
{
    x->j = j;
    status result = dataset_open(&x->data, &x->j, training ? DATASET_TRAIN : DATASET_VALID, text);
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    cr_assert_eq(trainer_open(&x->r, &x->j, &world, DTYPE_F32, training), STATUS_OK);
}

static inline void running_close(running *x)
{
    trainer_close(&x->r);
    dataset_close(&x->data);
}

#endif
