/* The stages differ here only in which arrays are whole. Whole arrays are addressed by the logical
 * index, owned ones by the slice's packed offset; `all` makes the two the same thing. */
#include "runtime/state.h"

#include "optimizer/optimizer.h"
#include "optimizer/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_ivon(const job *j)
{
    return j->optimizer.kind == OPTIMIZER_IVON;
}

static size_t array_elements(const sharding *owned, bool whole)
{
    return whole ? owned->p->count : owned->elements;
}

/* Where h is at hand for every mean, sigma is formed when weights are drawn, not kept. */
static bool keeps_sigma(const job *j, const sharding *owned)
{
    return is_ivon(j) && owned->ranks > 1 &&
           (j->parallel.shard == SHARD_OPTIMIZER || j->parallel.shard == SHARD_GRADIENTS);
}

static size_t block_count(const parameters *p)
{
    size_t blocks = 0;
    for (size_t u = 0; u < p->unit_count; u++)
        blocks += (p->units[u].count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
    return blocks;
}

static size_t local_bytes(const parameters *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->tensor_count; i++)
        bytes += memory_round(p->tensors[i].count * sizeof(float));
    return bytes;
}

size_t state_bytes(const job *j, const sharding *owned)
{
    bool mean_whole = j->parallel.shard != SHARD_PARAMETERS;
    bool all_whole = j->parallel.shard == SHARD_NONE;
    bool local = j->parallel.shard <= SHARD_OPTIMIZER;
    size_t mean = memory_round(array_elements(owned, mean_whole) * sizeof(float));
    size_t rest = memory_round(array_elements(owned, all_whole) * sizeof(float));
    size_t bytes = mean + 2 * rest; /* mean, momentum, g_sum */
    if (j->optimizer.kind != OPTIMIZER_SGD) bytes += rest;
    if (is_ivon(j)) bytes += rest; /* f_sum */
    if (keeps_sigma(j, owned)) bytes += mean;
    if (local) bytes += local_bytes(owned->p) * (is_ivon(j) ? 2 : 1);
    return bytes + memory_round(block_count(owned->p) * sizeof(double));
}

static state_array take_array(state *s, bool whole)
{
    return (state_array){arena_take(&s->arena, array_elements(s->owned, whole) * sizeof(float)),
                         whole};
}

static void take_arrays(state *s)
{
    bool all_whole = s->job->parallel.shard == SHARD_NONE;
    bool mean_whole = s->job->parallel.shard != SHARD_PARAMETERS;
    s->mean = take_array(s, mean_whole);
    s->momentum = take_array(s, all_whole);
    s->g_sum = take_array(s, all_whole);
    if (s->job->optimizer.kind != OPTIMIZER_SGD) s->second = take_array(s, all_whole);
    if (is_ivon(s->job)) s->f_sum = take_array(s, all_whole);
    if (keeps_sigma(s->job, s->owned)) s->sigma = take_array(s, mean_whole);
    if (s->job->parallel.shard <= SHARD_OPTIMIZER) {
        s->local_g = arena_take(&s->arena, local_bytes(s->p));
        if (is_ivon(s->job)) s->local_f = arena_take(&s->arena, local_bytes(s->p));
    }
    s->block_sums = arena_take(&s->arena, block_count(s->p) * sizeof(double));
}

float *state_at(const state *s, state_array array, const slice *part)
{
    return array.values + (array.whole ? slice_index(s->p, part) : part->offset);
}

const sharding *state_updated(const state *s)
{
    return s->momentum.whole ? &s->all : s->owned;
}

static double tensor_decay(const state *s, const tensor *t)
{
    return t->dimensions == 2 ? s->job->optimizer.weight_decay : 0.0;
}

/* Slices whose mean this rank can set: all of them where mean is whole. */
static const sharding *mean_slices(const state *s)
{
    return s->mean.whole ? &s->all : s->owned;
}

void state_sigma(const state *s, const slice *part, float *sigma)
{
    ivon_sigma(sigma, state_at(s, s->second, part), s->job->optimizer.ess,
               tensor_decay(s, &s->p->tensors[part->tensor]), part->count);
}

static void refresh_sigma(state *s, const sharding *part)
{
    for (size_t i = 0; s->sigma.values && i < part->owned_count; i++)
        state_sigma(s, &part->owned[i], state_at(s, s->sigma, &part->owned[i]));
}

void state_sample(const state *s, const slice *part, noise_key key, void *theta, dtype type)
{
    const float *mean = state_at(s, s->mean, part);
    uint64_t index = slice_index(s->p, part);
    if (s->sigma.values)
        sample_weights(theta, type, mean, state_at(s, s->sigma, part), key, index, part->count);
    else
        sample_weights_from_hessian(
            theta, type, mean, state_at(s, s->second, part), s->job->optimizer.ess,
            tensor_decay(s, &s->p->tensors[part->tensor]), key, index, part->count);
}

