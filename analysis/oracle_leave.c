/* Leaving examples out. With X_i the rows sqrt(lambda/N) H^(1/2) J of example i, M_i = 1 - X_i
 * Lambda^-1 X_i' says how much of it the other examples know; either matrix has it. */
#include "analysis/oracle.h"
#include "analysis/oracle_parts.h"
#include "base/memory.h"
#include "posterior/small.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns of what is found of an example. */
enum { LOSS, LOO_LOSS, MOVED, COLUMNS };

typedef struct {
    oracle *o;
    exact_matrix *rows, *gram; /* (unknowns with a prior, cells); (cells, cells) */
    size_t cells;              /* examples x outputs */
    size_t flat;               /* unknowns without a prior */
    double *left;              /* (examples, outputs, outputs) M_i */
    double *flat_rows;         /* (flat, cells) of X */
    double *step;              /* mode - start */
    double *p, *errors, *f, *scratch;
    size_t examples;
    double *found; /* (COLUMNS, examples), of this rank's examples */
} leaving;

/* The mode of the others, from a Newton step: f + J (mode' - mode). With u = R^-1 e and q =
 * (M^-1 - 1) u that is f_c + q_c / r_c, where R of classes is (1 - p 1') diag(sqrt p) and u =
 * -e_y / sqrt(p_y), of values s. Adding a number to all outputs of classes changes nothing. */
static void move_outputs(leaving *w, const jacobian_rows *b, size_t s, double *f, double *matrix)
{
    const oracle *o = w->o;
    size_t C = o->outputs;
    double q[C], u[C], deviation = sqrt(o->r->config.mlp.noise_variance);
    for (size_t c = 0; c < C; c++) {
        bool own = o->classes && c == b->targets[s];
        u[c] = o->classes ? (own ? -1.0 / sqrt(fmax(w->p[c], 1e-300)) : 0.0)
                          : w->errors[c] * deviation;
        q[c] = u[c];
    }
    small_solve(matrix, q, C);
    for (size_t c = 0; c < C; c++) {
        double way = q[c] - u[c];
        f[c] += o->classes ? way / sqrt(fmax(w->p[c], 1e-300)) : way * deviation;
    }
}

static void leave(leaving *w, const jacobian_rows *b, size_t s)
{
    const oracle *o = w->o;
    size_t C = o->outputs;
    uint64_t example = b->first + s;
    double f[C], p[C], moved = 0.0, errors[C];
    memcpy(f, w->f + s * C, sizeof f);
    memcpy(w->p, f, sizeof f);
    double loss = oracle_loss(o, b, s, w->p, w->errors);
    move_outputs(w, b, s, f, w->left + example * C * C);
    memcpy(p, f, sizeof p);
    double left = oracle_loss(o, b, s, p, errors);
    for (size_t c = 0; c < C; c++)
        moved += fabs(o->classes ? p[c] - w->p[c] : f[c] - w->f[s * C + c]);
    w->found[LOSS * w->examples + example] = loss;
    w->found[LOO_LOSS * w->examples + example] = left;
    w->found[MOVED * w->examples + example] = moved;
}

/* What a pass does with a round's rows. */
typedef status leaving_visit(leaving *w, jacobian_rows *b, uint64_t round);

static status go_through(leaving *w, leaving_visit *visit)
{
    oracle *o = w->o;
    uint64_t round_count = jacobian_rounds(o->x, dataset_count(o->data));
    status result = STATUS_OK;
    for (uint64_t round = 0; !result && round < round_count; round++) {
        jacobian_rows b;
        result = jacobian_round(o->x, o->data, round, &b);
        if (!result) {
            oracle_outputs(o, &b, w->step, w->f);
            result = visit(w, &b, round);
        }
    }
    return result;
}

