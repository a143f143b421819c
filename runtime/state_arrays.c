/* The list, and what it adds up to. */
#include "runtime/state_arrays.h"

#include "runtime/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void add_of(list *l, array_kind of, size_t member, const char *file, const char *prefix,
                   double (*initial)(const optimizer_settings *s))
{
    add(l, member, false, file, prefix, initial);
    l->rows[l->count - 1].of = of;
}

static void add_row(list *l, const optimizer *row, array_kind of, size_t member, bool posterior)
{
    const char *file = posterior ? "posterior.safetensors" : "optimizer.safetensors";
    for (size_t a = 0; a < row->array_count; a++)
        if (row->arrays[a].posterior == posterior)
            add_of(l, of, member + a * sizeof(state_array), file, row->arrays[a].prefix,
                   row->arrays[a].initial);
}

/* Bases are part of a posterior that is drawn in them. */
static void add_arrays(list *l, bool posterior)
{
    const runtime_settings *with = l->with;
    add_row(l, with->row, with->rest ? OF_MATRICES : OF_ALL, AT(arrays), posterior);
    if (with->rest) add_row(l, with->rest, OF_REST, AT(rest_arrays), posterior);
    if (!with->row->matrix || !with->row->matrix->bases) return;
    if (posterior == with->variational) {
        add_of(l, OF_BASES, AT(bases),
               posterior ? "posterior.safetensors" : "optimizer.safetensors", "basis.", NULL);
        l->rows[l->count - 1].identity = true; /* until they are made */
    }
    if (!posterior) add_of(l, OF_BASES, AT(factors), "optimizer.safetensors", "factor.", NULL);
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
    rows[0].shared = with->shares && training;
    add_arrays(&l, true);
    add_swag(&l);
    if (training) {
        add_arrays(&l, false);
        add(&l, AT(g_sum), false, NULL, "", NULL);
        if (with->joins) add(&l, AT(joined), false, NULL, "", NULL);
        bool all = !with->rest || with->rest->estimates;
        if (with->row->estimates) add_of(&l, all ? OF_ALL : OF_MATRICES, AT(f_sum), NULL, "", NULL);
        if (with->row->matrix && with->row->matrix->projects)
            add_of(&l, OF_MATRICES, AT(basis_sum), NULL, "", NULL);
    }
    /* Where the spread is at hand for every mean, sigma is formed when weights are drawn. */
    if (with->variational && ranks > 1 && !with->updates_all && !with->fetches)
        add(&l, AT(sigma), true, NULL, "", NULL), rows[l.count - 1].shared = rows[0].shared;
    return l.count;
}

size_t state_basis_elements(const runtime_settings *with, const tensor *t)
{
    size_t sum = 0, sides[] = {t->shape[0], t->shape[1] / t->matrices};
    for (int i = 0; i < 2; i++)
        if (optimizer_has_basis(with->row, &with->optimizer, sides[i])) sum += sides[i] * sides[i];
    return t->matrices * sum;
}

static size_t elements_of(const runtime_settings *with, const tensor *t, array_kind of)
{
    bool whole = settings_take_whole(with, t);
    if (of == OF_BASES) return whole ? state_basis_elements(with, t) : 0;
    return whole == (of == OF_MATRICES) ? t->count : 0;
}

size_t state_elements(const runtime_settings *with, const sharding *owned, array_kind of,
                      bool whole)
{
    if (of == OF_ALL) return whole ? owned->p->count : owned->elements;
    size_t sum = 0;
    for (size_t i = 0; i < owned->owned_count; i++) {
        const slice *part = &owned->owned[i];
        const tensor *t = &owned->p->tensors[part->tensor];
        size_t count = elements_of(with, t, of);
        sum += count && of == OF_REST ? part->count : count;
    }
    return sum;
}

size_t state_work_floats(const runtime_settings *with, const sharding *owned)
{
    size_t max = 0;
    for (size_t i = 0; i < owned->owned_count; i++) {
        const tensor *t = &owned->p->tensors[owned->owned[i].tensor];
        if (!settings_take_whole(with, t)) continue;
        size_t floats = optimizer_matrix_work(with->row, &with->optimizer, t->shape[0],
                                              t->shape[1] / t->matrices);
        if (floats > max) max = floats;
    }
    return max;
}

size_t state_saved_bytes(const runtime_settings *with, const sharding *owned)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(with, owned->ranks, true, rows), elements = 0;
    for (size_t i = 0; i < n; i++)
        if (rows[i].file) elements += state_elements(with, owned, rows[i].of, false);
    return elements * sizeof(float);
}

/* One tensor of a set: a matrix as its parts, a basis' side, or what is updated beside them. */
static void append(parameters *p, const tensor *t, size_t unit_number, int dimensions,
                   const size_t *shape, const char *ending, size_t number, bool numbered)
{
    tensor like = {.unit = unit_number, .dimensions = dimensions};
    memcpy(like.shape, shape, (size_t)dimensions * sizeof *shape);
    int n = snprintf(like.name, sizeof like.name, "%.40s%s", t->name, ending);
    if (numbered) snprintf(like.name + n, sizeof like.name - (size_t)n, ".%zu", number);
    parameters_append(p, &like);
}