static void set_initial(state *s)
{
    const sharding *part = mean_slices(s);
    for (size_t i = 0; i < part->owned_count; i++) {
        const slice *piece = &part->owned[i];
        const tensor *t = &s->p->tensors[piece->tensor];
        initial_weights(state_at(s, s->mean, piece), t->init_mean, t->init_deviation, s->job->seed,
                        slice_index(s->p, piece), piece->count);
    }
    if (!is_ivon(s->job)) return;
    size_t count = array_elements(s->owned, s->second.whole);
    float h = (float)s->job->optimizer.hessian_init;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) s->second.values[i] = h;
}

status state_open(state *s, const job *j, const sharding *owned)
{
    *s = (state){.job = j, .p = owned->p, .owned = owned};
    status result = sharding_open(&s->all, owned->p, 1, 0);
    if (!result) result = layout_open(&s->gradient, owned->p, DTYPE_F32);
    if (!result) result = arena_open(&s->arena, "optimizer state", state_bytes(j, owned));
    s->unit_blocks = calloc(s->p->unit_count + 1, sizeof *s->unit_blocks);
    s->gradient_start = calloc(s->p->unit_count + 1, sizeof *s->gradient_start);
    s->checkpoint_slices = calloc(owned->owned_count + 1, sizeof *s->checkpoint_slices);
    if (!result && (!s->unit_blocks || !s->gradient_start || !s->checkpoint_slices))
        result = fail(STATUS_NOMEM, "memory for %zu units", s->p->unit_count);
    if (result) {
        state_close(s);
        return result;
    }
    for (size_t u = 0; u < s->p->unit_count; u++)
        s->gradient_start[u + 1] = s->gradient_start[u] + s->gradient.unit_bytes[u] / sizeof(float);
    for (size_t u = 0; u < s->p->unit_count; u++)
        s->unit_blocks[u + 1] =
            s->unit_blocks[u] + (s->p->units[u].count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
    take_arrays(s);
    set_initial(s);
    for (size_t i = 0; i < owned->owned_count; i++) {
        s->checkpoint_slices[i] = owned->owned[i];
        if (s->momentum.whole) s->checkpoint_slices[i].offset = slice_index(s->p, &owned->owned[i]);
    }
    return STATUS_OK;
}

void state_close(state *s)
{
    arena_close(&s->arena);
    layout_close(&s->gradient);
    sharding_close(&s->all);
    free(s->unit_blocks);
    free(s->gradient_start);
    free(s->checkpoint_slices);
    *s = (state){0};
}

void state_clear_local_sums(state *s)
{
    if (s->local_g) memory_clear(s->local_g, local_bytes(s->p));
    if (s->local_f) memory_clear(s->local_f, local_bytes(s->p));
}

/* Gather a whole array's chunks, unit by unit, from their owners. */
static void gather(state *s, comm *c, state_array array)
{
    if (!array.values || !array.whole || c->size == 1) return;
    for (size_t u = 0; u < s->p->unit_count; u++)
        comm_gather(c, array.values + s->p->units[u].index,
                    s->owned->first + u * (s->owned->ranks + 1), sizeof(float), BYTES_PARAMETERS);
}

static void gather_block_sums(state *s, comm *c)
{
    if (c->size == 1) return;
    size_t first[c->size + 1];
    for (size_t u = 0; u < s->p->unit_count; u++) {
        for (size_t r = 0; r <= (size_t)c->size; r++)
            first[r] = (sharding_first(s->owned, u, r) + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
        comm_gather(c, s->block_sums + s->unit_blocks[u], first, sizeof(double), BYTES_NORMS);
    }
}

/* Sums of 256-element blocks counted from each unit's start, added in block order: the same bits
 * whoever owns the blocks. */
void state_norm(state *s, comm *c, uint64_t items, state_report *report)
{
    const sharding *o = s->owned;
    for (size_t u = 0; u < s->p->unit_count; u++) {
        size_t begin = sharding_first(o, u, o->rank), end = sharding_first(o, u, o->rank + 1);
        if (begin == end) continue;
        squared_blocks(s->block_sums + s->unit_blocks[u] + begin / PARAMETER_BLOCK,
                       state_at(s, s->g_sum, &o->owned[o->unit_slices[u]]), 1.0 / (double)items,
                       end - begin);
    }
    gather_block_sums(s, c);
    double total = 0.0;
    report->bad_unit = s->p->unit_count;
    for (size_t u = 0; u < s->p->unit_count; u++) {
        double sum = 0.0;
        for (size_t b = s->unit_blocks[u]; b < s->unit_blocks[u + 1]; b++) sum += s->block_sums[b];
        if (!isfinite(sum) && report->bad_unit == s->p->unit_count) report->bad_unit = u;
        total += sum;
    }
    report->grad_norm = sqrt(total);
    report->clip_factor = 1.0;
    const job *j = s->job;
    if (j->clip.scope == SCOPE_STEP && report->grad_norm > j->clip.norm)
        report->clip_factor = j->clip.norm / report->grad_norm;
}

static void update_slice(state *s, const slice *part, double g_scale, double f_scale, double lr,
                         state_report *report)
{
    const job *j = s->job;
    double decay = tensor_decay(s, &s->p->tensors[part->tensor]);
    float *m = state_at(s, s->mean, part), *first = state_at(s, s->momentum, part);
    const float *g = state_at(s, s->g_sum, part);
    if (j->optimizer.kind == OPTIMIZER_IVON) {
        double scale =
            j->optimizer.rescale_lr ? j->optimizer.hessian_init + j->optimizer.weight_decay : 1.0;
        ivon_step step = {.lambda = j->optimizer.ess,
                          .delta = decay,
                          .h0 = j->optimizer.hessian_init,
                          .beta1 = j->optimizer.beta1,
                          .beta2 = j->optimizer.beta2,
                          .xi = j->clip.update,
                          .alpha = lr * scale,
                          .updates = s->updates,
                          .debias = j->optimizer.debias,
                          .hessian = j->optimizer.hessian};
        ivon_update(m, state_at(s, s->second, part), first, g, state_at(s, s->f_sum, part), g_scale,
                    f_scale, &step, part->count, &report->clipped, &report->rescued);
    } else if (j->optimizer.kind == OPTIMIZER_ADAMW) {
        adamw_step step = {.beta1 = j->optimizer.beta1,
                           .beta2 = j->optimizer.beta2,
                           .epsilon = j->optimizer.epsilon,
                           .decay = decay,
                           .lr = lr,
                           .updates = s->updates};
        adamw_update(m, first, state_at(s, s->second, part), g, g_scale, &step, part->count);
    } else {
        sgd_step step = {.momentum = j->optimizer.momentum, .decay = decay, .lr = lr};
        sgd_update(m, first, g, g_scale, &step, part->count);
    }
}

static void statistics_make(state *s, comm *c, double f_scale, state_statistics *out)
{
    ivon_sums sums = {.hessian_min = INFINITY};
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        ivon_statistics(&sums, state_at(s, s->second, part), state_at(s, s->f_sum, part), f_scale,
                        s->job->optimizer.ess, tensor_decay(s, &s->p->tensors[part->tensor]),
                        s->job->optimizer.beta2, s->job->optimizer.hessian, part->count);
    }
    double totals[] = {sums.sigma, sums.hessian, sums.bias};
    comm_sum_ordered(c, totals, 3);
    double least = sums.hessian_min;
    MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_DOUBLE, MPI_MIN, c->world);
    double n = (double)s->p->count;
    *out = (state_statistics){totals[0] / n, least, totals[1] / n, totals[2] / totals[1]};
}

