/* vario bench: the machine's matrix-product rate, and a training step's against it. */
#include "bench/ceiling.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/file.h"
#include "io/tokens.h"
#include "kernels/kernels.h"
#include "runtime/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t sequences, length, microbatches, steps, layers;
    const char *optimizer;
    bool json, fp32;
} arguments;

enum { STEPS_MOST = 64 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The published 124M job, with fewer micro-batches a step than its 24. */
static job bench_job(const arguments *a, optimizer_kind kind)
{
    return (job){
        .name = "bench",
        .seed = 1,
        .model = {.gpt2 = {.n_layer = a->layers,
                           .n_head = 12,
                           .n_embd = 768,
                           .block_size = 1024,
                           .vocab_size = 50304},
                  .init = "scratch"},
        .batch = {.sequences = a->sequences, .length = a->length, .microbatches = a->microbatches},
        .steps = 1000,
        .optimizer = {.kind = kind,
                      .ess = 1e10,
                      .hessian_init = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = kind == OPTIMIZER_IVON ? 0.99999 : 0.95,
                      .weight_decay = kind == OPTIMIZER_IVON ? 1e-6 : 0.1,
                      .epsilon = 1e-8,
                      .mc_samples = 1,
                      .rescale_lr = true,
                      .debias = true},
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = kind == OPTIMIZER_IVON ? 3.0 : 6e-6},
        .clip = {.norm = 1.0,
                 .scope = kind == OPTIMIZER_IVON ? SCOPE_MICROBATCH : SCOPE_STEP,
                 .update = kind == OPTIMIZER_IVON ? 1e-3 : INFINITY},
        .parallel = {.shard = SHARD_GRADIENTS},
        .precision = a->fp32 ? DTYPE_F32 : DTYPE_BF16,
    };
}

static status make_tokens(tokens **data, char *path, const job *j)
{
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!file) return fail(STATUS_IO, "%s: a temporary file could not be made", path);
    for (uint32_t i = 0; i < 1U << 17; i++) {
        uint16_t token = (uint16_t)((i * 2654435761U >> 12) % 50000);
        fwrite(&token, sizeof token, 1, file);
    }
    fclose(file);
    status result = tokens_open(data, path, j->batch.length, j->model.gpt2.vocab_size);
    unlink(path);
    return result;
}

/* Median seconds of a step of each optimizer, in turn: both see the same machine. */
static status time_steps(session *s, const arguments *a, double seconds[2])
{
    static const optimizer_kind kinds[2] = {OPTIMIZER_IVON, OPTIMIZER_ADAMW};
    double times[2][STEPS_MOST];
    job jobs[2];
    trainer r[2] = {0};
    tokens *data = NULL;
    char path[] = "/tmp/vario-bench-XXXXXX";
    status result = STATUS_OK;
    for (int k = 0; k < 2 && !result; k++) {
        jobs[k] = bench_job(a, kinds[k]);
        if (!data) result = make_tokens(&data, path, &jobs[k]);
        if (!result) result = trainer_open(&r[k], &jobs[k], &s->c, jobs[k].precision, true);
    }
    for (uint64_t t = 0; !result && t <= a->steps; t++)
        for (int k = 0; k < 2 && !result; k++) {
            step_result step;
            double start = MPI_Wtime();
            result = trainer_step(&r[k], data, t, true, &step, NULL);
            if (t > 0) times[k][t - 1] = MPI_Wtime() - start;
        }
    for (int k = 0; k < 2; k++) {
        trainer_close(&r[k]);
        if (result) continue;
        qsort(times[k], a->steps, sizeof times[k][0], by_value);
        seconds[k] = times[k][a->steps / 2];
    }
    tokens_close(&data);
    return result;
}

static void print_json(const arguments *a, const session *s, const double rate[2],
                       const double seconds[2], double flops, double count)
{
    double ceiling = rate[a->fp32 ? 0 : 1];
    printf("{\"threads\": %d, \"product_gflops_fp32\": %.1f, \"product_gflops_bf16\": %.1f, "
           "\"step_seconds_ivon\": %.4f, \"step_seconds_adamw\": %.4f, \"tokens_per_second\": "
           "%.1f, \"step_over_product_rate\": %.4f, \"ivon_over_adamw\": %.4f}\n",
           s->threads, rate[0], rate[1], seconds[0], seconds[1], count / seconds[0],
           flops / seconds[0] / 1e9 / ceiling, seconds[0] / seconds[1]);
}