/* X of a round in place of J. The example that training never saw has none. */
static void weigh(leaving *w, jacobian_rows *b)
{
    const oracle *o = w->o;
    size_t C = o->outputs, n = o->unknowns;
    for (size_t s = 0; s < b->examples; s++) {
        memcpy(w->p, w->f + s * C, C * sizeof *w->p);
        oracle_loss(o, b, s, w->p, w->errors);
        oracle_weigh(o, w->p, b->rows + s * C * n, w->scratch);
        if (dataset_left_out(o->data, b->first + s))
            memset(b->rows + s * C * n, 0, C * n * sizeof *b->rows);
    }
}

static status leave_round(leaving *w, jacobian_rows *b, uint64_t round)
{
    (void)round;
    for (size_t s = 0; s < b->examples; s++) leave(w, b, s);
    return STATUS_OK;
}

static status solve_round(leaving *w, jacobian_rows *b, uint64_t round)
{
    const oracle *o = w->o;
    size_t C = o->outputs;
    (void)round;
    weigh(w, b);
    double *blocks = w->left + (b->examples ? b->first * C * C : 0);
    status result = exact_covariances(o->factor, b->rows, oracle_cells(o, b), C, blocks);
    for (size_t i = 0; !result && i < oracle_cells(o, b) * C; i++)
        blocks[i] = (i / C % C == i % C ? 1.0 : 0.0) - blocks[i];
    return result;
}

/* X D^(-1/2) of what has a prior goes to the Gram matrix, the rest aside. */
static status put_round(leaving *w, jacobian_rows *b, uint64_t round)
{
    const oracle *o = w->o;
    size_t n = o->unknowns, cells = oracle_cells(o, b), first = b->first * o->outputs;
    weigh(w, b);
    for (size_t row = 0; row < cells; row++) {
        size_t to = 0, flat = 0;
        double *x = b->rows + row * n;
        for (size_t i = 0; i < n; i++) {
            if (o->prior[i] > 0.0)
                w->scratch[to++] = x[i] / sqrt(o->prior[i]);
            else
                w->flat_rows[flat++ * w->cells + first + row] = x[i];
        }
        memcpy(b->rows + row * to, w->scratch, to * sizeof *x); /* rows before it were read */
    }
    uint64_t max = jacobian_batch(o->x) * o->outputs * (uint64_t)o->r->rounds.c->size;
    return exact_put_columns(w->rows, (size_t)(round * max), b->rows, cells);
}

static status check_gram(const leaving *w)
{
    char what[96];
    size_t n = w->o->unknowns;
    snprintf(what, sizeof what, "--leave-out gram: %zu examples x %zu outputs",
             w->cells / w->o->outputs, w->o->outputs);
    double share = (double)n * (double)w->cells * 8.0 / (double)w->o->r->rounds.c->size;
    return exact_check_memory(w->o->grid, what, w->cells, 1, (size_t)(1.1 * share));
}

/* S^-1 without the directions Z = S^-1 B that have no prior: S^-1 - Z (B'Z)^-1 Z'. */
static status project_out(leaving *w)
{
    size_t K = w->cells, F = w->flat, C = w->o->outputs;
    double *z = NULL, *middle = NULL, *row = NULL;
    status result = oracle_take(&z, F, K);
    if (!result) result = oracle_take(&middle, F, F);
    if (!result) result = oracle_take(&row, F + 1, F);
    result = agree(w->o->r->rounds.c->world, result);
    if (!result) {
        memcpy(z, w->flat_rows, F * K * sizeof *z);
        result = exact_solve(w->gram, z, F);
    }
    for (size_t i = 0; !result && i < F; i++)
        for (size_t j = 0; j < F; j++)
            for (size_t k = 0; k < K; k++)
                middle[i * F + j] += w->flat_rows[i * K + k] * z[j * K + k];
    for (size_t k = 0; !result && k < K; k++) {
        double *copy = row, *solution = row + F * F;
        memcpy(copy, middle, F * F * sizeof *copy);
        for (size_t i = 0; i < F; i++) solution[i] = z[i * K + k];
        small_solve(copy, solution, F);
        for (size_t c = 0; c < C; c++) {
            double sum = 0.0;
            for (size_t i = 0; i < F; i++) sum += solution[i] * z[i * K + k / C * C + c];
            w->left[k * C + c] -= sum;
        }
    }
    free(z);
    free(middle);
    free(row);
    return result;
}

