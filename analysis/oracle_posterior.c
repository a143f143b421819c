/* Owners write what they have where all other ranks have zeros, and sums do the rest. */
#include "analysis/oracle_posterior.h"

#include "analysis/oracle_parts.h"
#include "base/memory.h"
#include "runtime/agree.h"

#include <stdlib.h>
#include <string.h>

/* Elements of a tensor's bases, 0: its posterior has none, or nothing of it is unknown. */
static size_t basis_elements(const jacobian *x, const trainer *r, size_t number)
{
    const runtime_settings *with = &r->rounds.state.settings;
    const tensor *t = &r->rounds.p.tensors[number];
    bool turned = with->variational && settings_take_whole(with, t);
    return turned && jacobian_start(x, number) != SIZE_MAX ? state_basis_elements(with, t) : 0;
}

const char *oracle_posterior_point(const jacobian *x, const trainer *r)
{
    for (size_t i = 0; i < r->rounds.p.tensor_count; i++) {
        const tensor *t = &r->rounds.p.tensors[i];
        bool drawn = optimizer_is_variational(settings_row(&r->rounds.state.settings, t));
        if (!drawn && jacobian_start(x, i) != SIZE_MAX) return t->name;
    }
    return NULL;
}

static size_t all_elements(const jacobian *x, const trainer *r)
{
    size_t sum = 0;
    for (size_t i = 0; i < r->rounds.p.tensor_count; i++) sum += basis_elements(x, r, i);
    return sum;
}

size_t oracle_posterior_bytes(const jacobian *x, const trainer *r)
{
    return all_elements(x, r) * sizeof(double);
}

static void add_blocks(oracle_posterior *q, const trainer *r, const tensor *t, size_t first,
                       const double *bases)
{
    const runtime_settings *with = &r->rounds.state.settings;
    size_t rows = t->shape[0], stride = t->shape[1], columns = stride / t->matrices;
    bool left = optimizer_has_basis(with->row, &with->optimizer, rows);
    bool right = optimizer_has_basis(with->row, &with->optimizer, columns);
    for (size_t k = 0; k < t->matrices; k++) {
        const double *between = bases + (left ? rows * rows : 0);
        q->blocks[q->block_count++] = (oracle_block){.first = first + k * columns,
                                                     .rows = rows,
                                                     .columns = columns,
                                                     .stride = stride,
                                                     .left = left ? bases : NULL,
                                                     .right = right ? between : NULL};
        bases = between + (right ? columns * columns : 0);
    }
}

/* What this rank owns of directions. */
static void take_directions(oracle_posterior *q, const jacobian *x, const trainer *r, float *sigma)
{
    double *bases = q->bases;
    const sharding *owned = &r->rounds.owned;
    size_t at = 0;
    for (size_t number = 0; number < r->rounds.p.tensor_count; number++) {
        const tensor *t = &r->rounds.p.tensors[number];
        size_t elements = basis_elements(x, r, number), first = jacobian_start(x, number);
        size_t columns = t->matrices ? t->shape[1] / t->matrices : 0;
        const float *here;
        while (at < owned->owned_count && owned->owned[at].tensor < number) at++;
        if (elements == 0) continue;
        add_blocks(q, r, t, first, bases);
        memset(q->spread + first, 0, t->count * sizeof *q->spread);
        if (at < owned->owned_count && owned->owned[at].tensor == number) {
            state_directions(&r->rounds.state, &owned->owned[at], sigma, &here);
            for (size_t e = 0; e < elements; e++) bases[e] = (double)here[e];
            for (size_t e = 0; e < t->count; e++) { /* part after part */
                size_t part = e / (t->shape[0] * columns), row = e / columns % t->shape[0];
                q->spread[first + row * t->shape[1] + part * columns + e % columns] =
                    (double)sigma[e];
            }
        }
        comm_sum_ordered(r->rounds.c, q->spread + first, t->count);
        bases += elements;
    }
    comm_sum_ordered(r->rounds.c, q->bases, (size_t)(bases - q->bases));
}

