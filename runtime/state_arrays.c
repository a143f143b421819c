/* The list, and what it adds up to. */
#include "runtime/state_arrays.h"

#include "runtime/state.h"

#include <stdio.h>

#define AT(member) offsetof(state, member)

typedef struct {
    state_row *rows;
    size_t count;
    const runtime_settings *with;
} list;

/* What predictions are made of is whole wherever the mean is where they follow it without messages;
 * the rest where every rank updates everything. */
static void add(list *l, size_t member, bool with_mean, const char *file, const char *prefix,
                double (*initial)(const optimizer_settings *s))
{
    bool whole = with_mean ? !l->with->fetches : l->with->updates_all;
    state_row *row = &l->rows[l->count++];
    *row = (state_row){.member = member, .whole = whole, .file = file, .initial = initial};
    snprintf(row->prefix, sizeof row->prefix, "%s", prefix);
}

static void add_arrays(list *l, bool posterior)
{
    const optimizer *row = l->with->row;
    const char *file = posterior ? "posterior.safetensors" : "optimizer.safetensors";
    for (size_t a = 0; a < row->array_count; a++)
        if (row->arrays[a].posterior == posterior)
            add(l, AT(arrays) + a * sizeof(state_array), false, file, row->arrays[a].prefix,
                row->arrays[a].initial);
}

/* Every rank that keeps a mean follows it, so that nothing is sent and any rank can draw. */
static void add_swag(list *l)
{
    const swag_settings *swag = &l->with->swag;
    for (size_t a = 0; swag->start > 0 && a < 2 + swag->rank; a++) {
        char name[SAVED_PREFIX] = "mean.";
        if (a == 1) snprintf(name, sizeof name, "variance.");
        if (a > 1) snprintf(name, sizeof name, "deviation.%zu.", a - 2);
        add(l, AT(swag) + a * sizeof(state_array), true, "swag.safetensors", name, NULL);
    }
}

size_t state_rows(const runtime_settings *with, size_t ranks, bool training,
                  state_row rows[STATE_ROWS])
{
    list l = {.rows = rows, .with = with};
    add(&l, AT(mean), true, "model.safetensors", "", NULL);
    add_arrays(&l, true);
    add_swag(&l);
    if (training) {
        add_arrays(&l, false);
        add(&l, AT(g_sum), false, NULL, "", NULL);
        if (with->row->estimates) add(&l, AT(f_sum), false, NULL, "", NULL);
    }
    /* Where the spread is at hand for every mean, sigma is formed when weights are drawn. */
    if (with->variational && ranks > 1 && !with->updates_all && !with->fetches)
        add(&l, AT(sigma), true, NULL, "", NULL);
    return l.count;
}

size_t state_saved(const runtime_settings *with)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(with, 1, true, rows), saved = 0;
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

size_t state_block_bytes(const sharding *owned)
{
    size_t blocks = 0;
    for (size_t u = 0; u < owned->p->unit_count; u++)
        for (size_t run = 0; run < sharding_runs(owned, u); run++) {
            size_t count = sharding_first(owned, u, run + 1) - sharding_first(owned, u, run);
            blocks += (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
        }
    return blocks * sizeof(double);
}

size_t state_bytes(const runtime_settings *with, const sharding *owned, bool training)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(with, owned->ranks, training, rows), bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += memory_round(state_elements(owned, rows[i].whole) * sizeof(float));
    if (!training) return bytes;
    if (with->sums_locally) bytes += state_local_bytes(owned->p) * (with->row->estimates ? 2 : 1);
    return bytes + memory_round(state_block_bytes(owned));
}
