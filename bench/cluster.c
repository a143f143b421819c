/* Costs are told apart by steps that differ in one thing: blocks, or work items. */
#include "bench/cluster.h"

#include "base/memory.h"
#include "bench/bench_run.h"
#include "runtime/agree.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 10, BYTES = 1 << 24, REPEATS = 9, PINGS = 200 };

/* The ranks of the launch: who shares a node with whom. */
typedef struct {
    MPI_Comm node;
    int *first, *local; /* [size] of each rank: its node's first rank, its place in the node */
    int nodes;
} places;

static status places_open(places *p, const comm *c)
{
    MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &p->node);
    int local, first = c->rank, size = c->size;
    MPI_Comm_rank(p->node, &local);
    MPI_Bcast(&first, 1, MPI_INT, 0, p->node);
    p->first = calloc((size_t)size, sizeof *p->first);
    p->local = calloc((size_t)size, sizeof *p->local);
    status result = p->first && p->local ? STATUS_OK : fail(STATUS_NOMEM, "memory for ranks");
    result = agree(c->world, result);
    if (result) return result;
    MPI_Allgather(&first, 1, MPI_INT, p->first, 1, MPI_INT, c->world);
    MPI_Allgather(&local, 1, MPI_INT, p->local, 1, MPI_INT, c->world);
    for (int r = 0; r < size; r++) p->nodes += p->local[r] == 0;
    return STATUS_OK;
}

static void places_close(places *p)
{
    MPI_Comm_free(&p->node);
    free(p->first);
    free(p->local);
}

/* The next rank of this one's node, round and round; or this rank's like on the next node. The
 * rank itself where there is none. */
static int partner(const places *p, const comm *c, bool between, int step)
{
    for (int k = 1; k < c->size; k++) {
        int r = ((c->rank + step * k) % c->size + c->size) % c->size;
        bool same = p->first[r] == p->first[c->rank];
        if (between ? !same && p->local[r] == p->local[c->rank] : same) return r;
    }
    return c->rank;
}

static void exchange(comm *c, char *out, char *in, size_t bytes, int to, int from)
{
    MPI_Request requests[2];
    if (to == c->rank) return;
    comm_receive(c, in, bytes, from, TAG_WEIGHTS, &requests[0]);
    comm_send(c, out, bytes, to, TAG_WEIGHTS, BYTES_WEIGHTS, &requests[1]);
    comm_wait(c, requests, 2);
}

static double slowest(const comm *c, double seconds)
{
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, c->world);
    return seconds;
}

/* All ranks send at once; a small message there and back is two latencies. */
static cluster_link measure_link(comm *c, const places *p, bool between, char *memory)
{
    char *out = memory, *in = memory + BYTES;
    int to = partner(p, c, between, 1), from = partner(p, c, between, -1);
    double times[REPEATS], pings[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        MPI_Barrier(c->world);
        double start = omp_get_wtime();
        exchange(c, out, in, BYTES, to, from);
        times[i] = slowest(c, omp_get_wtime() - start);
        MPI_Barrier(c->world);
        start = omp_get_wtime();
        for (int k = 0; k < PINGS; k++) exchange(c, out, in, 64, to, from);
        pings[i] = slowest(c, omp_get_wtime() - start) / PINGS;
    }
    double ranks = between ? (double)c->size / p->nodes : 1.0;
    return (cluster_link){.latency = report_median(pings, REPEATS),
                          .bandwidth = ranks * BYTES / report_median(times, REPEATS)};
}

static status measure_links(cluster *out, comm *c, const places *p)
{
    arena memory;
    status result = agree(c->world, arena_open(&memory, "messages", 2 * (size_t)BYTES));
    if (result) return result;
    char *all = arena_take(&memory, 2 * (size_t)BYTES);
    memory_clear(all, 2 * (size_t)BYTES);
    int node_ranks;
    MPI_Comm_size(p->node, &node_ranks);
    out->ranks = (uint64_t)node_ranks;
    MPI_Bcast(&out->ranks, (int)sizeof out->ranks, MPI_BYTE, 0, c->world);
    out->inside = measure_link(c, p, false, all);
    if (out->ranks == 1) /* nothing travels inside a node of one rank: as memory does */
        out->inside = (cluster_link){.latency = 1e-6, .bandwidth = 1e10};
    if (p->nodes > 1) out->between = measure_link(c, p, true, all);
    arena_close(&memory);
    return STATUS_OK;
}