static void append_tensor(parameters *p, const runtime_settings *with, const tensor *t,
                          size_t unit_number, array_kind of)
{
    if (of == OF_REST) {
        tensor like = *t;
        like.unit = unit_number;
        parameters_append(p, &like);
        return;
    }
    size_t rows = t->shape[0], columns = t->shape[1] / t->matrices;
    if (of == OF_MATRICES) {
        const size_t shape[] = {t->matrices, rows, columns}; /* one is not counted */
        bool several = t->matrices > 1;
        append(p, t, unit_number, several ? 3 : 2, several ? shape : shape + 1, "", 0, false);
        return;
    }
    for (size_t k = 0; k < t->matrices; k++)
        for (int side = 0; side < 2; side++) {
            const size_t shape[] = {side ? columns : rows, side ? columns : rows};
            if (optimizer_has_basis(with->row, &with->optimizer, shape[0]))
                append(p, t, unit_number, 2, shape, side ? ".right" : ".left", k, t->matrices > 1);
        }
}

static status set_open_local(array_set *set, size_t units, size_t tensors)
{
    status result = parameters_open(&set->p, units ? units : 1, tensors + 1);
    if (!result && !(set->slices = calloc(tensors + 1, sizeof *set->slices)))
        result = fail(STATUS_NOMEM, "memory for %zu tensors", tensors);
    return result;
}

/* Units stay what they were, so that checksums are of the same blocks whoever owns them. */
status array_set_open(array_set *set, const runtime_settings *with, const sharding *owned,
                      array_kind of, size_t *offset)
{
    const parameters *p = owned->p;
    size_t tensors = 0, elements = 0, mine = 0;
    *set = (array_set){0};
    for (size_t i = 0; i < p->tensor_count; i++)
        tensors += of == OF_BASES ? 2 * p->tensors[i].matrices : 1;
    status result = set_open_local(set, p->unit_count, tensors);
    if (result) {
        array_set_close(set);
        return result;
    }
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        if (!elements_of(with, t, of)) continue;
        size_t first = set->p.tensor_count;
        append_tensor(&set->p, with, t, t->unit, of);
        while (mine < owned->owned_count && owned->owned[mine].tensor < i) mine++;
        if (mine == owned->owned_count || owned->owned[mine].tensor != i) continue;
        const slice *part = &owned->owned[mine];
        if (offset) offset[i] = elements;
        for (size_t k = first; k < set->p.tensor_count; k++) {
            bool cut = of == OF_REST;
            size_t count = cut ? part->count : set->p.tensors[k].count;
            set->slices[set->count++] = (slice){
                .tensor = k, .first = cut ? part->first : 0, .count = count, .offset = elements};
            elements += count;
        }
    }
    return STATUS_OK;
}

void array_set_close(array_set *set)
{
    parameters_close(&set->p);
    free(set->slices);
    *set = (array_set){0};
}

saved_array state_row_saved(const state_row *row)
{
    saved_array saved = {.file = row->file};
    memcpy(saved.prefix, row->prefix, sizeof saved.prefix);
    return saved;
}

status array_list_open(array_list *l, const runtime_settings *with, const sharding *owned,
                       bool training)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(with, 1, training, rows); /* whatever the ranks */
    status result = STATUS_OK;
    *l = (array_list){0};
    for (int of = OF_MATRICES; !result && with->rest && of < ARRAY_SETS; of++)
        result = array_set_open(&l->sets[of], with, owned, (array_kind)of, NULL);
    if (result) array_list_close(l);
    for (size_t i = 0; !result && i < n; i++) {
        if (!rows[i].file) continue;
        size_t a = l->count++;
        l->arrays[a] = state_row_saved(&rows[i]);
        if (rows[i].of != OF_ALL) l->arrays[a].set = &l->sets[rows[i].of];
        if (rows[i].initial) l->first[a] = (float)rows[i].initial(&with->optimizer);
        l->identity[a] = rows[i].identity;
    }
    return result;
}

void array_list_close(array_list *l)
{
    for (int of = OF_MATRICES; of < ARRAY_SETS; of++) array_set_close(&l->sets[of]);
    *l = (array_list){0};
}

void array_list_first(const array_list *l, size_t array, const slice *part, float *values)
{
    for (size_t e = 0; e < part->count; e++) values[e] = l->first[array];
    if (!l->identity[array]) return;
    size_t side = l->arrays[array].set->p.tensors[part->tensor].shape[0];
    for (size_t e = 0; e < part->count; e++)
        values[e] = (part->first + e) % (side + 1) == 0 ? 1.0F : 0.0F;
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

size_t state_shared_bytes(const runtime_settings *with, const sharding *owned, bool training)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(with, owned->ranks, training, rows), bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (rows[i].shared) bytes += memory_round(owned->p->count * sizeof(float));
    return bytes;
}

size_t state_bytes(const runtime_settings *with, const sharding *owned, bool training)
{
    state_row rows[STATE_ROWS];
    size_t n = state_rows(with, owned->ranks, training, rows), bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (!rows[i].shared)
            bytes += memory_round(state_elements(with, owned, rows[i].of, rows[i].whole) *
                                  sizeof(float));
    bytes += memory_round(state_work_floats(with, owned) * sizeof(float));
    if (!training) return bytes;
    if (with->sums_locally) bytes += state_local_bytes(owned->p) * (with->row->estimates ? 2 : 1);
    return bytes + memory_round(state_block_bytes(owned));
}
