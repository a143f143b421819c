/* Steps of whole trainers on tokens that are made up: only their number matters. */
#include "base/memory.h"
#include "bench/bench_run.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEPS_MAX = 64, RATES_MAX = 5, PEER_TURNS = 3 };

bench_size bench_size_124m(void)
{
    return (bench_size){.model = {.n_layer = 12,
                                  .n_head = 12,
                                  .n_embd = 768,
                                  .block_size = 1024,
                                  .vocab_size = 50304},
                        .sequences = 4,
                        .length = 1024,
                        .microbatches = 1, /* where the optimizer weighs most */
                        .precision = DTYPE_BF16,
                        .shard = SHARD_GRADIENTS,
                        .steps = 5};
}

static double step_tokens(const bench_size *size)
{
    return (double)(size->sequences * size->length * size->microbatches);
}

static void add(report *r, const char *name, const char *what, double measured, const char *of,
                double bound)
{
    char text[REPORT_TEXT];
    snprintf(text, sizeof text, "%s: %s", name, what);
    report_add(r, text, measured, of, bound);
}

status bench_steps(report *r, comm *c, const char *name, const bench_size *size)
{
    bench_run runs[2];
    double times[2][STEPS_MAX], rates[STEPS_MAX], ignored;
    size_t measured = 0, stride = (size->steps + RATES_MAX - 1) / RATES_MAX;
    status result = bench_open(&runs[0], c, size, size->optimizer);
    if (result) return result;
    result = bench_open(&runs[1], c, size, OPTIMIZER_ADAMW);
    for (int k = 0; k < 2 && !result; k++) result = bench_step(&runs[k], &ignored);
    for (uint64_t i = 0; !result && i < size->steps; i++) {
        if (i % stride == 0) rates[measured++] = ceiling_product_rate(size->precision);
        result = bench_step(&runs[0], &times[0][i]);
        if (!result) result = bench_step(&runs[1], &times[1][i]);
    }
    bench_close(&runs[0]);
    bench_close(&runs[1]);
    if (result) return result;
    const char *title = optimizer_row(size->optimizer)->title;
    char what[3][REPORT_TEXT];
    double first = report_median(times[0], size->steps),
           adamw = report_median(times[1], size->steps);
    double flops = 1e-9 * gpt2_flops_per_token(&size->model, size->length) * step_tokens(size);
    snprintf(what[0], sizeof what[0], "%s's step", title);
    snprintf(what[1], sizeof what[1], "%s, tokens/s", title);
    snprintf(what[2], sizeof what[2], "%s's step, AdamW's", title);
    add(r, name, what[0], flops / first, "GFLOP/s", report_median(rates, measured));
    add(r, name, what[1], step_tokens(size) / first, "1/s", NAN);
    add(r, name, what[2], first, "s", adamw);
    if (measured > 1) /* sorted by the median */
        add(r, name, "products, slowest of fastest", rates[0], "GFLOP/s", rates[measured - 1]);
    return STATUS_OK;
}

/* Tokens/s that a peer's command prints as JSON; it runs alone, our threads asleep. */
static status run_peer(const bench_peer *peer, double *rate)
{
    FILE *pipe = popen(peer->command, "r");
    if (!pipe) return fail(STATUS_IO, "vario bench: %s: cannot be started", peer->command);
    char text[512] = "";
    errno = 0;
    while (!fgets(text, sizeof text, pipe) && errno == EINTR) clearerr(pipe);
    text[strcspn(text, "\n")] = '\0';
    json_t *line = json_loads(text, 0, NULL);
    *rate = json_number_value(json_object_get(line, "tokens_per_second"));
    json_decref(line);
    if (pclose(pipe) == 0 && *rate > 0.0) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario bench: %s: '%.40s' found, a line of JSON with tokens_per_second "
                "expected",
                peer->command, text);
}

/* Our steps of one turn, from memory that is mapped and touched anew, as a peer's is. */
static status run_turn(comm *c, const bench_size *size, double *times)
{
    bench_run run;
    double ignored;
    status result = bench_open(&run, c, size, OPTIMIZER_IVON);
    if (result) return result;
    result = bench_step(&run, &ignored);
    for (uint64_t i = 0; !result && i < size->steps; i++) result = bench_step(&run, &times[i]);
    bench_close(&run);
    return result;
}

