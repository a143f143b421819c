/* The stages differ here only in which arrays are whole. Whole arrays are addressed by the logical
 * index, owned ones by the slice's packed offset; `all` makes the two the same thing. */
#include "runtime/state.h"

#include "kernels/dense_float.h"
#include "optimizer/basis.h"
#include "runtime/agree.h"
#include "runtime/gather.h"

#include <math.h>
#include <omp.h>
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
    for (size_t i = 0; i < n; i++) {
        size_t elements = state_elements(&s->settings, s->owned, rows[i].of, rows[i].whole);
        if (rows[i].shared) continue;
        *array_of(s, &rows[i]) =
            (state_array){.values = arena_take(&s->arena, elements * sizeof(float)),
                          .whole = rows[i].whole,
                          .of = rows[i].of};
    }
    s->work = arena_take(&s->arena, state_work_floats(&s->settings, s->owned) * sizeof(float));
    if (!s->training) return;
    if (s->settings.sums_locally) {
        s->local_g = arena_take(&s->arena, state_local_bytes(s->p));
        if (s->settings.row->estimates) s->local_f = arena_take(&s->arena, state_local_bytes(s->p));
    }
    s->block_sums = arena_take(&s->arena, state_block_bytes(s->owned));
}

/* The first element of a tensor that this rank owns: of each one slice. */
static size_t first_of(const state *s, size_t number)
{
    for (size_t i = 0; i < s->owned->owned_count; i++)
        if (s->owned->owned[i].tensor == number) return s->owned->owned[i].first;
    return 0;
}

float *state_at(const state *s, state_array array, const slice *part)
{
    if (array.whole) return array.values + slice_index(s->p, part);
    if (array.of == OF_ALL) return array.values + part->offset;
    return array.values + s->set_offset[array.of][part->tensor] +
           (array.of == OF_REST ? part->first - first_of(s, part->tensor) : 0);
}

/* What is done to a tensor that is taken whole, from its owner's slice of it.
 * @param arrays  [OPTIMIZER_ARRAYS] filled */
static optimizer_matrix matrix_of(const state *s, const slice *part, float **arrays,
                                  state_report *report)
{
    const tensor *t = &s->p->tensors[part->tensor];
    const optimizer *row = s->settings.row;
    for (size_t a = 0; a < OPTIMIZER_ARRAYS; a++)
        arrays[a] =
            a < row->array_count && s->arrays[a].values ? state_at(s, s->arrays[a], part) : NULL;
    return (optimizer_matrix){.settings = &s->settings.optimizer,
                              .rows = t->shape[0],
                              .columns = t->shape[1] / t->matrices,
                              .parts = t->matrices,
                              .index = t->index,
                              .decay = settings_decay(&s->settings, t),
                              .lr = s->lr,
                              .updates = s->updates,
                              .g_scale = s->g_scale,
                              .f_scale = s->f_scale,
                              .mean = state_at(s, s->mean, part),
                              .arrays = arrays,
                              .bases = s->bases.values ? state_at(s, s->bases, part) : NULL,
                              .factors = s->factors.values ? state_at(s, s->factors, part) : NULL,
                              .g_sum = s->g_sum.values ? state_at(s, s->g_sum, part) : NULL,
                              .basis_sum =
                                  s->basis_sum.values ? state_at(s, s->basis_sum, part) : NULL,
                              .f_sum = s->f_sum.values ? state_at(s, s->f_sum, part) : NULL,
                              .work = s->work,
                              .clipped = report ? &report->clipped : NULL,
                              .rescued = report ? &report->rescued : NULL};
}

static bool is_taken_whole(const state *s, const slice *part)
{
    return settings_take_whole(&s->settings, &s->p->tensors[part->tensor]);
}

/* The array that a slice's deviations are formed from, and its row; NULL: there is a point alone.
 */
static const float *spread_of(const state *s, const slice *part, const optimizer **row)
{
    const tensor *t = &s->p->tensors[part->tensor];
    *row = settings_row(&s->settings, t);
    if (!optimizer_is_variational(*row)) return NULL;
    return state_at(s, *row == s->settings.row ? s->arrays[0] : s->rest_arrays[0], part);
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

static const optimizer_settings *optimizer_of(const state *s, const slice *part)
{
    return settings_optimizer(&s->settings, &s->p->tensors[part->tensor]);
}

void state_sigma(const state *s, const slice *part, float *sigma)
{
    const optimizer *row;
    const float *spread = spread_of(s, part, &row);
    if (!spread)
        memset(sigma, 0, part->count * sizeof *sigma);
    else if (is_taken_whole(s, part)) {
        float *arrays[OPTIMIZER_ARRAYS];
        const optimizer_matrix m = matrix_of(s, part, arrays, NULL);
        row->matrix->sigma(&m, sigma);
    } else {
        optimizer_sigma(row, sigma, spread, optimizer_of(s, part), decay_of(s, part), part->count);
    }
}

void state_directions(const state *s, const slice *part, float *sigma, const float **bases)
{
    const optimizer *row;
    const float *spread = spread_of(s, part, &row);
    optimizer_sigma(row, sigma, spread, optimizer_of(s, part), decay_of(s, part), part->count);
    *bases = state_at(s, s->bases, part);
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
    const float *mean = state_at(s, s->mean, part), *spread;
    const optimizer *row;
    uint64_t index = slice_index(s->p, part);
    if (s->posterior)
        s->posterior->sample(s->posterior, s, part, key, theta, type);
    else if (s->settings.swag.start > 0)
        sample_snapshots(s, part, key, theta, type);
    else if (s->sigma.values)
        sample_weights(theta, type, mean, state_at(s, s->sigma, part), key, index, part->count);
    else if (!(spread = spread_of(s, part, &row)))
        sample_weights(theta, type, mean, NULL, key, index, part->count);
    else if (is_taken_whole(s, part)) {
        float *arrays[OPTIMIZER_ARRAYS];
        const optimizer_matrix m = matrix_of(s, part, arrays, NULL);
        row->matrix->sample(&m, theta, type, key);
    } else {
        optimizer_sample(row, theta, type, mean, spread, optimizer_of(s, part), decay_of(s, part),
                         key, index, part->count);
    }
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
    size_t count = state_elements(&s->settings, s->owned, array.of, array.whole);
    float rounded = (float)value;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) array.values[i] = rounded;
}

