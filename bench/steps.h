/** Steps of training, beside the products' speed, the other optimizer, the plan. */
#ifndef VARIO_BENCH_STEPS_H
#define VARIO_BENCH_STEPS_H

#include "bench/report.h"
#include "runtime/comm.h"
#include "train/trainer.h"

typedef struct {
    gpt2_config model;
    uint64_t sequences, length, microbatches;
    dtype precision;
    recompute_kind recompute;
    shard_stage shard;
    optimizer_kind optimizer; /**< measured beside AdamW */
    uint64_t steps;           /**< measured, after one that is not */
} bench_size;

/** GPT-2 124M, bf16, 4 x 1024 tokens a micro-batch, 4 micro-batches a step. */
bench_size bench_size_124m(void);

/** Steps of the size's optimizer and of AdamW, in turn: speed beside the product rate (measured
 * before each pair of steps), and their ratio. `c` has one rank. */
status bench_steps(report *r, comm *c, const char *name, const bench_size *size);

/** Another trainer: a shell command that prints {"tokens_per_second": ...} for the same job. */
typedef struct {
    const char *name;
    const char *command;
} bench_peer;

/** IVON's tokens/s beside each peer's: medians of three turns, each of size->steps of ours after
 * one that warms up and a start of the peer. `c` has one rank.
 * @return STATUS_INPUT when a peer does not print its figure */
status bench_peers(report *r, comm *c, const char *name, const bench_size *size,
                   const bench_peer *peers, size_t count);

/** Resident memory of a step of IVON beside the plan, and seconds a step. */
status bench_memory(report *r, comm *c, const char *name, const bench_size *size, double *seconds);

/** All ranks with `threads` each beside one with all of them, for the stages that exchange every
 * round and the optimizer knows; every rank of `world` calls it. */
status bench_ranks(report *r, comm *world, comm *alone, const bench_size *size, int threads);

/** From here on. */
void bench_threads(int threads);

/** Seconds from the start of the process to the first forward pass; call it first. */
status bench_start(report *r, comm *c, const bench_size *size);

#endif
