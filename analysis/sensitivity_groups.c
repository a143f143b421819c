/* A group's gradient is added up in the order of its batches on every rank, and the mean of the
 * trainer is moved and moved back: what is computed at the moved mean is a forward pass as any. */
#include "analysis/sensitivity_parts.h"
#include "posterior/sensitivity.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "train/trainer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Members of a group, in the order of the data: w->order[begin .. end). */
typedef struct {
    size_t begin, end;
} span;

typedef struct {
    sensitivity *x;
    const dataset *data;
    uint64_t first, count; /* rows that may be in groups */
    size_t groups;
    uint32_t *group; /* [count] of each row; `groups` and above: none */
    size_t *order;   /* [count] rows, group after group */
    size_t *start;   /* [groups + 1] where each begins in order */
    model *model;    /* with a backward pass */
    model_hooks hooks;
    float **gradients; /* [unit_count] in x's layout */
    double **sums;     /* [unit_count] likewise */
    float *incoming;   /* of another rank's unit */
    float *kept;       /* [owned elements] of the mean */
    arena arena;
    span *batches; /* [P] of the round */
    size_t active; /* batches in it */
    double loss;   /* of this rank's batch */
} leaving;

static float *give_gradients(void *context, size_t u)
{
    return ((sensitivity *)context)->gradients[u];
}

static void keep(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static size_t unit_floats(const leaving *w, size_t u)
{
    return w->x->m.layout.unit_bytes[u] / sizeof(float);
}

/* Numbers of all units, and of the largest. */
static size_t count_floats(const leaving *w, size_t *largest)
{
    size_t floats = 0;
    *largest = 0;
    for (size_t u = 0; u < w->x->m.r->rounds.p.unit_count; u++) {
        size_t n = unit_floats(w, u);
        floats += n;
        if (n > *largest) *largest = n;
    }
    return floats;
}

static size_t arena_bytes(const leaving *w)
{
    size_t largest, floats = count_floats(w, &largest), elements = w->x->m.r->rounds.owned.elements;
    return floats * (sizeof(float) + sizeof(double)) + memory_round(largest * sizeof(float)) +
           memory_round(elements * sizeof(float));
}

static status open_arena(leaving *w)
{
    const parameters *p = &w->x->m.r->rounds.p;
    size_t largest;
    count_floats(w, &largest);
    w->gradients = calloc(p->unit_count, sizeof *w->gradients);
    w->sums = calloc(p->unit_count, sizeof *w->sums);
    w->x->gradients = w->gradients;
    if (!w->gradients || !w->sums) return fail(STATUS_NOMEM, "memory for groups");
    status result = arena_open(&w->arena, "gradients of groups", arena_bytes(w));
    if (result) return result;
    for (size_t u = 0; u < p->unit_count; u++) {
        w->gradients[u] = arena_take(&w->arena, unit_floats(w, u) * sizeof(float));
        w->sums[u] = arena_take(&w->arena, unit_floats(w, u) * sizeof(double));
        memory_clear(w->gradients[u], unit_floats(w, u) * sizeof(float)); /* between tensors */
    }
    w->incoming = arena_take(&w->arena, memory_round(largest * sizeof(float)));
    w->kept = arena_take(&w->arena, memory_round(w->x->m.r->rounds.owned.elements * sizeof(float)));
    return STATUS_OK;
}

static model_shape shape_of(const leaving *w)
{
    model_shape shape = w->x->m.shape;
    shape.training = true;
    shape.variances = shape.bases = false;
    return shape;
}

static status check_memory(const leaving *w)
{
    const sensitivity *x = w->x;
    model_shape shape = shape_of(w);
    size_t bytes = arena_bytes(w) + model_activation_bytes(&x->m.config, &shape);
    return free_memory_check(
        x->m.r->rounds.c->world, (double)bytes,
        "%s: sensitivities of groups: %.4g GB on every rank for gradients and a model",
        x->m.r->job->name, 1e-9 * (double)bytes);
}

static status open_leaving(leaving *w)
{
    sensitivity *x = w->x;
    model_shape shape = shape_of(w);
    w->order = calloc((size_t)w->count, sizeof *w->order);
    w->start = calloc(w->groups + 1, sizeof *w->start);
    w->batches = calloc((size_t)x->m.r->rounds.c->size, sizeof *w->batches);
    if (!w->order || !w->start || !w->batches)
        return fail(STATUS_NOMEM, "memory for %zu groups", w->groups);
    w->hooks = x->m.hooks;
    w->hooks.gradients = give_gradients;
    w->hooks.gradients_done = keep;
    status result = open_arena(w);
    return result ? result : model_open(&w->model, &x->m.config, &shape);
}

static void close_leaving(leaving *w)
{
    model_close(&w->model);
    arena_close(&w->arena);
    free(w->gradients);
    free(w->sums);
    free(w->group);
    free(w->order);
    free(w->start);
    free(w->batches);
}

/* Rank 0 knows who belongs to whom. */
static status share_groups(leaving *w, const uint32_t *group)
{
    comm *c = w->x->m.r->rounds.c;
    uint64_t groups = w->groups;
    w->group = calloc((size_t)w->count, sizeof *w->group);
    status result = agree(c->world, w->group ? STATUS_OK : fail(STATUS_NOMEM, "memory for groups"));
    if (result) return result;
    if (c->rank == 0) memcpy(w->group, group, (size_t)w->count * sizeof *group);
    MPI_Bcast(&groups, 1, MPI_UINT64_T, 0, c->world);
    comm_broadcast(c, w->group, (size_t)w->count * sizeof *w->group, 0);
    w->groups = (size_t)groups;
    return STATUS_OK;
}

static void sort_rows(leaving *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->group[i] < w->groups) w->start[w->group[i] + 1]++;
    for (size_t g = 0; g < w->groups; g++) w->start[g + 1] += w->start[g];
    for (size_t i = 0; i < w->count; i++)
        if (w->group[i] < w->groups) w->order[w->start[w->group[i]]++] = i;
    for (size_t g = w->groups; g > 0; g--) w->start[g] = w->start[g - 1];
    w->start[0] = 0;
}