/* Both start anew for each turn and have the machine for themselves: what another's memory leaves
 * behind, and better or worse pages, are not in the medians. */
static status run_turns(comm *c, const bench_size *size, const bench_peer *peer, double *seconds,
                        double *theirs)
{
    double times[PEER_TURNS * STEPS_MAX], rates[PEER_TURNS];
    for (uint64_t turn = 0; turn < PEER_TURNS; turn++) {
        status result = run_turn(c, size, &times[turn * size->steps]);
        if (!result) result = run_peer(peer, &rates[turn]);
        if (result) return result;
    }
    *seconds = report_median(times, PEER_TURNS * size->steps);
    *theirs = report_median(rates, PEER_TURNS);
    return STATUS_OK;
}

status bench_peers(report *r, comm *c, const char *name, const bench_size *size,
                   const bench_peer *peers, size_t count)
{
    for (size_t p = 0; p < count; p++) {
        double seconds, theirs;
        status result = run_turns(c, size, &peers[p], &seconds, &theirs);
        if (result) return result;
        add(r, name, peers[p].name, step_tokens(size) / seconds, "1/s", theirs);
    }
    return STATUS_OK;
}

static double resident_mib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long whole, resident = 0;
    if (!file || fscanf(file, "%lu %lu", &whole, &resident) != 2) resident = 0;
    if (file) fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576.0;
}

status bench_memory(report *r, comm *c, const char *name, const bench_size *size, double *seconds)
{
    bench_run run;
    trainer_memory plan = {0};
    status result = bench_open(&run, c, size, OPTIMIZER_IVON);
    if (result) return result;
    double times[STEPS_MAX], ignored;
    result = bench_step(&run, &ignored);
    for (uint64_t i = 0; !result && i < size->steps; i++) result = bench_step(&run, &times[i]);
    double resident = resident_mib();
    if (!result)
        result = trainer_plan(&run.job, &run.trainer.rounds.state.settings,
                              &run.trainer.rounds.owned, size->precision, true, &plan);
    bench_close(&run);
    if (result) return result;
    size_t bytes = plan.state + plan.weights + plan.gradients + plan.pieces + plan.activations;
    add(r, name, "resident memory, the plan's", resident, "MiB", (double)bytes / 1048576.0);
    *seconds = report_median(times, size->steps);
    return STATUS_OK;
}

void bench_threads(int threads)
{
    kernels_close();
    omp_set_num_threads(threads);
    kernels_open();
}

/* Every rank sends to the next, as pieces are sent, at once. */
static status exchange_row(report *r, comm *world)
{
    enum { BYTES = 1 << 24, REPEATS = 9 };
    arena memory;
    status result = agree(world->world, arena_open(&memory, "messages", 2 * (size_t)BYTES));
    if (result) return result;
    char *out = arena_take(&memory, BYTES), *in = arena_take(&memory, BYTES);
    int next = (world->rank + 1) % world->size,
        last = (world->rank + world->size - 1) % world->size;
    double times[REPEATS], copies[REPEATS], ignored = 0.0;
    memory_clear(out, BYTES);
    memory_clear(in, BYTES);
    for (int i = 0; i < REPEATS; i++) {
        MPI_Request requests[2];
        comm_sum_ordered(world, &ignored, 1);
        double start = omp_get_wtime();
        comm_receive(world, in, BYTES, last, TAG_WEIGHTS, &requests[0]);
        comm_send(world, out, BYTES, next, TAG_WEIGHTS, BYTES_WEIGHTS, &requests[1]);
        comm_wait(world, requests, 2);
        times[i] = omp_get_wtime() - start;
        comm_sum_ordered(world, &ignored, 1);
        start = omp_get_wtime();
        memcpy(in, out, BYTES);
        copies[i] = omp_get_wtime() - start;
    }
    arena_close(&memory);
    report_add(r, "ranks: each sends to the next, each copies",
               1e-9 * BYTES / report_median(times, REPEATS), "GB/s",
               1e-9 * BYTES / report_median(copies, REPEATS));
    return STATUS_OK;
}

