/* Batches are computed as validation computes them, rank 0 collects the rows of a round. The
 * posterior's variances are gathered whole once a run, so passes need no other exchange than that
 * of the weights. */
#include "posterior/sensitivity.h"

#include "analysis/sensitivity_parts.h"
#include "optimizer/optimizer.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "runtime/gather.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void take_gradients(void *context, size_t u)
{
    sensitivity *x = context;
    const parameters *p = &x->m.r->rounds.p;
    for (size_t i = p->units[u].first; i < p->units[u].first + p->units[u].tensors; i++)
        x->form += sensitivity_quadratic(x, i, mean_pass_gradient(&x->m, i));
}

static bool is_gpt2(const job *j)
{
    return job_reads_tokens(j);
}

/* Of gpt2 one sequence at a time: squares of gradients do not add up. */
static status plan(mean_pass *m, const job *j, const parameters *p, dtype precision)
{
    const runtime_settings with = job_settings(j);
    status result = mean_pass_plan(m, j, p, precision, is_gpt2(j) ? 1 : job_sequences(j),
                                   is_gpt2(j) ? MEAN_PASS_TRAINING : MEAN_PASS_VARIANCES);
    m->shape.bases = sensitivity_bases_floats(&with, p) > 0;
    return result;
}

/* And of bases. */
static size_t variance_bytes(const job *j, const parameters *p, const layout *l)
{
    const runtime_settings with = job_settings(j);
    size_t bytes = sensitivity_bases_floats(&with, p) * sizeof(float);
    for (size_t u = 0; u < p->unit_count; u++) bytes += l->unit_bytes[u];
    return bytes;
}

status sensitivity_bytes(const job *j, const sharding *owned, dtype precision, size_t *bytes)
{
    mean_pass m = {0};
    status result = plan(&m, j, owned->p, precision);
    if (!result) *bytes = variance_bytes(j, owned->p, &m.layout) + mean_pass_bytes(&m, owned->p);
    mean_pass_close(&m);
    return result;
}

static status open_variances(sensitivity *x)
{
    const parameters *p = &x->m.r->rounds.p;
    status result =
        arena_open(&x->arena, "sensitivities", variance_bytes(x->m.r->job, p, &x->m.layout));
    x->variances = calloc(p->unit_count, sizeof *x->variances);
    if (!result && !x->variances) result = fail(STATUS_NOMEM, "memory for sensitivities");
    for (size_t u = 0; !result && u < p->unit_count; u++)
        x->variances[u] = arena_take(&x->arena, x->m.layout.unit_bytes[u]);
    return result ? result : sensitivity_bases_open(x);
}

static status open_buffers(sensitivity *x)
{
    const parameters *p = &x->m.r->rounds.p;
    size_t outputs = is_gpt2(&x->m.job) ? 0 : x->m.job.model.mlp.outputs, longest = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        if (p->tensors[i].count > longest) longest = p->tensors[i].count;
    x->columns = 2 * outputs;
    x->max = x->m.job.batch.sequences;
    size_t all = x->m.r->rounds.c->rank == 0 ? x->max * (size_t)x->m.r->rounds.c->size : x->max;
    x->blocks = calloc(longest / PARAMETER_BLOCK + 1, sizeof *x->blocks);
    x->counted = calloc(x->m.job.batch.length, sizeof *x->counted);
    x->outputs = calloc(x->max * outputs + 1, sizeof *x->outputs);
    x->found = calloc(x->max * outputs + 1, sizeof *x->found);
    x->errors = calloc(outputs + 1, sizeof *x->errors);
    x->rows = calloc(all, sizeof *x->rows);
    x->details = calloc(all * x->columns + 1, sizeof *x->details);
    if (x->blocks && x->counted && x->outputs && x->found && x->errors && x->rows && x->details)
        return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for the sensitivities of %zu rows", all);
}

/* Of a run that was planned with it, trainer_open has looked already. */
static status check_memory(sensitivity *x)
{
    trainer *r = x->m.r;
    status result = agree(r->rounds.c->world, plan(&x->m, r->job, &r->rounds.p, r->precision));
    if (result) return result;
    size_t bytes =
        variance_bytes(r->job, &r->rounds.p, &x->m.layout) + mean_pass_bytes(&x->m, &r->rounds.p);
    return free_memory_check(r->rounds.c->world, (double)bytes,
                             "%s: sensitivities: %.4g GB on every rank for passes and variances",
                             r->job->name, 1e-9 * (double)bytes);
}

static status sensitivity_open_local(sensitivity *x)
{
    trainer *r = x->m.r;
    status result = mean_pass_open(&x->m, r);
    if (result) return result;
    x->m.hooks.gradients_done = take_gradients;
    result = open_variances(x);
    return result ? result : open_buffers(x);
}

status sensitivity_open(sensitivity **out, trainer *r, sensitivity_per per)
{
    sensitivity *x = *out = calloc(1, sizeof *x);
    status result =
        agree(r->rounds.c->world, x ? STATUS_OK : fail(STATUS_NOMEM, "memory for sensitivities"));
    if (x) {
        x->m.r = r;
        x->per = per;
    }
    if (!result) result = check_memory(x);
    if (!result) result = agree(r->rounds.c->world, sensitivity_open_local(x));
    if (result) sensitivity_close(out);
    return result;
}