static uint64_t row_at(const leaving *w, size_t at)
{
    return w->first + w->order[at];
}

/* Tokens of one window go together, whole windows one by one. */
static span next_batch(const leaving *w, size_t begin, size_t limit)
{
    bool tokens = w->x->per == PER_TOKEN;
    uint64_t length = w->x->m.job.batch.length, window = row_at(w, begin) / length;
    size_t end = begin + 1, max = tokens ? (size_t)length : w->x->max;
    while (end < limit && end - begin < max && (!tokens || row_at(w, end) / length == window))
        end++;
    return (span){begin, end};
}

/* The batches of a round, one a rank; where the next round begins. */
static size_t begin_round(leaving *w, size_t begin, size_t limit)
{
    for (w->active = 0; begin < limit && w->active < (size_t)w->x->m.r->rounds.c->size;
         w->active++) {
        w->batches[w->active] = next_batch(w, begin, limit);
        begin = w->batches[w->active].end;
    }
    return begin;
}

static bool works(const leaving *w)
{
    return (size_t)w->x->m.r->rounds.c->rank < w->active;
}

static status read_batch(leaving *w)
{
    sensitivity *x = w->x;
    size_t length = x->m.job.batch.length;
    status result = STATUS_OK;
    if (!works(w)) return STATUS_OK;
    span b = w->batches[x->m.r->rounds.c->rank];
    x->m.batch.view.sequences = x->per == PER_TOKEN ? 1 : b.end - b.begin;
    x->m.batch.view.counted = NULL;
    if (x->per != PER_TOKEN) {
        for (size_t s = 0; !result && s < b.end - b.begin; s++)
            result = dataset_window(w->data, row_at(w, b.begin + s), &x->m.batch, s);
        return result;
    }
    memset(x->counted, 0, length);
    for (size_t at = b.begin; at < b.end; at++) x->counted[row_at(w, at) % length] = 1;
    x->m.batch.view.counted = x->counted;
    return dataset_window(w->data, row_at(w, b.begin) / length, &x->m.batch, 0);
}

static void backward(leaving *w)
{
    sensitivity *x = w->x;
    if (mean_pass_begin(&x->m, w->active, true, works(w)))
        model_backward(w->model, &w->hooks, &x->m.batch.view, (noise_key){0});
    mean_pass_end(&x->m);
}

/* Rows over which a batch's gradient is a mean. */
static double rows_of(const leaving *w, size_t from)
{
    span b = w->batches[from];
    size_t length = w->x->m.job.batch.length;
    return w->x->per == PER_TOKEN ? (double)length : (double)((b.end - b.begin) * length);
}

static void add_gradients(leaving *w)
{
    comm *c = w->x->m.r->rounds.c;
    for (size_t from = 0; from < w->active; from++)
        for (size_t u = 0; u < w->x->m.r->rounds.p.unit_count; u++) {
            float *values = from == (size_t)c->rank ? w->gradients[u] : w->incoming;
            double rows = rows_of(w, from);
            comm_broadcast(c, values, unit_floats(w, u) * sizeof *values, (int)from);
            for (size_t i = 0; i < unit_floats(w, u); i++)
                w->sums[u][i] += rows * (double)values[i];
        }
}