static status open_local(oracle_posterior *q, const jacobian *x, const trainer *r, float **sigma)
{
    size_t blocks = 0;
    for (size_t i = 0; i < r->rounds.p.tensor_count; i++)
        if (basis_elements(x, r, i)) blocks += r->rounds.p.tensors[i].matrices;
    status result = oracle_take(&q->sigma, q->unknowns, 1);
    if (!result) result = oracle_take(&q->spread, q->unknowns, 1);
    if (!result) result = oracle_take(&q->work, q->unknowns, 1);
    if (!result) result = oracle_take(&q->bases, all_elements(x, r), 1);
    q->blocks = calloc(blocks + 1, sizeof *q->blocks);
    *sigma = calloc(q->unknowns + 1, sizeof **sigma);
    if (!result && !(q->blocks && *sigma))
        result = fail(STATUS_NOMEM, "memory for deviations of %zu unknowns", q->unknowns);
    return result;
}

status oracle_posterior_open(oracle_posterior *q, const jacobian *x, const trainer *r)
{
    float *sigma = NULL;
    *q = (oracle_posterior){.unknowns = jacobian_unknowns(x)};
    status result = agree(r->rounds.c->world, open_local(q, x, r, &sigma));
    if (!result) {
        jacobian_deviations(x, q->sigma);
        memcpy(q->spread, q->sigma, q->unknowns * sizeof *q->spread);
        take_directions(q, x, r, sigma);
    }
    free(sigma);
    return result;
}

void oracle_posterior_close(oracle_posterior *q)
{
    free(q->sigma);
    free(q->spread);
    free(q->blocks);
    free(q->bases);
    free(q->work);
    *q = (oracle_posterior){0};
}

const oracle_block *oracle_posterior_block(const oracle_posterior *q, size_t unknown)
{
    for (size_t i = 0; i < q->block_count; i++) {
        const oracle_block *b = &q->blocks[i];
        if (unknown < b->first || (unknown - b->first) / b->stride >= b->rows) continue;
        if ((unknown - b->first) % b->stride < b->columns) return b;
    }
    return NULL;
}

/* Element i of column k of a side's basis. */
static double element(const double *q, size_t side, size_t i, size_t k)
{
    return q ? q[i * side + k] : i == k ? 1.0 : 0.0;
}

void oracle_posterior_direction(const oracle_posterior *q, const oracle_block *block,
                                size_t unknown, double *out)
{
    const oracle_block b = *block;
    size_t k = (unknown - b.first) / b.stride, l = (unknown - b.first) % b.stride;
    memset(out, 0, q->unknowns * sizeof *out);
    for (size_t r = 0; r < b.rows; r++)
        for (size_t c = 0; c < b.columns; c++)
            out[b.first + r * b.stride + c] =
                element(b.left, b.rows, r, k) * element(b.right, b.columns, c, l);
}

/* Q_L' x Q_R, a side at a time; back: Q_L x Q_R'. */
static void turn(const oracle_block *block, double *values, double *work, bool back)
{
    const oracle_block b = *block;
    double *x = values + b.first;
    memset(work, 0, b.rows * b.columns * sizeof *work);
    for (size_t r = 0; r < b.rows; r++)
        for (size_t k = b.left ? 0 : r; k < (b.left ? b.rows : r + 1); k++) {
            double q = back ? element(b.left, b.rows, k, r) : element(b.left, b.rows, r, k);
            for (size_t c = 0; c < b.columns; c++)
                work[k * b.columns + c] += q * x[r * b.stride + c];
        }
    for (size_t k = 0; k < b.rows; k++) {
        const double *from = work + k * b.columns;
        double *to = x + k * b.stride;
        for (size_t l = 0; l < b.columns; l++) to[l] = b.right ? 0.0 : from[l];
        for (size_t c = 0; b.right && c < b.columns; c++)
            for (size_t l = 0; l < b.columns; l++)
                to[l] += from[c] * b.right[back ? l * b.columns + c : c * b.columns + l];
    }
}

void oracle_posterior_draw(const oracle_posterior *q, double *z)
{
    for (size_t i = 0; i < q->unknowns; i++) z[i] *= q->spread[i];
    for (size_t i = 0; i < q->block_count; i++) turn(&q->blocks[i], z, q->work, true);
}

void oracle_posterior_project(const oracle_posterior *q, double *row)
{
    for (size_t i = 0; i < q->block_count; i++) turn(&q->blocks[i], row, q->work, false);
    for (size_t i = 0; i < q->unknowns; i++) row[i] *= q->spread[i];
}
