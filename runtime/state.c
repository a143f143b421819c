/* The stages differ here only in which arrays are whole. Whole arrays are addressed by the logical
 * index, owned ones by the slice's packed offset; `all` makes the two the same thing. */
#include "runtime/state.h"

#include "runtime/gather.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static state_array *array_of(state *s, const state_row *row)
{
    return (state_array *)(void *)((char *)s + row->member);
}

static void take_arrays(state *s)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(&s->settings, s->owned->ranks, s->training, rows);
    for (size_t i = 0; i < n; i++)
        *array_of(s, &rows[i]) = (state_array){
            arena_take(&s->arena, state_elements(s->owned, rows[i].whole) * sizeof(float)),
            rows[i].whole};
    if (!s->training) return;
    if (s->settings.sums_locally) {
        s->local_g = arena_take(&s->arena, state_local_bytes(s->p));
        if (s->settings.row->estimates) s->local_f = arena_take(&s->arena, state_local_bytes(s->p));
    }
    s->block_sums = arena_take(&s->arena, state_block_bytes(s->owned));
}

float *state_at(const state *s, state_array array, const slice *part)
{
    return array.values + (array.whole ? slice_index(s->p, part) : part->offset);
}

const sharding *state_updated(const state *s)
{
    return s->settings.updates_all ? &s->all : s->owned;
}

static double decay_of(const state *s, const slice *part)
{
    return settings_decay(&s->settings, &s->p->tensors[part->tensor]);
}

/* Slices whose mean this rank can set: all of them where mean is whole. */
static const sharding *mean_slices(const state *s)
{
    return s->mean.whole ? &s->all : s->owned;
}

void state_sigma(const state *s, const slice *part, float *sigma)
{
    optimizer_sigma(s->settings.row, sigma, state_at(s, state_spread(s), part),
                    &s->settings.optimizer, decay_of(s, part), part->count);
}

static void refresh_sigma(state *s, const sharding *part)
{
    for (size_t i = 0; s->sigma.values && i < part->owned_count; i++)
        state_sigma(s, &part->owned[i], state_at(s, s->sigma, &part->owned[i]));
}

bool state_is_averaged(const state *s)
{
    return s->snapshots > 0;
}

const float *state_center(const state *s, const slice *part)
{
    return state_at(s, state_is_averaged(s) ? s->swag[0] : s->mean, part);
}

/* Before the first snapshot the posterior is a point. */
static void sample_snapshots(const state *s, const slice *part, noise_key key, void *theta,
                             dtype type)
{
    size_t rank = s->settings.swag.rank;
    swag_moments q = {.mean = state_center(s, part),
                      .variance = state_at(s, s->swag[1], part),
                      .columns = s->snapshots < rank ? s->snapshots : rank,
                      .diagonal = rank == 0};
    for (size_t k = 0; k < q.columns; k++) q.deviations[k] = state_at(s, s->swag[2 + k], part);
    sample_weights_swag(theta, type, &q, key, slice_index(s->p, part), part->count);
}

void state_sample(const state *s, const slice *part, noise_key key, void *theta, dtype type)
{
    const float *mean = state_at(s, s->mean, part);
    uint64_t index = slice_index(s->p, part);
    if (s->posterior)
        s->posterior->sample(s->posterior, s, part, key, theta, type);
    else if (s->settings.swag.start > 0)
        sample_snapshots(s, part, key, theta, type);
    else if (s->sigma.values)
        sample_weights(theta, type, mean, state_at(s, s->sigma, part), key, index, part->count);
    else
        optimizer_sample(s->settings.row, theta, type, mean, state_at(s, state_spread(s), part),
                         &s->settings.optimizer, decay_of(s, part), key, index, part->count);
}

void state_collect(state *s, uint64_t steps)
{
    uint64_t start = s->settings.swag.start, rank = s->settings.swag.rank;
    if (start == 0 || steps < start || (steps - start) % s->settings.swag.every) return;
    const sharding *part = mean_slices(s);
    size_t column = rank ? s->snapshots % rank : 0;
    s->snapshots++;
    for (size_t i = 0; i < part->owned_count; i++) {
        const slice *piece = &part->owned[i];
        swag_collect(state_at(s, s->swag[0], piece), state_at(s, s->swag[1], piece),
                     rank ? state_at(s, s->swag[2 + column], piece) : NULL,
                     state_at(s, s->mean, piece), s->snapshots, piece->count);
    }
}

/* All that this rank keeps of an array. */
static void fill(const state *s, state_array array, double value)
{
    size_t count = state_elements(s->owned, array.whole);
    float rounded = (float)value;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) array.values[i] = rounded;
}

