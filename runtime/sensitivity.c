/* Batches are computed as validation computes them, rank 0 collects the rows of a round. The
 * posterior's variances are gathered whole once a run, so passes need no other exchange than that
 * of the weights. */
#include "posterior/sensitivity.h"

#include "io/agree.h"
#include "optimizer/optimizer.h"
#include "runtime/sensitivity_parts.h"
#include "runtime/trainer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const void *sensitivity_weights(void *context, size_t u)
{
    sensitivity *x = context;
    return weights_get(&x->r->weights, u);
}

static void release(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static float *give_gradients(void *context, size_t u)
{
    sensitivity *x = context;
    return (float *)(void *)slots_at(&x->gradients, u);
}

static void take_gradients(void *context, size_t u)
{
    sensitivity *x = context;
    const parameters *p = &x->r->p;
    for (size_t i = p->units[u].first; i < p->units[u].first + p->units[u].tensors; i++) {
        size_t at = x->layout.tensor_offset[i] / sizeof(float);
        x->form += sensitivity_form(x->blocks, give_gradients(x, u) + at, x->variances[u] + at,
                                    p->tensors[i].count);
    }
}

static bool is_gpt2(const job *j)
{
    return j->model.kind == MODEL_GPT2;
}

/* No dropout, and of gpt2 one sequence at a time: squares of gradients do not add up. */
static job job_for(const job *j)
{
    job own = *j;
    own.model.gpt2.dropout = own.model.mlp.dropout = 0.0;
    if (is_gpt2(j)) own.batch.sequences = 1;
    return own;
}

static model_shape shape_for(const job *own, dtype precision)
{
    return (model_shape){.sequences = own->batch.sequences,
                         .length = own->batch.length,
                         .precision = precision,
                         .recompute = own->recompute,
                         .training = is_gpt2(own),
                         .variances = !is_gpt2(own)};
}

static size_t arena_size(const job *j, const parameters *p, const layout *l, const slots *gradients)
{
    size_t bytes = is_gpt2(j) ? slots_bytes(gradients, p, l->unit_bytes) : 0;
    for (size_t u = 0; u < p->unit_count; u++) bytes += l->unit_bytes[u];
    return bytes;
}

status sensitivity_bytes(const job *j, const sharding *owned, dtype precision, size_t *bytes)
{
    layout l = {0};
    slots gradients = {0};
    job own = job_for(j);
    model_config config = job_model(&own);
    model_shape shape = shape_for(&own, precision);
    status result = layout_open(&l, owned->p, DTYPE_F32);
    if (!result) result = slots_open(&gradients, owned->p, false);
    if (!result)
        *bytes = arena_size(j, owned->p, &l, &gradients) + model_activation_bytes(&config, &shape);
    slots_close(&gradients);
    layout_close(&l);
    return result;
}

static status open_arena(sensitivity *x)
{
    const parameters *p = &x->r->p;
    status result = layout_open(&x->layout, p, DTYPE_F32);
    if (!result) result = slots_open(&x->gradients, p, false);
    if (!result)
        result = arena_open(&x->arena, "sensitivities",
                            arena_size(&x->job, p, &x->layout, &x->gradients));
    x->variances = calloc(p->unit_count, sizeof *x->variances);
    if (!result && !x->variances) result = fail(STATUS_NOMEM, "memory for sensitivities");
    if (result) return result;
    for (size_t u = 0; u < p->unit_count; u++)
        x->variances[u] = arena_take(&x->arena, x->layout.unit_bytes[u]);
    if (is_gpt2(&x->job)) slots_take(&x->gradients, p, x->layout.unit_bytes, &x->arena);
    return STATUS_OK;
}

static status open_buffers(sensitivity *x)
{
    const parameters *p = &x->r->p;
    size_t outputs = is_gpt2(&x->job) ? 0 : x->job.model.mlp.outputs, longest = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        if (p->tensors[i].count > longest) longest = p->tensors[i].count;
    x->columns = 2 * outputs;
    x->most = x->job.batch.sequences;
    size_t all = x->r->c->rank == 0 ? x->most * (size_t)x->r->c->size : x->most;
    x->blocks = calloc(longest / PARAMETER_BLOCK + 1, sizeof *x->blocks);
    x->counted = calloc(x->job.batch.length, sizeof *x->counted);
    x->outputs = calloc(x->most * outputs + 1, sizeof *x->outputs);
    x->found = calloc(x->most * outputs + 1, sizeof *x->found);
    x->errors = calloc(outputs + 1, sizeof *x->errors);
    x->rows = calloc(all, sizeof *x->rows);
    x->details = calloc(all * x->columns + 1, sizeof *x->details);
    if (x->blocks && x->counted && x->outputs && x->found && x->errors && x->rows && x->details)
        return dataset_batch_open(&x->batch, &x->job);
    return fail(STATUS_NOMEM, "memory for the sensitivities of %zu rows", all);
}

static status open_here(sensitivity *x)
{
    model_config config = job_model(&x->job);
    model_shape shape = shape_for(&x->job, x->r->precision);
    status result = open_arena(x);
    if (!result) result = open_buffers(x);
    return result ? result : model_open(&x->model, &config, &shape);
}

status sensitivity_open(sensitivity **out, trainer *r, sensitivity_per per)
{
    *out = calloc(1, sizeof **out);
    status result =
        agree(r->c->world, *out ? STATUS_OK : fail(STATUS_NOMEM, "memory for sensitivities"));
    if (result) {
        sensitivity_close(out);
        return result;
    }
    **out = (sensitivity){.r = r, .per = per, .job = job_for(r->job)};
    (*out)->hooks = (model_hooks){.context = *out,
                                  .weights = sensitivity_weights,
                                  .release = release,
                                  .gradients = give_gradients,
                                  .gradients_done = take_gradients};
    result = agree(r->c->world, open_here(*out));
    if (result) sensitivity_close(out);
    return result;
}

void sensitivity_close(sensitivity **out)
{
    sensitivity *x = *out;
    if (!x) return;
    model_close(&x->model);
    dataset_batch_close(&x->batch);
    slots_close(&x->gradients);
    arena_close(&x->arena);
    layout_close(&x->layout);
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
    const sharding *owned = &x->r->owned;
    for (size_t i = 0; i < owned->owned_count; i++) {
        const slice *part = &owned->owned[i];
        float *to = x->variances[x->r->p.tensors[part->tensor].unit] +
                    x->layout.tensor_offset[part->tensor] / sizeof(float) + part->first;
        state_sigma(&x->r->state, part, to);
        for (size_t k = 0; k < part->count; k++) to[k] *= to[k];
    }
    size_t first[owned->ranks + 1];
    for (size_t u = 0; u < x->r->p.unit_count; u++) {
        for (size_t rank = 0; rank < owned->ranks; rank++) {
            size_t begin, end;
            sharding_bytes(owned, &x->layout, u, rank, &begin, &end);
            first[rank] = begin / sizeof(float);
            first[rank + 1] = end / sizeof(float);
        }
        comm_gather(x->r->c, x->variances[u], first, sizeof(float), BYTES_PARAMETERS);
    }
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
    size_t most = w->x->most;
    *first = (w->round * (uint64_t)w->x->r->c->size + rank) * most;
    if (*first >= w->count) return 0;
    return w->count - *first < most ? (size_t)(w->count - *first) : most;
}

/* Read this rank's batch: rows from w->first + first on. */
static status read_batch(const work *w, uint64_t first, size_t rows)
{
    sensitivity *x = w->x;
    size_t length = x->job.batch.length;
    status result = STATUS_OK;
    x->batch.view.sequences = rows;
    x->batch.view.counted = NULL;
    if (x->per != PER_TOKEN) {
        for (size_t s = 0; !result && s < rows; s++)
            result = dataset_window(w->data, w->first + first + s, &x->batch, s);
        return result;
    }
    uint64_t token = w->first + first;
    memset(x->counted, 0, length);
    x->counted[token % length] = 1;
    x->batch.view.counted = x->counted;
    return dataset_window(w->data, token / length, &x->batch, 0);
}

static sensitivity_score score(sensitivity *x, size_t s)
{
    size_t outputs = x->columns / 2;
    const float *f = x->outputs + s * outputs, *v = x->found + s * outputs;
    if (x->batch.targets)
        return sensitivity_of_class(x->errors, f, v, outputs, x->batch.targets[s]);
    return sensitivity_of_values(x->errors, f, v, x->batch.values + s * outputs, outputs,
                                 x->job.model.mlp.noise_variance);
}

static void compute_examples(sensitivity *x)
{
    size_t outputs = x->columns / 2;
    model_variances(x->model, &x->hooks, (const float *const *)x->variances, &x->batch.view,
                    x->outputs, x->found);
    for (size_t s = 0; s < x->batch.view.sequences; s++) {
        sensitivity_score found = score(x, s);
        float *details = x->details + s * x->columns;
        for (size_t c = 0; c < outputs; c++) details[c] = (float)x->errors[c];
        memcpy(details + outputs, x->found + s * outputs, outputs * sizeof *details);
        x->rows[s] = (sensitivity_row){.label = x->batch.targets ? x->batch.targets[s] : 0,
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
    double length = (double)x->job.batch.length, tokens = x->per == PER_TOKEN ? 1.0 : length;
    x->form = 0.0;
    double sum = length * model_backward(x->model, &x->hooks, &x->batch.view, (noise_key){0});
    double form = length * length * x->form, p = exp(-sum);
    bool token = x->per == PER_TOKEN;
    x->rows[0] = (sensitivity_row){
        .label = token ? x->batch.targets[index % x->job.batch.length] : 0,
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
    trainer *r = x->r;
    weights_begin(&r->weights,
                  &(weights_round){.active = active, .keys = r->keys, .backward = true});
    if (rows == 0)
        weights_idle(&r->weights, true);
    else if (x->per == PER_EXAMPLE)
        compute_examples(x);
    else
        compute_gradient(x, w->first + first);
    weights_end(&r->weights);
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
    comm *c = x->r->c;
    int bytes = (int)(x->most * sizeof *x->rows);
    int more = (int)(x->most * x->columns * sizeof *x->details);
    bool root = c->rank == 0;
    MPI_Gather(root ? MPI_IN_PLACE : x->rows, bytes, MPI_BYTE, x->rows, bytes, MPI_BYTE, 0,
               c->world);
    MPI_Gather(root ? MPI_IN_PLACE : x->details, more, MPI_BYTE, x->details, more, MPI_BYTE, 0,
               c->world);
    for (size_t from = 0; root && from < (size_t)c->size; from++) {
        uint64_t first;
        size_t rows = rows_of(w, from, &first);
        const sensitivity_row *found = x->rows + from * x->most;
        memcpy(w->out->rows + first, found, rows * sizeof *found);
        memcpy(w->out->details + first * x->columns, x->details + from * x->most * x->columns,
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
    uint64_t first, other;
    size_t rows = rows_of(w, (size_t)x->r->c->rank, &first), active = 0;
    while (active < (size_t)x->r->c->size && rows_of(w, active, &other) > 0) active++;
    status result = rows > 0 ? read_batch(w, first, rows) : STATUS_OK;
    result = agree(x->r->c->world, result);
    if (result) return result;
    compute(w, first, rows, active);
    collect(w);
    return STATUS_OK;
}

static status open_table(const sensitivity *x, uint64_t count, sensitivity_table *out)
{
    *out = (sensitivity_table){.count = count, .outputs = x->columns / 2};
    if (x->r->c->rank != 0) return STATUS_OK;
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
    uint64_t batches = (count + x->most - 1) / x->most, ranks = (uint64_t)x->r->c->size;
    status result = agree(x->r->c->world, open_table(x, count, out));
    if (!result) gather_variances(x);
    for (; !result && w.round * ranks < batches; w.round++) result = run_round(&w);
    if (result) {
        sensitivity_table_close(out);
        return result;
    }
    double means[] = {w.loss / w.seen, w.loo_loss / w.seen};
    MPI_Bcast(means, 2, MPI_DOUBLE, 0, x->r->c->world);
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