/* Matrices are drawn as they are until their bases are made. */
static void set_first_bases(state *s)
{
    const array_set *set = &s->sets[OF_BASES];
    for (size_t i = 0; s->bases.values && i < set->count; i++) {
        size_t side = set->p.tensors[set->slices[i].tensor].shape[0];
        float *q = s->bases.values + set->slices[i].offset;
        for (size_t k = 0; k < side; k++) q[k * (side + 1)] = 1.0F;
    }
}

static status open_sets(state *s)
{
    status result = STATUS_OK;
    for (int of = OF_MATRICES; !result && s->settings.rest && of < ARRAY_SETS; of++) {
        s->set_offset[of] = calloc(s->p->tensor_count, sizeof *s->set_offset[of]);
        if (!s->set_offset[of])
            return fail(STATUS_NOMEM, "memory for %zu tensors", s->p->tensor_count);
        result =
            array_set_open(&s->sets[of], &s->settings, s->owned, (array_kind)of, s->set_offset[of]);
    }
    if (!result && s->settings.row->matrix && s->settings.row->matrix->bases)
        result = dense_float_open(omp_get_max_threads());
    return result;
}

static void set_initial_mean(state *s, const sharding *part)
{
    for (size_t i = 0; s->mean.values && i < part->owned_count; i++) {
        const slice *piece = &part->owned[i];
        const tensor *t = &s->p->tensors[piece->tensor];
        initial_weights(state_at(s, s->mean, piece), t->init_mean, t->init_deviation,
                        s->settings.seed, slice_index(s->p, piece), piece->count);
    }
}

static void set_initial(state *s)
{
    set_initial_mean(s, mean_slices(s));
    state_row rows[STATE_ROWS];
    size_t n = state_rows(&s->settings, s->owned->ranks, s->training, rows);
    for (size_t i = 0; i < n; i++)
        if (rows[i].initial)
            fill(s, *array_of(s, &rows[i]), rows[i].initial(&s->settings.optimizer));
    set_first_bases(s);
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
    if (!result) result = open_sets(s);
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

status state_open_shared(state *s, comm *c)
{
    state_row rows[STATE_ROWS];
    size_t bytes = state_shared_bytes(&s->settings, s->owned, s->training), at = 0;
    if (bytes == 0) return STATUS_OK;
    status result = agree(c->world, node_memory_open(&s->node, &c->nodes, bytes));
    if (result) return result;
    size_t n = state_rows(&s->settings, s->owned->ranks, s->training, rows);
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].shared) continue;
        float *values = (float *)(void *)((char *)node_memory_at(&s->node) + at);
        *array_of(s, &rows[i]) = (state_array){values, true, rows[i].of, true};
        at += memory_round(s->p->count * sizeof(float));
    }
    set_initial_mean(s, s->owned);
    return STATUS_OK;
}

