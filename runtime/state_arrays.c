/* The table, and what it adds up to. */
#include "runtime/state_arrays.h"

#include "runtime/state.h"

#include <stdio.h>

enum {
    IVON = 1 << OPTIMIZER_IVON,
    ADAMW = 1 << OPTIMIZER_ADAMW,
    SGD = 1 << OPTIMIZER_SGD,
    BBB = 1 << OPTIMIZER_BBB,
    SQUARES = 1 << OPTIMIZER_SQUARES, /* its files are those of ivon */
    ALL = IVON | ADAMW | SGD | BBB | SQUARES,
};

typedef struct {
    size_t member;
    int optimizers; /* that keep it */
    bool with_mean; /* whole wherever the mean is, else where all is */
    bool posterior; /* predictions are made of it */
    const char *file, *prefix;
} array_row;

#define AT(member) offsetof(state, member)

/* SWAG's stand behind those of the posterior. */
static const array_row table[] = {
    {AT(mean), ALL, true, true, "model.safetensors", ""},
    {AT(second), IVON | SQUARES, false, true, "posterior.safetensors", ""},
    {AT(log_sigma), BBB, false, true, "posterior.safetensors", "log_deviation."},
    {AT(momentum), IVON | SGD | SQUARES, false, false, "optimizer.safetensors", "momentum."},
    {AT(momentum), ADAMW | BBB, false, false, "optimizer.safetensors", "exp_avg."},
    {AT(second), ADAMW | BBB, false, false, "optimizer.safetensors", "exp_avg_sq."},
    {AT(log_momentum), BBB, false, false, "optimizer.safetensors", "log_deviation.exp_avg."},
    {AT(log_second), BBB, false, false, "optimizer.safetensors", "log_deviation.exp_avg_sq."},
    {AT(g_sum), ALL, false, false, NULL, ""},
    {AT(f_sum), IVON | BBB | SQUARES, false, false, NULL, ""},
};

/* Where the spread is at hand for every mean, sigma is formed when weights are drawn, not kept. */
static bool keeps_sigma(const job *j, size_t ranks)
{
    return job_is_variational(j) && ranks > 1 &&
           (j->parallel.shard == SHARD_OPTIMIZER || j->parallel.shard == SHARD_GRADIENTS);
}

static void add_row(state_row rows[STATE_ROWS], size_t *n, const job *j, const array_row *of)
{
    shard_stage whole_below = of->with_mean ? SHARD_PARAMETERS : SHARD_OPTIMIZER;
    state_row *row = &rows[(*n)++];
    *row = (state_row){
        .member = of->member, .whole = j->parallel.shard < whole_below, .file = of->file};
    snprintf(row->prefix, sizeof row->prefix, "%s", of->prefix);
}

/* Every rank that keeps a mean follows it, so that nothing is sent and any rank can draw. */
static void add_swag(state_row rows[STATE_ROWS], size_t *n, const job *j)
{
    for (size_t a = 0; job_collects(j) && a < 2 + j->swag.rank; a++) {
        char name[CHECKPOINT_PREFIX] = "mean.";
        if (a == 1) snprintf(name, sizeof name, "variance.");
        if (a > 1) snprintf(name, sizeof name, "deviation.%zu.", a - 2);
        add_row(rows, n, j,
                &(array_row){AT(swag) + a * sizeof(state_array), ALL, true, true,
                             "swag.safetensors", name});
    }
}

size_t state_rows(const job *j, size_t ranks, bool training, state_row rows[STATE_ROWS])
{
    size_t n = 0;
    bool swag_added = false;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!table[i].posterior && !swag_added) {
            add_swag(rows, &n, j);
            swag_added = true;
        }
        if ((training || table[i].posterior) && table[i].optimizers & (1 << j->optimizer.kind))
            add_row(rows, &n, j, &table[i]);
    }
    if (keeps_sigma(j, ranks))
        add_row(rows, &n, j, &(array_row){AT(sigma), ALL, true, true, NULL, ""});
    return n;
}

size_t state_saved(const job *j)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(j, 1, true, rows), saved = 0;
    for (size_t i = 0; i < n; i++) saved += rows[i].file != NULL;
    return saved;
}

size_t state_elements(const sharding *owned, bool whole)
{
    return whole ? owned->p->count : owned->elements;
}

size_t state_local_bytes(const parameters *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        bytes += memory_round(p->tensors[i].count * sizeof(float));
    return bytes;
}

size_t state_block_bytes(const parameters *p)
{
    size_t blocks = 0;
    for (size_t u = 0; u < p->unit_count; u++)
        blocks += (p->units[u].count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
    return blocks * sizeof(double);
}

size_t state_bytes(const job *j, const sharding *owned, bool training)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(j, owned->ranks, training, rows), bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += memory_round(state_elements(owned, rows[i].whole) * sizeof(float));
    if (!training) return bytes;
    if (j->parallel.shard <= SHARD_OPTIMIZER)
        bytes += state_local_bytes(owned->p) * (job_is_variational(j) ? 2 : 1);
    return bytes + memory_round(state_block_bytes(owned->p));
}