static status find_by_gram(leaving *w)
{
    const oracle *o = w->o;
    size_t K = w->cells;
    double *ones = NULL, *correction = w->left;
    status result = check_gram(w);
    if (!result) result = exact_matrix_open(&w->rows, o->grid, o->unknowns - w->flat, K);
    if (!result) result = exact_matrix_open(&w->gram, o->grid, K, K);
    if (!result) result = agree(o->r->rounds.c->world, oracle_take(&w->flat_rows, w->flat, K));
    if (!result) result = agree(o->r->rounds.c->world, oracle_take(&ones, K, 1));
    if (!result) result = go_through(w, put_round);
    if (!result) {
        for (size_t i = 0; i < K; i++) ones[i] = 1.0;
        comm_sum_ordered(o->r->rounds.c, w->flat_rows, w->flat * K);
        exact_add_gram(w->gram, w->rows);
        exact_add_diagonal(w->gram, ones);
        result = exact_factor(w->gram, NULL);
    }
    if (!result && w->flat > 0) result = project_out(w);
    if (!result) result = exact_invert(w->gram);
    if (!result) {
        double *blocks;
        result = agree(o->r->rounds.c->world, oracle_take(&blocks, K, o->outputs));
        if (!result) exact_diagonal_blocks(w->gram, o->outputs, blocks);
        for (size_t i = 0; !result && i < K * o->outputs; i++) correction[i] += blocks[i];
        free(blocks);
    }
    free(ones);
    return result;
}

static status find_by_precision(leaving *w)
{
    status result = go_through(w, solve_round);
    if (!result) comm_sum_ordered(w->o->r->rounds.c, w->left, w->cells * w->o->outputs);
    return result;
}

static status open_leaving(leaving *w)
{
    const oracle *o = w->o;
    size_t C = o->outputs;
    for (size_t i = 0; i < o->unknowns; i++) w->flat += o->prior[i] > 0.0 ? 0U : 1U;
    status result = oracle_take(&w->left, w->cells, C);
    if (!result) result = oracle_take(&w->step, o->unknowns, 1);
    if (!result) result = oracle_take(&w->scratch, o->unknowns, 1);
    if (!result) result = oracle_take(&w->p, C, 1);
    if (!result) result = oracle_take(&w->found, COLUMNS, w->examples);
    if (!result) result = oracle_take(&w->errors, C, 1);
    if (!result) result = oracle_take(&w->f, jacobian_batch(o->x), C);
    for (size_t i = 0; !result && i < o->unknowns; i++) w->step[i] = o->mode[i] - o->start[i];
    return result;
}

static void close_leaving(leaving *w)
{
    exact_matrix_close(&w->rows);
    exact_matrix_close(&w->gram);
    free(w->left);
    free(w->flat_rows);
    free(w->step);
    free(w->scratch);
    free(w->p);
    free(w->found);
    free(w->errors);
    free(w->f);
}

status oracle_leave_out(oracle *o, bool by_precision, oracle_left_out *out)
{
    size_t count = (size_t)dataset_count(o->data);
    leaving w = {.o = o, .cells = count * o->outputs, .examples = count};
    status result = agree(o->r->rounds.c->world, open_leaving(&w));
    if (!result) result = by_precision ? find_by_precision(&w) : find_by_gram(&w);
    if (!result) result = go_through(&w, leave_round);
    if (!result) comm_sum_ordered(o->r->rounds.c, w.found, COLUMNS * count);
    for (size_t i = 0; !result && i < count; i++)
        out[i] = (oracle_left_out){.loss = w.found[LOSS * count + i],
                                   .loo_loss = w.found[LOO_LOSS * count + i],
                                   .moved = w.found[MOVED * count + i]};
    close_leaving(&w);
    return result;
}
