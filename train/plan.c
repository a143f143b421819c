/* Sums of what the modules say of themselves. */
#include "train/plan.h"

#include "io/files/json_text.h"
#include "train/trainer_parts.h"

#include <jansson.h>

static const char *const stage_names[] = {"none", "optimizer", "gradients", "parameters"};

static uint64_t gather_sent(const sharding *owned, size_t element_bytes)
{
    return (uint64_t)(owned->ranks - 1) * owned->elements * element_bytes;
}

static uint64_t norm_blocks(const sharding *owned)
{
    uint64_t blocks = 0;
    for (size_t u = 0; u < owned->p->unit_count; u++)
        for (size_t run = 0; run < sharding_runs(owned, u); run++) {
            size_t count = sharding_first(owned, u, run + 1) - sharding_first(owned, u, run);
            if (sharding_owner(owned, u, run) == owned->rank)
                blocks += (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
        }
    return blocks;
}

/* Arrays gathered after the update: the sums where all ranks update, else what they keep whole. */
static uint64_t gathered_arrays(const runtime_settings *with)
{
    if (with->fetches) return 0;
    return with->variational ? 2 : 1;
}

static void count_rounds(plan *out, const runtime_settings *with, const sharding *owned,
                         const layout *compute, const layout *wire)
{
    uint64_t parts = with->items * with->parts, ranks = owned->ranks;
    uint64_t exchange = pieces_sent(owned, wire);
    for (uint64_t first = 0; first < parts; first += ranks) {
        size_t active = (size_t)(parts - first < ranks ? parts - first : ranks);
        out->sent[BYTES_WEIGHTS] += weights_sent(with, owned, compute, active, true);
        if (!with->sums_locally && owned->rank < active) out->sent[BYTES_GRADIENTS] += exchange;
        out->sent[BYTES_CONTROL] += (ranks - 1) * sizeof(round_facts);
    }
    if (with->sums_locally) out->sent[BYTES_GRADIENTS] += exchange * (with->row->estimates ? 2 : 1);
}

/* Of an array whose owners send it to all ranks, or once to every node. */
static uint64_t shared_sent(const runtime_settings *with, const sharding *owned)
{
    if (!with->shares) return gather_sent(owned, sizeof(float));
    return (uint64_t)(with->nodes - 1) * owned->elements * sizeof(float);
}

static status plan_with(plan *out, const job *j, const runtime_settings *with,
                        const sharding *owned, dtype precision)
{
    layout compute = {0}, wire = {0};
    status result = trainer_plan(j, with, owned, precision, true, &out->memory);
    if (!result) result = layout_open(&compute, owned->p, precision);
    if (!result) result = layout_open(&wire, owned->p, j->parallel.wire);
    if (!result) {
        count_rounds(out, with, owned, &compute, &wire);
        out->sent[BYTES_PARAMETERS] = gathered_arrays(with) * shared_sent(with, owned);
        uint64_t norms = with->takes_pieces ? 0 : 1;
        if (with->joins && with->holds_round) norms += with->items;
        out->sent[BYTES_NORMS] =
            norms * (uint64_t)(owned->ranks - 1) * norm_blocks(owned) * sizeof(double);
    }
    layout_close(&compute);
    layout_close(&wire);
    return result;
}

plan_rank plan_rank_of(size_t ranks, size_t rank, size_t nodes)
{
    size_t of_node = (ranks + nodes - 1) / nodes;
    return (plan_rank){.ranks = ranks,
                       .rank = rank,
                       .nodes = of_node > 1 ? (ranks + of_node - 1) / of_node : 0,
                       .place = rank % of_node};
}

status plan_make(plan *out, const job *j, const plan_rank *of, dtype precision,
                 const loo_estimator *estimator)
{
    *out = (plan){0};
    parameters p = {0};
    sharding owned = {0};
    model_config config = job_model(j);
    runtime_settings with = job_settings(j);
    settings_place(&with, of->nodes, of->place);
    status result = model_parameters(&p, &config);
    if (!result) result = settings_shard(&with, &owned, &p, of->ranks, of->rank);
    out->elements = owned.elements;
    if (!result) result = plan_with(out, j, &with, &owned, precision);
    if (!result && j->sensitivity.every > 0)
        result = estimator->bytes(j, &owned, precision, &out->memory.sensitivity);
    sharding_close(&owned);
    parameters_close(&p);
    return result;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / 1048576.0;
}

static json_t *stage_json(const job *j, const plan *p, const uint64_t *all)
{
    const trainer_memory *m = &p->memory;
    json_t *sent = json_object();
    uint64_t total = 0;
    for (int kind = 0; kind < BYTES_KINDS; kind++) {
        json_text_set(&sent, bytes_names[kind], json_integer((json_int_t)all[kind]));
        total += all[kind];
    }
    json_text_set(&sent, "total", json_integer((json_int_t)total));
    return json_pack("{ss s{sI sI sI sI sI sI sI sI sI} so}", "stage",
                     stage_names[j->parallel.shard], "memory", "state", (json_int_t)m->state,
                     "weights", (json_int_t)m->weights, "gradients", (json_int_t)m->gradients,
                     "pieces", (json_int_t)m->pieces, "activations", (json_int_t)m->activations,
                     "staging", (json_int_t)m->staging, "sensitivity", (json_int_t)m->sensitivity,
                     "once_a_node", (json_int_t)m->node, "total", (json_int_t)trainer_memory_sum(m),
                     "bytes_per_step", sent);
}

static void print_row(FILE *out, const job *j, const plan *p, const uint64_t *all, bool chosen)
{
    const trainer_memory *m = &p->memory;
    fprintf(out, "%c %-10s %10.1f %10.1f %10.1f %10.1f %10.1f %10.1f %10.1f |", chosen ? '*' : ' ',
            stage_names[j->parallel.shard], mib(m->state), mib(m->weights), mib(m->gradients),
            mib(m->pieces), mib(m->activations), mib(m->staging), mib(trainer_memory_sum(m)));
    uint64_t total = 0;
    for (int kind = 0; kind < BYTES_KINDS; kind++) {
        fprintf(out, " %10.1f", mib(all[kind]));
        total += all[kind];
    }
    fprintf(out, " %10.1f\n", mib(total));
}

static void print_head(FILE *out, size_t ranks)
{
    fprintf(out,
            "plan for %zu rank%s, in MiB: memory of rank 0 | bytes sent a step by all ranks\n"
            "  %-10s %10s %10s %10s %10s %10s %10s %10s | %10s %10s %10s %10s %10s %10s\n",
            ranks, ranks == 1 ? "" : "s", "stage", "state", "weights", "gradients", "pieces",
            "activation", "staging", "total", "weights", "gradients", "parameters", "norms",
            "control", "total");
}

/* The stage of a job on all ranks. */
static status plan_ranks(plan *first, uint64_t *all, const job *j, size_t ranks, size_t nodes,
                         dtype precision, const loo_estimator *estimator)
{
    for (size_t rank = 0; rank < ranks; rank++) {
        plan p;
        const plan_rank of = plan_rank_of(ranks, rank, nodes);
        status result = plan_make(&p, j, &of, precision, estimator);
        if (result) return result;
        if (rank == 0) *first = p;
        for (int kind = 0; kind < BYTES_KINDS; kind++) all[kind] += p.sent[kind];
    }
    return STATUS_OK;
}

status plan_print(FILE *out, const job *j, size_t ranks, size_t nodes, dtype precision, bool json,
                  const loo_estimator *estimator)
{
    json_t *stages = json_array();
    status result = STATUS_OK;
    plan first = {0};
    if (!json) print_head(out, ranks);
    const int lowest = job_optimizer(j)->matrix ? SHARD_PARAMETERS : SHARD_NONE;
    for (int stage = lowest; !result && stage <= SHARD_PARAMETERS; stage++) {
        job other = *j;
        other.parallel.shard = (shard_stage)stage;
        uint64_t all[BYTES_KINDS] = {0};
        result = plan_ranks(&first, all, &other, ranks, nodes, precision, estimator);
        if (!result && json) json_text_add(&stages, stage_json(&other, &first, all));
        if (!result && !json) print_row(out, &other, &first, all, stage == (int)j->parallel.shard);
    }
    if (!result && json)
        return json_text_print(
            out, json_pack("{sI so}", "ranks", (json_int_t)ranks, "stages", stages), 0);
    json_decref(stages);
    if (!result && j->sensitivity.every > 0)
        fprintf(out, "the totals hold %.1f MiB for sensitivity.every\n",
                mib(first.memory.sensitivity));
    return result;
}