void sensitivity_close(sensitivity **out)
{
    sensitivity *x = *out;
    if (!x) return;
    mean_pass_close(&x->m);
    arena_close(&x->arena);
    sensitivity_bases_close(x);
    free(x->variances);
    free(x->blocks);
    free(x->counted);
    free(x->outputs);
    free(x->found);
    free(x->errors);
    free(x->rows);
    free(x->details);
    free(x);
    *out = NULL;
}

/* Every owner's sigma^2, known to all. */
static void gather_variances(sensitivity *x)
{
    const sharding *owned = &x->m.r->rounds.owned;
    const state *s = &x->m.r->rounds.state;
    const float *bases; /* which sensitivity_gather_bases brings */
    for (size_t i = 0; i < owned->owned_count; i++) {
        const slice *part = &owned->owned[i];
        float *to = sensitivity_variances(x, part->tensor) + part->first;
        if (sensitivity_is_turned(x, part->tensor))
            state_directions(s, part, to, &bases);
        else
            state_sigma(s, part, to);
        for (size_t k = 0; k < part->count; k++) to[k] *= to[k];
    }
    for (size_t u = 0; u < x->m.r->rounds.p.unit_count; u++) {
        size_t runs = sharding_runs(owned, u), first[runs + 1];
        for (size_t run = 0; run < runs; run++) {
            size_t begin, end;
            sharding_bytes(owned, &x->m.layout, u, run, &begin, &end);
            first[run] = begin / sizeof(float);
            first[run + 1] = end / sizeof(float);
        }
        gather_runs(x->m.r->rounds.c, owned, u, x->variances[u], first, sizeof(float),
                    BYTES_PARAMETERS);
    }
    sensitivity_gather_bases(x);
}

/* What is computed, and how far it is. */
typedef struct {
    sensitivity *x;
    const dataset *data;
    uint64_t first, count; /* of what there is a row for */
    uint64_t round;
    sensitivity_table *out;
    double loss, loo_loss, seen; /* rank 0: sums */
} work;

/* First row of a rank's batch, counted from w->first, and its rows: 0 without one. */
static size_t rows_of(const work *w, size_t rank, uint64_t *first)
{
    uint64_t b = w->round * (uint64_t)w->x->m.r->rounds.c->size + rank;
    *first = b * w->x->max;
    return mean_pass_rows(w->count, w->x->max, b);
}

/* Read this rank's batch: rows from w->first + first on. */
static status read_batch(const work *w, uint64_t first, size_t rows)
{
    sensitivity *x = w->x;
    size_t length = x->m.job.batch.length;
    status result = STATUS_OK;
    x->m.batch.view.sequences = rows;
    x->m.batch.view.counted = NULL;
    if (x->per != PER_TOKEN) {
        for (size_t s = 0; !result && s < rows; s++)
            result = dataset_window(w->data, w->first + first + s, &x->m.batch, s);
        return result;
    }
    uint64_t token = w->first + first;
    memset(x->counted, 0, length);
    x->counted[token % length] = 1;
    x->m.batch.view.counted = x->counted;
    return dataset_window(w->data, token / length, &x->m.batch, 0);
}

static sensitivity_score score(sensitivity *x, size_t s)
{
    size_t outputs = x->columns / 2;
    const float *f = x->outputs + s * outputs, *v = x->found + s * outputs;
    if (x->m.batch.targets)
        return sensitivity_of_class(x->errors, f, v, outputs, x->m.batch.targets[s]);
    return sensitivity_of_values(x->errors, f, v, x->m.batch.values + s * outputs, outputs,
                                 x->m.job.model.mlp.noise_variance);
}

static void compute_examples(sensitivity *x)
{
    size_t outputs = x->columns / 2;
    const weight_spread spread = {(const float *const *)x->variances, x->left, x->right};
    model_variances(x->m.model, &x->m.hooks, &spread, &x->m.batch.view, x->outputs, x->found);
    for (size_t s = 0; s < x->m.batch.view.sequences; s++) {
        sensitivity_score found = score(x, s);
        float *details = x->details + s * x->columns;
        for (size_t c = 0; c < outputs; c++) details[c] = (float)x->errors[c];
        memcpy(details + outputs, x->found + s * outputs, outputs * sizeof *details);
        x->rows[s] = (sensitivity_row){.label = x->m.batch.targets ? x->m.batch.targets[s] : 0,
                                       .predicted = found.predicted,
                                       .p = found.p,
                                       .error = x->errors[found.shown],
                                       .variance = (double)x->found[s * outputs + found.shown],
                                       .sensitivity = found.sensitivity,
                                       .loss = found.loss,
                                       .loo_loss = found.loo_loss};
    }
}

/* The pass gives the gradient of the mean over the window's tokens; their sum is what training
 * would lose. */
