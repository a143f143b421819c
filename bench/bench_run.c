/* A trainer on tokens that are made up: only their number matters. */
#include "bench/bench_run.h"

#include "kernels/kernels.h"
#include "runtime/agree.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The published settings of IVON and EVON; the schedule is constant and small, so that nothing
 * blows up. */
static optimizer_settings optimizer_of(optimizer_kind kind)
{
    optimizer_settings s = {.kind = kind,
                            .ess = 1e10,
                            .hessian_init = 1e-3,
                            .beta1 = 0.9,
                            .beta2 = kind == OPTIMIZER_IVON ? 0.99999 : 0.95,
                            .weight_decay = kind == OPTIMIZER_IVON ? 1e-6 : 0.1,
                            .epsilon = 1e-8,
                            .mc_samples = 1,
                            .rescale_lr = true,
                            .debias = true,
                            .basis_beta = 0.95,
                            .basis_every = 10,
                            .basis_limit = 2048,
                            .estimate_clip = INFINITY,
                            .rest_lr = 6e-6};
    if (kind != OPTIMIZER_EVON) return s;
    s.ess = 5.3e6;
    s.hessian_init = 0.58;
    s.beta1 = 0.943;
    s.beta2 = 0.99909;
    s.weight_decay = 1e-6;
    s.estimate_clip = 1.5;
    s.whiten = true;
    return s;
}

static job job_of(const bench_size *size, optimizer_kind kind)
{
    const bool ivon = kind == OPTIMIZER_IVON;
    return (job){
        .name = "bench",
        .seed = 1,
        .model = {.gpt2 = size->model, .init = "scratch"},
        .batch = {.sequences = size->sequences,
                  .length = size->length,
                  .microbatches = size->microbatches},
        .steps = 1000,
        .optimizer = optimizer_of(kind),
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = ivon ? 3.0 : 6e-6},
        .clip = {.norm = 1.0,
                 .scope = kind == OPTIMIZER_ADAMW ? SCOPE_STEP : SCOPE_MICROBATCH,
                 .update = ivon ? 1e-3 : INFINITY},
        .parallel = {.shard = optimizer_row(kind)->matrix ? SHARD_PARAMETERS : size->shard},
        .precision = size->precision,
        .recompute = size->recompute,
    };
}

static status make_tokens(dataset **data, const job *j)
{
    char path[] = "/tmp/vario-bench-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!file) return fail(STATUS_IO, "%s: a temporary file could not be made", path);
    for (uint32_t i = 0; i < 1U << 17; i++) {
        uint16_t token = (uint16_t)((i * 2654435761U >> 12) % j->model.gpt2.vocab_size);
        fwrite(&token, sizeof token, 1, file);
    }
    fclose(file);
    status result = dataset_open(data, j, DATASET_TRAIN, path);
    unlink(path);
    return result;
}

void bench_close(bench_run *b)
{
    trainer_close(&b->trainer);
    dataset_close(&b->data);
}

status bench_open(bench_run *b, comm *c, const bench_size *size, optimizer_kind kind)
{
    *b = (bench_run){.job = job_of(size, kind)};
    status result = agree(c->world, make_tokens(&b->data, &b->job));
    if (!result) result = trainer_open(&b->trainer, &b->job, c, size->precision, true);
    if (result) dataset_close(&b->data);
    return result;
}

status bench_step(bench_run *b, double *seconds)
{
    step_result result;
    double start = omp_get_wtime();
    status code = trainer_step(&b->trainer, b->data, b->t++, true, &result, NULL);
    *seconds = omp_get_wtime() - start;
    return code;
}