/* The gradient of the group's summed loss, left in w->gradients. */
static status sum_gradients(leaving *w, size_t g)
{
    const parameters *p = &w->x->m.r->rounds.p;
    status result = STATUS_OK;
    for (size_t u = 0; u < p->unit_count; u++)
        memory_clear(w->sums[u], unit_floats(w, u) * sizeof(double));
    for (size_t at = w->start[g]; at < w->start[g + 1];) {
        at = begin_round(w, at, w->start[g + 1]);
        result = agree(w->x->m.r->rounds.c->world, read_batch(w));
        if (result) return result;
        backward(w);
        add_gradients(w);
    }
    for (size_t u = 0; u < p->unit_count; u++)
        for (size_t i = 0; i < unit_floats(w, u); i++) w->gradients[u][i] = (float)w->sums[u][i];
    return STATUS_OK;
}

static double form_of(const leaving *w)
{
    const sensitivity *x = w->x;
    const parameters *p = &x->m.r->rounds.p;
    double form = 0.0;
    for (size_t i = 0; i < p->tensor_count; i++) {
        size_t at = x->m.layout.tensor_offset[i] / sizeof(float);
        form += sensitivity_quadratic(x, i, w->gradients[p->tensors[i].unit] + at);
    }
    return form;
}

/* The trainer's mean without the group, or as it was. */
static void move_mean(leaving *w, bool away)
{
    sensitivity *x = w->x;
    state *s = &x->m.r->rounds.state;
    for (size_t i = 0; i < x->m.r->rounds.owned.owned_count; i++) {
        const slice *part = &x->m.r->rounds.owned.owned[i];
        size_t u = x->m.r->rounds.p.tensors[part->tensor].unit;
        size_t at = x->m.layout.tensor_offset[part->tensor] / sizeof(float) + part->first;
        float *mean = state_at(s, s->mean, part), *kept = w->kept + part->offset;
        if (away) memcpy(kept, mean, part->count * sizeof *kept);
        if (away && sensitivity_is_turned(x, part->tensor)) {
            sensitivity_move(x, part->tensor, mean, w->gradients[u] + at);
            continue;
        }
        for (size_t k = 0; k < part->count; k++)
            mean[k] = away ? kept[k] + x->variances[u][at + k] * w->gradients[u][at + k] : kept[k];
    }
    state_share(s, x->m.r->rounds.c);
    weights_changed(&x->m.r->weights);
}

static void visit(void *context, size_t first, size_t rows, float *outputs)
{
    leaving *w = context;
    trainer *r = w->x->m.r;
    model_losses(r->losses + first, &r->config, &w->x->m.batch.view, first, rows, outputs);
    for (size_t i = 0; i < rows; i++) w->loss += (double)r->losses[first + i];
}

/* The group's summed loss at the trainer's mean. */
static status sum_losses(leaving *w, size_t g, double *sum)
{
    trainer *r = w->x->m.r;
    double losses[r->rounds.c->size];
    *sum = 0.0;
    for (size_t at = w->start[g]; at < w->start[g + 1];) {
        at = begin_round(w, at, w->start[g + 1]);
        status result = agree(r->rounds.c->world, read_batch(w));
        if (result) return result;
        w->loss = 0.0;
        trainer_predict(r, works(w) ? &w->x->m.batch.view : NULL, w->active, NULL, NULL, visit, w);
        MPI_Allgather(&w->loss, 1, MPI_DOUBLE, losses, 1, MPI_DOUBLE, r->rounds.c->world);
        for (size_t from = 0; from < w->active; from++) *sum += losses[from];
    }
    return STATUS_OK;
}

static status leave(leaving *w, size_t g, double *added)
{
    double before, after;
    status result = sum_gradients(w, g);
    if (!result && w->x->per != PER_EXAMPLE) *added = form_of(w);
    if (result || w->x->per != PER_EXAMPLE) return result;
    result = sum_losses(w, g, &before);
    if (result) return result;
    move_mean(w, true);
    result = sum_losses(w, g, &after);
    move_mean(w, false);
    *added = after - before;
    return result;
}

status sensitivity_leave(sensitivity *x, const dataset *data, uint64_t first, uint64_t count,
                         const uint32_t *group, size_t groups, double *added)
{
    leaving w = {.x = x, .data = data, .first = first, .count = count, .groups = groups};
    status result = share_groups(&w, group);
    if (!result) result = check_memory(&w);
    if (!result) result = agree(x->m.r->rounds.c->world, open_leaving(&w));
    if (!result) sort_rows(&w);
    for (size_t g = 0; !result && g < w.groups; g++) {
        double found = NAN;
        result = leave(&w, g, &found);
        if (added) added[g] = found;
    }
    close_leaving(&w);
    return result;
}