void state_close(state *s)
{
    node_memory_close(&s->node);
    arena_close(&s->arena);
    for (int of = OF_MATRICES; of < ARRAY_SETS; of++) {
        array_set_close(&s->sets[of]);
        free(s->set_offset[of]);
    }
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
    if (array.shared) {
        gather_nodes(c, s->owned, array.values, BYTES_PARAMETERS);
        return;
    }
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
double state_squared_norm(state *s, comm *c, state_array array, double scale, size_t *bad_unit)
{
    const sharding *o = s->owned;
    size_t at = 0;
    for (size_t u = 0; u < s->p->unit_count; u++)
        for (size_t run = 0; run < sharding_runs(o, u); run++) {
            size_t count = sharding_first(o, u, run + 1) - sharding_first(o, u, run);
            if (count == 0 || sharding_owner(o, u, run) != o->rank) continue;
            squared_blocks(s->block_sums + s->run_blocks[o->unit_runs[u] + run],
                           array.values + (array.whole
                                               ? s->p->units[u].index + sharding_first(o, u, run)
                                               : at),
                           scale, count);
            at += count;
        }
    gather_block_sums(s, c);
    double total = 0.0;
    *bad_unit = s->p->unit_count;
    for (size_t u = 0; u < s->p->unit_count; u++) {
        double sum = 0.0;
        size_t begin = s->run_blocks[s->owned->unit_runs[u]];
        size_t end = s->run_blocks[s->owned->unit_runs[u + 1] - 1];
        for (size_t b = begin; b < end; b++) sum += s->block_sums[b];
        if (!isfinite(sum) && *bad_unit == s->p->unit_count) *bad_unit = u;
        total += sum;
    }
    return total;
}

void state_norm(state *s, comm *c, uint64_t items, state_report *report)
{
    report->grad_norm =
        sqrt(state_squared_norm(s, c, s->g_sum, 1.0 / (double)items, &report->bad_unit));
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
    const optimizer *row = settings_row(&s->settings, &s->p->tensors[part->tensor]);
    bool rest = row == s->settings.rest;
    for (size_t a = 0; a < row->array_count; a++)
        arrays[a] = state_at(s, rest ? s->rest_arrays[a] : s->arrays[a], part);
    return (optimizer_update){.settings = optimizer_of(s, part),
                              .decay = decay_of(s, part),
                              .lr = s->lr * (rest ? s->settings.rest_rate : 1.0),
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

/* NULL where the row that updates the slice has no such sum. */
static float *f_sum_of(const state *s, const slice *part)
{
    const optimizer *row = settings_row(&s->settings, &s->p->tensors[part->tensor]);
    return s->f_sum.values && row->estimates ? state_at(s, s->f_sum, part) : NULL;
}

void state_accumulate(state *s, const slice *part, const gradient_piece *piece, bool first)
{
    if (is_taken_whole(s, part)) {
        float *arrays[OPTIMIZER_ARRAYS];
        const optimizer_matrix m = matrix_of(s, part, arrays, NULL);
        s->settings.row->matrix->accumulate(&m, piece, first);
        return;
    }
    accumulate_piece(state_at(s, s->g_sum, part), f_sum_of(s, part), first, piece,
                     s->settings.optimizer.hessian, slice_index(s->p, part), part->count);
}

static gradient_sums sums_of(const state *s, const slice *part)
{
    return (gradient_sums){
        .g = state_at(s, s->g_sum, part), .f = f_sum_of(s, part), .index = slice_index(s->p, part)};
}

void state_update_with(state *s, const slice *part, const gradient_piece *pieces, size_t count,
                       bool empty, state_report *report)
{
    float *arrays[OPTIMIZER_ARRAYS];
    if (is_taken_whole(s, part)) {
        const optimizer_matrix m = matrix_of(s, part, arrays, report);
        s->settings.row->matrix->update(&m);
        return;
    }
    gradient_sums sums = sums_of(s, part);
    sums.empty = empty;
    sums.pieces = pieces;
    sums.piece_count = count;
    const optimizer_update u = update_of(s, part, arrays, &sums, report);
    settings_row(&s->settings, &s->p->tensors[part->tensor])->update(&u);
}

/* Of the posterior that is to be updated. */
static void statistics_make(state *s, comm *c, state_statistics *out)
{
    posterior_sums sums = {.hessian_min = INFINITY};
    state_report none = {0};
    double elements = 0.0;
    for (size_t i = 0; i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        const optimizer *row = settings_row(&s->settings, &s->p->tensors[part->tensor]);
        float *arrays[OPTIMIZER_ARRAYS];
        if (!optimizer_is_variational(row)) continue;
        elements += (double)part->count;
        if (is_taken_whole(s, part)) {
            const optimizer_matrix m = matrix_of(s, part, arrays, &none);
            row->matrix->describe(&sums, &m);
            continue;
        }
        const gradient_sums made = sums_of(s, part);
        const optimizer_update u = update_of(s, part, arrays, &made, &none);
        row->describe(&sums, &u);
    }
    double totals[] = {sums.sigma, sums.hessian, sums.bias, elements};
    comm_sum_ordered(c, totals, 4);
    double min = sums.hessian_min, n = totals[3];
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
    if (statistics && s->settings.variational) statistics_make(s, c, statistics);
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

static status check_bases(const state *s, const char *path)
{
    const array_set *set = &s->sets[OF_BASES];
    for (size_t i = 0; s->bases.values && i < set->count; i++) {
        const tensor *t = &set->p.tensors[set->slices[i].tensor];
        if (!basis_is_orthonormal(s->bases.values + set->slices[i].offset, t->shape[0], s->work))
            return fail(STATUS_INPUT,
                        "%s: tensor 'basis.%s' is no basis: orthonormal columns expected", path,
                        t->name);
    }
    return STATUS_OK;
}

status state_check_bases(const state *s, comm *c, const char *path)
{
    return agree(c->world, check_bases(s, path));
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
        *out = state_row_saved(&rows[i]);
        out->values = array->values;
        out->whole = array->whole;
        if (rows[i].of != OF_ALL) out->set = &s->sets[rows[i].of];
    }
    return count;
}