/* Seconds of a step's parts, and parameters. */
typedef struct {
    double passes, sample, update, parameters;
} costs;

/* Of ten updates one turned the bases, which the mean has its share of. */
static double typical(double *values, bool mean)
{
    double sum = 0.0;
    if (!mean) return report_median(values, STEPS);
    for (int i = 0; i < STEPS; i++) sum += values[i] / STEPS;
    return sum;
}

static status run_steps(costs *out, comm *alone, const bench_size *size, optimizer_kind kind)
{
    bench_run run;
    double ignored, seconds[3][STEPS];
    status result = bench_open(&run, alone, size, kind);
    if (!result) result = bench_step(&run, &ignored);
    for (int i = 0; !result && i < STEPS; i++) {
        double taken[TIME_KINDS], before[TIME_KINDS];
        memcpy(before, alone->timing.seconds, sizeof before);
        result = bench_step(&run, &ignored);
        for (int k = 0; k < TIME_KINDS; k++) taken[k] = alone->timing.seconds[k] - before[k];
        seconds[0][i] = taken[TIME_FORWARD] + taken[TIME_BACKWARD];
        seconds[1][i] = taken[TIME_SAMPLE];
        seconds[2][i] = taken[TIME_UPDATE];
    }
    if (result) return result;
    *out = (costs){.passes = typical(seconds[0], false),
                   .sample = typical(seconds[1], false),
                   .update = typical(seconds[2], kind == OPTIMIZER_EVON),
                   .parameters = (double)run.trainer.rounds.p.count};
    bench_close(&run);
    return STATUS_OK;
}

/* A mean over the ranks, which compute at the same time. */
static status measure(costs *out, comm *world, comm *alone, bench_size size, optimizer_kind kind,
                      size_t layers, uint64_t items)
{
    size.model.n_layer = layers;
    size.microbatches = items;
    MPI_Barrier(world->world);
    status result = agree(world->world, run_steps(out, alone, &size, kind));
    if (result) return result;
    MPI_Allreduce(MPI_IN_PLACE, out, (int)(sizeof *out / sizeof(double)), MPI_DOUBLE, MPI_SUM,
                  world->world);
    double *values = &out->passes;
    for (size_t i = 0; i < sizeof *out / sizeof(double); i++) values[i] /= world->size;
    return STATUS_OK;
}

enum { BLOCKS_FEW = 1, BLOCKS_MANY = 3, ITEMS = 3 };

/* What a second and third item take of an owner, and what a step takes besides; of the parameters
 * of two blocks alone where only these are the optimizer's. */
static void tell_apart(cluster_profile *p, cluster_cost cost, const costs few[2],
                       const costs many[2])
{
    double update[2], items[2], count = many[0].parameters;
    for (int m = 0; m < 2; m++) {
        update[m] = many[m].update;
        items[m] = many[m].update + many[m].passes;
    }
    if (cost == COST_EVON) {
        count -= few[0].parameters;
        for (int m = 0; m < 2; m++) {
            update[m] -= few[m].update;
            items[m] -= few[m].update + few[m].passes;
        }
    }
    double passes = items[0] - update[0];
    double item = (items[1] - items[0] - (ITEMS - 1) * passes) / (ITEMS - 1);
    p->item[cost] = fmax(0.0, item) / count;
    p->step[cost] = fmax(0.0, update[0] / count - p->item[cost]);
}