void state_update(state *s, comm *c, uint64_t items, uint64_t t, state_report *report,
                  state_statistics *statistics)
{
    double factor = report->clip_factor;
    double g_scale = factor / (double)items;
    double f_scale =
        (s->job->optimizer.hessian == HESSIAN_GRADSQ ? factor * factor : factor) / (double)items;
    double lr = schedule_at(&s->job->schedule, t, s->job->steps);
    s->updates++;
    gather(s, c, s->g_sum); /* whole only where every rank updates everything */
    gather(s, c, s->f_sum);
    if (statistics && is_ivon(s->job)) statistics_make(s, c, f_scale, statistics);
    const sharding *part = state_updated(s);
    for (size_t i = 0; i < part->owned_count; i++)
        update_slice(s, &part->owned[i], g_scale, f_scale, lr, report);
    refresh_sigma(s, part);
    if (!s->momentum.whole) {
        gather(s, c, s->mean);
        gather(s, c, s->sigma);
    }
}

void state_share(state *s, comm *c)
{
    refresh_sigma(s, s->owned);
    gather(s, c, s->mean);
    gather(s, c, s->momentum);
    gather(s, c, s->second);
    gather(s, c, s->sigma);
}

size_t state_checkpoint_arrays(const state *s, checkpoint_array arrays[CHECKPOINT_ARRAYS])
{
    size_t n = 0;
    arrays[n++] = (checkpoint_array){"model.safetensors", "", s->g_sum.values};
    if (is_ivon(s->job)) {
        arrays[n++] = (checkpoint_array){"posterior.safetensors", "", s->second.values};
        arrays[n++] = (checkpoint_array){"optimizer.safetensors", "momentum.", s->momentum.values};
    } else if (s->job->optimizer.kind == OPTIMIZER_ADAMW) {
        arrays[n++] = (checkpoint_array){"optimizer.safetensors", "exp_avg.", s->momentum.values};
        arrays[n++] = (checkpoint_array){"optimizer.safetensors", "exp_avg_sq.", s->second.values};
    } else {
        arrays[n++] = (checkpoint_array){"optimizer.safetensors", "momentum.", s->momentum.values};
    }
    return n;
}

void state_mean_out(state *s)
{
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        memcpy(state_at(s, s->g_sum, part), state_at(s, s->mean, part),
               part->count * sizeof(float));
    }
}

void state_mean_in(state *s)
{
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        memcpy(state_at(s, s->mean, part), state_at(s, s->g_sum, part),
               part->count * sizeof(float));
    }
}