static void compute_gradient(sensitivity *x, uint64_t index)
{
    double length = (double)x->m.job.batch.length, tokens = x->per == PER_TOKEN ? 1.0 : length;
    x->form = 0.0;
    double sum = length * model_backward(x->m.model, &x->m.hooks, &x->m.batch.view, (noise_key){0});
    double form = length * length * x->form, p = exp(-sum);
    bool token = x->per == PER_TOKEN;
    x->rows[0] = (sensitivity_row){
        .label = token ? x->m.batch.targets[index % x->m.job.batch.length] : 0,
        .p = token ? p : NAN,
        .error = token ? p - 1.0 : NAN,
        .variance = form,
        .sensitivity = form,
        .loss = sum / tokens,
        .loo_loss = (sum + form) / tokens,
    };
}

static void compute(const work *w, uint64_t first, size_t rows, size_t active)
{
    sensitivity *x = w->x;
    bool works = mean_pass_begin(&x->m, active, true, rows > 0);
    if (works && x->per == PER_EXAMPLE) compute_examples(x);
    if (works && x->per != PER_EXAMPLE) compute_gradient(x, w->first + first);
    mean_pass_end(&x->m);
    for (size_t s = 0; s < rows; s++) {
        sensitivity_row *row = &x->rows[s];
        row->index = w->first + first + s;
        row->mislabelled = x->per == PER_EXAMPLE && dataset_mislabelled(w->data, row->index);
        row->left_out = x->per == PER_EXAMPLE && dataset_left_out(w->data, row->index);
    }
}

/* Rank 0 gets every rank's rows of the round, in the order of ranks, which is that of batches. */
static void collect(work *w)
{
    sensitivity *x = w->x;
    comm *c = x->m.r->rounds.c;
    bool root = c->rank == 0;
    comm_collect(c, x->rows, x->max * sizeof *x->rows);
    comm_collect(c, x->details, x->max * x->columns * sizeof *x->details);
    for (size_t from = 0; root && from < (size_t)c->size; from++) {
        uint64_t first;
        size_t rows = rows_of(w, from, &first);
        const sensitivity_row *found = x->rows + from * x->max;
        memcpy(w->out->rows + first, found, rows * sizeof *found);
        memcpy(w->out->details + first * x->columns, x->details + from * x->max * x->columns,
               rows * x->columns * sizeof *x->details);
        for (size_t s = 0; s < rows; s++) {
            if (found[s].left_out) continue;
            w->loss += found[s].loss;
            w->loo_loss += found[s].loo_loss;
            w->seen += 1.0;
        }
    }
}

static status run_round(work *w)
{
    sensitivity *x = w->x;
    uint64_t first;
    size_t rows = rows_of(w, (size_t)x->m.r->rounds.c->rank, &first);
    size_t active = mean_pass_active(&x->m, w->count, x->max, w->round);
    status result = rows > 0 ? read_batch(w, first, rows) : STATUS_OK;
    result = agree(x->m.r->rounds.c->world, result);
    if (result) return result;
    compute(w, first, rows, active);
    collect(w);
    return STATUS_OK;
}

static status open_table(const sensitivity *x, uint64_t count, sensitivity_table *out)
{
    *out = (sensitivity_table){.count = count, .outputs = x->columns / 2};
    if (x->m.r->rounds.c->rank != 0) return STATUS_OK;
    size_t bytes;
    if (memory_product(&bytes, (size_t)count, sizeof *out->rows + x->columns * sizeof(float))) {
        out->rows = calloc((size_t)count, sizeof *out->rows);
        out->details = calloc((size_t)count * x->columns + 1, sizeof *out->details);
    }
    if (out->rows && out->details) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for %llu sensitivities", (unsigned long long)count);
}

status sensitivity_run(sensitivity *x, const dataset *data, uint64_t first, uint64_t count,
                       sensitivity_table *out)
{
    work w = {.x = x, .data = data, .first = first, .count = count, .out = out};
    uint64_t batches = (count + x->max - 1) / x->max, ranks = (uint64_t)x->m.r->rounds.c->size;
    double bytes = (double)count * (double)(sizeof *out->rows + x->columns * sizeof(float));
    status result =
        free_memory_check(x->m.r->rounds.c->world, x->m.r->rounds.c->rank == 0 ? bytes : 0.0,
                          "%s: sensitivities: %.4g GB on rank 0 for %" PRIu64 " rows",
                          x->m.r->job->name, 1e-9 * bytes, count);
    if (!result) result = agree(x->m.r->rounds.c->world, open_table(x, count, out));
    if (!result) gather_variances(x);
    for (; !result && w.round * ranks < batches; w.round++) result = run_round(&w);
    if (result) {
        sensitivity_table_close(out);
        return result;
    }
    double means[] = {w.loss / w.seen, w.loo_loss / w.seen};
    MPI_Bcast(means, 2, MPI_DOUBLE, 0, x->m.r->rounds.c->world);
    out->loss = means[0];
    out->loo_loss = means[1];
    return STATUS_OK;
}

void sensitivity_table_close(sensitivity_table *t)
{
    free(t->rows);
    free(t->details);
    *t = (sensitivity_table){0};
}