static void print_table(const arguments *a, const session *s, const double rate[2],
                        const double seconds[2], double flops, double count)
{
    double ceiling = rate[a->fp32 ? 0 : 1], reached = flops / seconds[0] / 1e9;
    printf("threads %d, %s, %s\n\n", s->threads, kernels_instruction_set(),
           kernels_library_version());
    printf("%-44s %12s %12s %8s\n", "what", "measured", "bound", "ratio");
    printf("%-44s %12.1f\n", "matrix products fp32, packed, GFLOP/s", rate[0]);
    printf("%-44s %12.1f\n", "matrix products bf16, packed, GFLOP/s", rate[1]);
    printf("%-44s %12.1f %12.1f %8.3f\n",
           a->fp32 ? "GPT-2 step, IVON, fp32, GFLOP/s" : "GPT-2 step, IVON, bf16, GFLOP/s", reached,
           ceiling, reached / ceiling);
    printf("%-44s %12.3f %12.3f %8.3f\n", "seconds a step: IVON, and AdamW's", seconds[0],
           seconds[1], seconds[0] / seconds[1]);
    printf("%-44s %12.1f\n", "tokens/s, IVON", count / seconds[0]);
}

static status run(session *s, arguments *a)
{
    if (a->steps == 0 || a->steps > STEPS_MOST)
        return fail(STATUS_INPUT, "vario bench: --steps %llu found, 1 to %d expected",
                    (unsigned long long)a->steps, STEPS_MOST);
    if (a->sequences == 0 || a->length == 0 || a->length > 1024 || a->layers == 0 ||
        a->microbatches == 0)
        return fail(
            STATUS_INPUT,
            "vario bench: sequences, micro-batches and layers from 1 and a length from 1 to "
            "1024 expected");
    if (s->c.size != 1)
        return fail(STATUS_INPUT, "vario bench: a launch of 1 rank expected, %d found", s->c.size);
    session_compute(s, 0);
    if (!s->bf16) a->fp32 = true;
    double rate[2] = {ceiling_product_rate(DTYPE_F32),
                      s->bf16 ? ceiling_product_rate(DTYPE_BF16) : 0.0};
    double seconds[2];
    status result = time_steps(s, a, seconds);
    if (result) return result;
    gpt2_config config = bench_job(a, OPTIMIZER_IVON).model.gpt2;
    double count = (double)(a->sequences * a->length * a->microbatches);
    double flops = gpt2_flops_per_token(&config, a->length) * count;
    (a->json ? print_json : print_table)(a, s, rate, seconds, flops, count);
    return STATUS_OK;
}

int bench_main(int argc, char **argv)
{
    arguments a = {.sequences = 4, .length = 1024, .microbatches = 4, .steps = 3, .layers = 12};
    const option options[] = {
        {"--sequences", OPTION_COUNT, &a.sequences, "S", "sequences of a micro-batch (4)"},
        {"--length", OPTION_COUNT, &a.length, "T", "tokens of a sequence (1024)"},
        {"--microbatches", OPTION_COUNT, &a.microbatches, "G", "micro-batches of a step (4)"},
        {"--layers", OPTION_COUNT, &a.layers, "L", "blocks, 768 wide (12: GPT-2 124M)"},
        {"--steps", OPTION_COUNT, &a.steps, "N", "measured steps of each optimizer (3)"},
        {"--fp32", OPTION_FLAG, &a.fp32, NULL, "fp32 instead of bf16"},
        {"--json", OPTION_FLAG, &a.json, NULL, "print the result as JSON"},
    };
    const option_table table = {"bench",
                                "[--sequences S] [--length T] [--json]",
                                "Measure the machine's matrix products and GPT-2 training steps "
                                "against them, in one run.",
                                options,
                                sizeof options / sizeof options[0],
                                0,
                                0};
    size_t count;
    bool helped;
    session s;
    status result = session_open(&s, &table, argc, argv, NULL, &count, &helped);
    if (!result && !helped) result = run(&s, &a);
    return session_close(&s, result);
}