static void set_initial(state *s)
{
    const sharding *part = mean_slices(s);
    for (size_t i = 0; i < part->owned_count; i++) {
        const slice *piece = &part->owned[i];
        const tensor *t = &s->p->tensors[piece->tensor];
        initial_weights(state_at(s, s->mean, piece), t->init_mean, t->init_deviation,
                        s->settings.seed, slice_index(s->p, piece), piece->count);
    }
    state_row rows[STATE_ROWS];
    size_t n = state_rows(&s->settings, s->owned->ranks, s->training, rows);
    for (size_t i = 0; i < n; i++)
        if (rows[i].initial)
            fill(s, *array_of(s, &rows[i]), rows[i].initial(&s->settings.optimizer));
}

/* Blocks of 256 elements, counted from where runs begin: chunks begin at one. */
static void count_blocks(state *s)
{
    const sharding *o = s->owned;
    size_t blocks = 0;
    for (size_t u = 0; u < s->p->unit_count; u++)
        for (size_t run = 0; run <= sharding_runs(o, u); run++) {
            s->run_blocks[o->unit_runs[u] + run] = blocks;
            if (run == sharding_runs(o, u)) break;
            size_t count = sharding_first(o, u, run + 1) - sharding_first(o, u, run);
            blocks += (count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
        }
}

status state_open(state *s, const runtime_settings *with, const sharding *owned, bool training)
{
    *s = (state){.settings = *with, .training = training, .p = owned->p, .owned = owned};
    status result = sharding_open(&s->all, owned->p, 1, 0);
    if (!result) result = layout_open(&s->gradient, owned->p, DTYPE_F32);
    if (!result)
        result = arena_open(&s->arena, "optimizer state", state_bytes(with, owned, training));
    s->run_blocks = calloc(owned->unit_runs[s->p->unit_count], sizeof *s->run_blocks);
    s->gradient_start = calloc(s->p->unit_count + 1, sizeof *s->gradient_start);
    if (!result && (!s->run_blocks || !s->gradient_start))
        result = fail(STATUS_NOMEM, "memory for %zu units", s->p->unit_count);
    if (result) {
        state_close(s);
        return result;
    }
    for (size_t u = 0; u < s->p->unit_count; u++)
        s->gradient_start[u + 1] = s->gradient_start[u] + s->gradient.unit_bytes[u] / sizeof(float);
    count_blocks(s);
    take_arrays(s);
    set_initial(s);
    return STATUS_OK;
}

void state_close(state *s)
{
    arena_close(&s->arena);
    layout_close(&s->gradient);
    sharding_close(&s->all);
    free(s->run_blocks);
    free(s->gradient_start);
    *s = (state){0};
}

void state_clear_local_sums(state *s)
{
    if (s->local_g) memory_clear(s->local_g, state_local_bytes(s->p));
    if (s->local_f) memory_clear(s->local_f, state_local_bytes(s->p));
}

/* Gather a whole array's chunks, unit by unit, from their owners. */
static void gather(state *s, comm *c, state_array array)
{
    if (!array.values || !array.whole || c->size == 1) return;
    for (size_t u = 0; u < s->p->unit_count; u++)
        gather_runs(c, s->owned, u, array.values + s->p->units[u].index,
                    s->owned->first + s->owned->unit_runs[u], sizeof(float), BYTES_PARAMETERS);
}

static void gather_block_sums(state *s, comm *c)
{
    const sharding *o = s->owned;
    for (size_t u = 0; u < s->p->unit_count; u++)
        gather_runs(c, o, u, s->block_sums, s->run_blocks + o->unit_runs[u], sizeof(double),
                    BYTES_NORMS);
}

/* Sums of 256-element blocks, added in their order: the same bits whoever owns them. */
void state_norm(state *s, comm *c, uint64_t items, state_report *report)
{
    const sharding *o = s->owned;
    size_t at = 0;
    for (size_t u = 0; u < s->p->unit_count; u++)
        for (size_t run = 0; run < sharding_runs(o, u); run++) {
            size_t count = sharding_first(o, u, run + 1) - sharding_first(o, u, run);
            if (count == 0 || sharding_owner(o, u, run) != o->rank) continue;
            squared_blocks(s->block_sums + s->run_blocks[o->unit_runs[u] + run],
                           s->g_sum.values + (s->g_sum.whole
                                                  ? s->p->units[u].index + sharding_first(o, u, run)
                                                  : at),
                           1.0 / (double)items, count);
            at += count;
        }
    gather_block_sums(s, c);
    double total = 0.0;
    report->bad_unit = s->p->unit_count;
    for (size_t u = 0; u < s->p->unit_count; u++) {
        double sum = 0.0;
        size_t begin = s->run_blocks[s->owned->unit_runs[u]];
        size_t end = s->run_blocks[s->owned->unit_runs[u + 1] - 1];
        for (size_t b = begin; b < end; b++) sum += s->block_sums[b];
        if (!isfinite(sum) && report->bad_unit == s->p->unit_count) report->bad_unit = u;
        total += sum;
    }
    report->grad_norm = sqrt(total);
    report->clip_factor = 1.0;
    const clip_settings *clip = &s->settings.clip;
    if (clip->scope == SCOPE_STEP && report->grad_norm > clip->norm)
        report->clip_factor = clip->norm / report->grad_norm;
}

/* What a slice's update is made of, but for its sums. */
static optimizer_update update_of(const state *s, const slice *part,
                                  float *arrays[OPTIMIZER_ARRAYS], const gradient_sums *sums,
                                  state_report *report)
{
    for (size_t a = 0; a < s->settings.row->array_count; a++)
        arrays[a] = state_at(s, s->arrays[a], part);
    return (optimizer_update){.settings = &s->settings.optimizer,
                              .decay = decay_of(s, part),
                              .lr = s->lr,
                              .clip = s->settings.clip.update,
                              .updates = s->updates,
                              .mean = state_at(s, s->mean, part),
                              .arrays = arrays,
                              .sums = sums,
                              .g_scale = s->g_scale,
                              .f_scale = s->f_scale,
                              .count = part->count,
                              .clipped = &report->clipped,
                              .rescued = &report->rescued};
}

static gradient_sums sums_of(const state *s, const slice *part)
{
    return (gradient_sums){.g = state_at(s, s->g_sum, part),
                           .f = s->f_sum.values ? state_at(s, s->f_sum, part) : NULL,
                           .index = slice_index(s->p, part)};
}

void state_update_with(state *s, const slice *part, const gradient_piece *pieces, size_t count,
                       bool empty, state_report *report)
{
    float *arrays[OPTIMIZER_ARRAYS];
    gradient_sums sums = sums_of(s, part);
    sums.empty = empty;
    sums.pieces = pieces;
    sums.piece_count = count;
    const optimizer_update u = update_of(s, part, arrays, &sums, report);
    s->settings.row->update(&u);
}

/* Of the posterior that is to be updated. */
static void statistics_make(state *s, comm *c, state_statistics *out)
{
    posterior_sums sums = {.hessian_min = INFINITY};
    state_report none = {0};
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        float *arrays[OPTIMIZER_ARRAYS];
        const gradient_sums made = sums_of(s, part);
        const optimizer_update u = update_of(s, part, arrays, &made, &none);
        s->settings.row->describe(&sums, &u);
    }
    double totals[] = {sums.sigma, sums.hessian, sums.bias};
    comm_sum_ordered(c, totals, 3);
    double min = sums.hessian_min, n = (double)s->p->count;
    MPI_Allreduce(MPI_IN_PLACE, &min, 1, MPI_DOUBLE, MPI_MIN, c->world);
    *out = (state_statistics){totals[0] / n, NAN, NAN, NAN};
    if (s->settings.row->spread == SPREAD_HESSIAN)
        *out = (state_statistics){totals[0] / n, min, totals[1] / n, totals[2] / totals[1]};
}