/* A rank alone with all threads, and all ranks; a step of one, a step of the other. */
typedef struct {
    comm *world, *alone;
    int threads; /* of a rank among all */
    bench_run one, all;
    double one_seconds[STEPS_MAX], seconds[STEPS_MAX], waited[STEPS_MAX];
} rank_turns;

static status step_alone(rank_turns *x, double *seconds)
{
    status result = STATUS_OK;
    bench_threads(x->world->size * x->threads);
    if (x->world->rank == 0) result = bench_step(&x->one, seconds);
    comm_barrier(x->world);
    bench_threads(x->threads);
    return agree(x->world->world, result);
}

static status step_together(rank_turns *x, double *seconds, double *waited)
{
    double before = x->world->timing.seconds[TIME_WAIT];
    status result = bench_step(&x->all, seconds);
    *waited = (x->world->timing.seconds[TIME_WAIT] - before) / *seconds;
    return result;
}

static status take_turns(rank_turns *x, uint64_t steps)
{
    double ignored[2];
    status result = step_alone(x, &ignored[0]);
    if (!result) result = step_together(x, &ignored[0], &ignored[1]);
    for (uint64_t i = 0; !result && i < steps; i++) {
        result = step_alone(x, &x->one_seconds[i]);
        if (!result) result = step_together(x, &x->seconds[i], &x->waited[i]);
    }
    return result;
}

/* Medians: a step in which a processor was taken away, and another rank waited for it, does not
 * count. */
static status bench_stage(report *r, rank_turns *x, const bench_size *size, const char *stage)
{
    char name[REPORT_TEXT];
    status result = STATUS_OK;
    bench_threads(x->world->size * x->threads); /* buffers are made for so many */
    if (x->world->rank == 0) result = bench_open(&x->one, x->alone, size, size->optimizer);
    bench_threads(x->threads);
    result = agree(x->world->world, result);
    if (!result) {
        result = bench_open(&x->all, x->world, size, size->optimizer);
        if (!result) {
            result = take_turns(x, size->steps);
            bench_close(&x->all);
        }
        if (x->world->rank == 0) bench_close(&x->one);
    }
    if (result) return result;
    double seconds = report_median(x->seconds, size->steps),
           waited = report_median(x->waited, size->steps);
    comm_sum_ordered(x->world, &waited, 1);
    snprintf(name, sizeof name, "%d ranks x %d thread%s, %s", x->world->size, x->threads,
             x->threads == 1 ? "" : "s", stage);
    add(r, name, "tokens/s, one rank's", step_tokens(size) / seconds, "1/s",
        step_tokens(size) / report_median(x->one_seconds, size->steps));
    add(r, name, "share of time spent waiting", waited / x->world->size, "", 0.03);
    return STATUS_OK;
}

status bench_ranks(report *r, comm *world, comm *alone, const bench_size *size, int threads)
{
    static const char *const names[] = {
        [SHARD_GRADIENTS] = "gradients", [SHARD_PARAMETERS] = "parameters"};
    rank_turns turns = {.world = world, .alone = alone, .threads = threads};
    status result = exchange_row(r, world);
    const int lowest = optimizer_row(size->optimizer)->matrix ? SHARD_PARAMETERS : SHARD_GRADIENTS;
    for (int stage = lowest; stage <= SHARD_PARAMETERS && !result; stage++) {
        bench_size other = *size;
        other.shard = (shard_stage)stage;
        result = bench_stage(r, &turns, &other, names[stage]);
    }
    return result;
}

/* Of this process: now, less its start in /proc. */
static double process_seconds(void)
{
    FILE *file = fopen("/proc/self/stat", "r");
    unsigned long long ticks = 0;
    struct timespec now;
    if (!file) return NAN;
    int found = fscanf(file,
                       "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d "
                       "%*d %*d %*d %*d %*d %llu",
                       &ticks);
    fclose(file);
    clock_gettime(CLOCK_BOOTTIME, &now);
    if (found != 1) return NAN;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec -
           (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

status bench_start(report *r, comm *c, const bench_size *size)
{
    bench_run run;
    status result = bench_open(&run, c, size, OPTIMIZER_IVON);
    if (result) return result;
    report_add(r, "start of the process to the first forward pass", process_seconds(), "s", 2.0);
    bench_close(&run);
    return STATUS_OK;
}
