/* A posterior whose matrices are independent in bases: gradients are turned there, and steps back.
 */
#include "analysis/sensitivity_parts.h"
#include "optimizer/matrix_row.h"
#include "posterior/sensitivity.h"

#include <stdlib.h>
#include <string.h>

static bool takes_whole(const runtime_settings *with, const tensor *t)
{
    return with->variational && settings_take_whole(with, t);
}

/* Rounded, so that each begins where the arena has it. */
static size_t rounded(size_t floats)
{
    return memory_round(floats * sizeof(float)) / sizeof(float);
}

static size_t work_floats(const runtime_settings *with, const parameters *p)
{
    size_t max = 0;
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        size_t floats = takes_whole(with, t)
                            ? optimizer_matrix_work(with->row, &with->optimizer, t->shape[0],
                                                    t->shape[1] / t->matrices)
                            : 0;
        if (floats > max) max = floats;
    }
    return max;
}

size_t sensitivity_bases_floats(const runtime_settings *with, const parameters *p)
{
    size_t sum = rounded(work_floats(with, p));
    for (size_t i = 0; i < p->tensor_count; i++)
        if (takes_whole(with, &p->tensors[i]))
            sum += rounded(state_basis_elements(with, &p->tensors[i]));
    return sum;
}

static const runtime_settings *settings_of(const sensitivity *x)
{
    return &x->m.r->rounds.state.settings;
}

bool sensitivity_is_turned(const sensitivity *x, size_t tensor_number)
{
    return takes_whole(settings_of(x), &x->m.r->rounds.p.tensors[tensor_number]);
}

status sensitivity_bases_open(sensitivity *x)
{
    const parameters *p = &x->m.r->rounds.p;
    const runtime_settings *with = settings_of(x);
    size_t floats = work_floats(with, p);
    if (floats == 0) return STATUS_OK;
    x->bases = calloc(p->tensor_count, sizeof *x->bases);
    x->left = calloc(p->unit_count, sizeof *x->left);
    x->right = calloc(p->unit_count, sizeof *x->right);
    if (!x->bases || !x->left || !x->right) return fail(STATUS_NOMEM, "memory for sensitivities");
    x->work = arena_take(&x->arena, floats * sizeof *x->work);
    for (size_t i = 0; i < p->tensor_count; i++)
        if (sensitivity_is_turned(x, i))
            x->bases[i] =
                arena_take(&x->arena, state_basis_elements(with, &p->tensors[i]) * sizeof(float));
    return STATUS_OK;
}

void sensitivity_bases_close(sensitivity *x)
{
    free(x->bases);
    free(x->left);
    free(x->right);
}

/* A tensor as rows have it; its only array is that of the variances. */
static optimizer_matrix matrix_of(const sensitivity *x, size_t i, float **arrays)
{
    const tensor *t = &x->m.r->rounds.p.tensors[i];
    memset(arrays, 0, OPTIMIZER_ARRAYS * sizeof *arrays);
    arrays[0] = sensitivity_variances(x, i);
    return (optimizer_matrix){.settings = &settings_of(x)->optimizer,
                              .rows = t->shape[0],
                              .columns = t->shape[1] / t->matrices,
                              .parts = t->matrices,
                              .arrays = arrays,
                              .bases = x->bases[i],
                              .work = x->work};
}

void sensitivity_gather_bases(sensitivity *x)
{
    const state *s = &x->m.r->rounds.state;
    const sharding *owned = &x->m.r->rounds.owned;
    const parameters *p = owned->p;
    comm *c = x->m.r->rounds.c;
    for (size_t i = 0; x->work && i < p->tensor_count; i++) {
        size_t count =
            sensitivity_is_turned(x, i) ? state_basis_elements(&s->settings, &p->tensors[i]) : 0;
        if (count == 0) continue;
        int owner = 0;
        for (size_t k = 0; k < owned->owned_count; k++)
            if (owned->owned[k].tensor == i) {
                memcpy(x->bases[i], state_at(s, s->bases, &owned->owned[k]), count * sizeof(float));
                owner = c->rank;
            }
        MPI_Allreduce(MPI_IN_PLACE, &owner, 1, MPI_INT, MPI_MAX, c->world);
        comm_broadcast(c, x->bases[i], count * sizeof(float), owner);
        float *arrays[OPTIMIZER_ARRAYS];
        const optimizer_matrix m = matrix_of(x, i, arrays);
        const matrix_part part = matrix_row_part(&m, 0);
        x->left[p->tensors[i].unit] = part.basis.left;
        x->right[p->tensors[i].unit] = part.basis.right;
    }
}

/* part->y: a gradient in the basis. */
static void turn(const matrix_part *part, const float *gradient)
{
    matrix_load(part->x, gradient + part->first, DTYPE_F32, 1.0F, &part->place);
    basis_project(part->y, part->x, &part->basis, part->work);
}

double sensitivity_quadratic(const sensitivity *x, size_t i, const float *gradient)
{
    float *arrays[OPTIMIZER_ARRAYS];
    double form = 0.0;
    if (!sensitivity_is_turned(x, i))
        return sensitivity_form(x->blocks, gradient, sensitivity_variances(x, i),
                                x->m.r->rounds.p.tensors[i].count);
    const optimizer_matrix m = matrix_of(x, i, arrays);
    for (size_t k = 0; k < m.parts; k++) {
        const matrix_part part = matrix_row_part(&m, k);
        turn(&part, gradient);
        form += sensitivity_form(x->blocks, part.y, part.arrays[0], part.count);
    }
    return form;
}

void sensitivity_move(const sensitivity *x, size_t i, float *to, const float *gradient)
{
    float *arrays[OPTIMIZER_ARRAYS];
    const optimizer_matrix m = matrix_of(x, i, arrays);
    for (size_t k = 0; k < m.parts; k++) {
        const matrix_part part = matrix_row_part(&m, k);
        turn(&part, gradient);
        for (size_t e = 0; e < part.count; e++) part.y[e] *= part.arrays[0][e];
        basis_unproject(part.x, part.y, &part.basis, part.work);
        matrix_move(to + part.first, part.x, -1.0, 0.0, &part.place);
    }
}
