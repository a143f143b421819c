/* Parts of tensors, and what is done to each alike. */
#include "optimizer/matrix_row.h"

#include "kernels/gemm_here.h"

#include <math.h>
#include <string.h>

/* Bases and factors lie part after part, left before right. */
static basis part_basis(const optimizer_matrix *m, size_t part)
{
    const optimizer_settings *s = m->settings;
    bool left = m->bases && m->rows <= s->basis_limit;
    bool right = m->bases && m->columns <= s->basis_limit;
    size_t first = left ? m->rows * m->rows : 0, second = right ? m->columns * m->columns : 0;
    size_t at = part * (first + second);
    return (basis){.rows = m->rows,
                   .columns = m->columns,
                   .type = s->products,
                   .left = left ? m->bases + at : NULL,
                   .right = right ? m->bases + at + first : NULL,
                   .left_factor = left && m->factors ? m->factors + at : NULL,
                   .right_factor = right && m->factors ? m->factors + at + first : NULL};
}

matrix_part matrix_row_part(const optimizer_matrix *m, size_t part)
{
    size_t count = m->rows * m->columns, at = part * count;
    matrix_part x = {.place = {.rows = m->rows,
                               .columns = m->columns,
                               .stride = m->parts * m->columns,
                               .index = m->index + part * m->columns},
                     .first = part * m->columns,
                     .count = count,
                     .basis = part_basis(m, part),
                     .g_sum = m->g_sum ? m->g_sum + at : NULL,
                     .basis_sum = m->basis_sum ? m->basis_sum + at : NULL,
                     .f_sum = m->f_sum ? m->f_sum + at : NULL,
                     .x = m->work,
                     .y = m->work + count,
                     .work = m->work + 2 * count};
    for (size_t a = 0; a < OPTIMIZER_ARRAYS && m->arrays[a]; a++) x.arrays[a] = m->arrays[a] + at;
    return x;
}

/* Before the bases of a run are made nothing is known of its items in them. */
void matrix_row_accumulate(const optimizer_matrix *m, const gradient_piece *piece, bool first)
{
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        size_t bytes = piece->type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
        matrix_load(part.x, (const char *)piece->values + part.first * bytes, piece->type,
                    piece->scale, &part.place);
        matrix_accumulate(part.g_sum, NULL, first, part.x, &part.place, piece->key);
        if (!part.basis_sum || m->updates == 0) continue;
        basis_project(part.y, part.x, &part.basis, part.work);
        matrix_accumulate(part.basis_sum, part.f_sum, first, part.y, &part.place, piece->key);
    }
}

/* Weights are (in, out): rows go in. */
static double adjusted(const optimizer_matrix *m)
{
    double in = (double)m->rows, out = (double)m->columns;
    switch (m->settings->adjust_lr) {
    case ADJUST_ORIGINAL: return sqrt(fmax(1.0, out / in));
    case ADJUST_MATCH_RMS_ADAMW: return 0.2 * sqrt(fmax(in, out));
    case ADJUST_NONE: break;
    }
    return 1.0;
}

void matrix_row_move(const optimizer_matrix *m, const matrix_part *part, const float *u,
                     bool whitens, double shrink)
{
    basis_unproject(part->y, u, &part->basis, part->work);
    if (whitens) whiten(part->y, m->rows, m->columns, m->settings->products, part->work);
    double lr = whitens ? m->lr * adjusted(m) : m->lr;
    matrix_move(m->mean + part->first, part->y, lr, shrink, &part->place);
}

static const float *squares(float *out, const float *x, size_t side)
{
    if (!x) return NULL;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < side * side; i++) out[i] = x[i] * x[i];
    return out;
}

/* What independent deviations, or a diagonal, have for diagonal on the other side of the bases:
 * with squares S = Q o Q, S_L x S_R', or into the bases S_L' x S_R. Uses y and work.
 * @param x  (rows, columns) contiguous, kept */
static const float *mix(const matrix_part *part, const float *x, bool into)
{
    size_t a = part->place.rows, b = part->place.columns;
    float *between = part->work, *left = between + part->count;
    const basis *q = &part->basis;
    const float *left_squares = squares(left, q->left, a);
    const float *right_squares = squares(left + (q->left ? a * a : 0), q->right, b);
    const float *mixed = x;
    if (left_squares) {
        gemm_here(a, b, a, left_squares, a, into, mixed, b, false, between, b, DTYPE_F32, DTYPE_F32,
                  NULL, false);
        mixed = between;
    }
    if (right_squares) {
        gemm_here(a, b, b, mixed, b, false, right_squares, b, !into, part->y, b, DTYPE_F32,
                  DTYPE_F32, NULL, false);
        mixed = part->y;
    }
    return mixed;
}

static bool is_constant(const float *x, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (!(x[i] == x[0])) return false;
    return true;
}

void matrix_row_follow(const optimizer_matrix *m, const matrix_part *part, float *momentum,
                       float *directional)
{
    const optimizer_settings *s = m->settings;
    if (!part->basis.left && !part->basis.right) return;
    basis_follow(&part->basis, part->g_sum, m->g_scale, s->basis_beta, part->work);
    if (m->updates == 1) {
        if (basis_begin(&part->basis, part->work) && !is_constant(directional, part->count))
            memcpy(directional, mix(part, directional, true), part->count * sizeof *directional);
    } else if ((m->updates - 1) % s->basis_every == 0) {
        basis_turn(&part->basis, momentum, directional, part->work);
    }
}

void matrix_row_spread(float *sigma, const optimizer_matrix *m, const matrix_part *part)
{
    size_t a = m->rows, b = m->columns, stride = part->place.stride;
    float *x = part->x, *out = sigma + part->first;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < part->count; i++) x[i] *= x[i];
    const float *mixed = mix(part, x, false);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < a; r++)
        for (size_t c = 0; c < b; c++) out[r * stride + c] = sqrtf(mixed[r * b + c]);
}

void matrix_row_diagonal(float *h, const optimizer_matrix *m)
{
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        const float *mixed = mix(&part, part.arrays[0], false);
        for (size_t r = 0; r < m->rows; r++)
            memcpy(h + part.first + r * part.place.stride, mixed + r * m->columns,
                   m->columns * sizeof *h);
    }
}