static status measure_optimizer(cluster_profile *p, comm *world, comm *alone,
                                const bench_size *size, cluster_cost cost)
{
    static const optimizer_kind kinds[CLUSTER_COSTS] = {OPTIMIZER_ADAMW, OPTIMIZER_IVON,
                                                        OPTIMIZER_EVON};
    costs few[2], many[2]; /* of one item and of three */
    status result = STATUS_OK;
    for (int m = 0; m < 2 && !result; m++) {
        uint64_t items = m ? ITEMS : 1;
        result = measure(&many[m], world, alone, *size, kinds[cost], BLOCKS_MANY, items);
        if (!result) result = measure(&few[m], world, alone, *size, kinds[cost], BLOCKS_FEW, items);
    }
    if (result) return result;
    tell_apart(p, cost, few, many);
    if (cost == COST_IVON) p->sample = many[0].sample / many[0].parameters;
    if (cost != COST_ADAMW) return STATUS_OK;
    const gpt2_config *m = &size->model;
    double rows = (double)(size->sequences * size->length);
    double head = 6.0 * (double)m->vocab_size * (double)m->n_embd;
    gpt2_config one = *m;
    one.n_layer = 1;
    double block = gpt2_flops_per_token(&one, size->length) - head;
    double seconds = (many[0].passes - few[0].passes) / (BLOCKS_MANY - BLOCKS_FEW);
    p->blocks = rows * block / seconds;
    p->head = rows * head / fmax(few[0].passes - seconds, 1e-9);
    return STATUS_OK;
}

/* Shapes that are trained: the quickstart's and GPT-2 124M's, of fewer tokens. */
static bench_size size_of(dtype precision, size_t width)
{
    bench_size size = bench_size_124m();
    bool small = width == 128;
    size.model.n_head = small ? 4 : 12;
    size.model.n_embd = width;
    size.model.vocab_size = 4096;
    size.sequences = small ? 12 : 1;
    size.length = small ? 64 : 512;
    size.precision = precision;
    return size;
}

static void add(report *r, const cluster_profile *p, const char *what, double value, const char *in)
{
    char text[REPORT_TEXT];
    snprintf(text, sizeof text, "%s, %zu wide: %s", p->precision == DTYPE_BF16 ? "bf16" : "fp32",
             (size_t)p->width, what);
    report_add(r, text, value, in, NAN);
}

static void tell(report *r, const cluster_profile *p)
{
    char text[REPORT_TEXT];
    add(r, p, "blocks", 1e-9 * p->blocks, "GFLOP/s");
    add(r, p, "output layer", 1e-9 * p->head, "GFLOP/s");
    add(r, p, "a weight drawn", 1e9 * p->sample, "ns");
    for (int k = 0; k < CLUSTER_COSTS; k++) {
        snprintf(text, sizeof text, "%s, a parameter's item", cluster_cost_names[k]);
        add(r, p, text, 1e9 * p->item[k], "ns");
        snprintf(text, sizeof text, "%s, a parameter's step", cluster_cost_names[k]);
        add(r, p, text, 1e9 * p->step[k], "ns");
    }
}

static void tell_links(report *r, const cluster *c)
{
    const cluster_link *links[] = {&c->inside, &c->between};
    static const char *const names[] = {"inside a node", "between nodes"};
    char text[REPORT_TEXT];
    for (int i = 0; i < 2; i++) {
        if (!(links[i]->bandwidth > 0.0)) continue;
        snprintf(text, sizeof text, "messages %s, %s", names[i], i ? "a node's" : "a rank's");
        report_add(r, text, 1e-9 * links[i]->bandwidth, "GB/s", NAN);
        snprintf(text, sizeof text, "messages %s, latency", names[i]);
        report_add(r, text, 1e6 * links[i]->latency, "us", NAN);
    }
}

status bench_cluster(report *r, comm *world, comm *alone, bool has_bf16, cluster *out)
{
    static const struct {
        dtype precision;
        size_t width;
        bool slow; /* where bf16 is faster nobody trains so */
    } rows[] = {{DTYPE_F32, 128, false},
                {DTYPE_F32, 768, true},
                {DTYPE_BF16, 128, false},
                {DTYPE_BF16, 768, false}};
    places p = {0};
    *out = (cluster){0};
    status result = places_open(&p, world);
    if (!result) result = measure_links(out, world, &p);
    places_close(&p);
    if (!result) tell_links(r, out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !result; i++) {
        if ((rows[i].precision == DTYPE_BF16) > has_bf16 || (rows[i].slow && has_bf16)) continue;
        bench_size size = size_of(rows[i].precision, rows[i].width);
        cluster_profile *q = &out->profiles[out->profile_count++];
        *q = (cluster_profile){.precision = size.precision, .width = size.model.n_embd};
        for (int cost = 0; cost < CLUSTER_COSTS && !result; cost++)
            result = measure_optimizer(q, world, alone, &size, (cluster_cost)cost);
        if (!result) tell(r, q);
    }
    return result;
}