void state_begin_update(state *s, uint64_t items, double lr, const state_report *report)
{
    double factor = report->clip_factor;
    s->g_scale = factor / (double)items;
    s->f_scale = (s->settings.optimizer.hessian == HESSIAN_GRADSQ ? factor * factor : factor) /
                 (double)items;
    s->lr = lr;
    s->updates++;
}

void state_update(state *s, comm *c, state_report *report, state_statistics *statistics)
{
    gather(s, c, s->g_sum); /* whole only where every rank updates everything */
    gather(s, c, s->f_sum);
    if (statistics && s->settings.row->describe) statistics_make(s, c, statistics);
    const sharding *part = state_updated(s);
    for (size_t i = 0; i < part->owned_count; i++)
        state_update_with(s, &part->owned[i], NULL, 0, false, report);
    /* Where every rank updates everything, one counts. */
    if (s->settings.updates_all && c->rank > 0) report->clipped = report->rescued = 0;
}

void state_end_update(state *s, comm *c)
{
    refresh_sigma(s, state_updated(s));
    if (!s->settings.updates_all) {
        gather(s, c, s->mean);
        gather(s, c, s->sigma);
    }
}

void state_share(state *s, comm *c)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(&s->settings, s->owned->ranks, s->training, rows);
    refresh_sigma(s, s->owned);
    for (size_t i = 0; i < n; i++)
        if (rows[i].file) gather(s, c, *array_of(s, &rows[i]));
    gather(s, c, s->sigma);
}

size_t state_saved_arrays(const state *s, saved_array arrays[SAVED_ARRAYS])
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(&s->settings, 1, s->training, rows), count = 0; /* whatever the ranks */
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].file) continue;
        const state_array *array = (const void *)((const char *)s + rows[i].member);
        saved_array *out = &arrays[count++];
        *out = (saved_array){.file = rows[i].file, .values = array->values, .whole = array->whole};
        memcpy(out->prefix, rows[i].prefix, sizeof out->prefix);
    }
    return count;
}
