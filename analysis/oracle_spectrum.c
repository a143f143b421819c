/* Eigenvalues: of the curvature, and as the basis in which the evidence is a sum of scalars. */
#include "analysis/oracle.h"
#include "analysis/oracle_parts.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 400, REFINEMENTS = 80 };

static const double ln_2_pi = 1.8378770664093454836;

/* (Lambda - prior) times a factor. */
static void take_data_part(const oracle *o, exact_matrix *to, double factor)
{
    for (size_t i = 0; i < o->unknowns; i++) o->step[i] = -o->prior[i];
    exact_copy(to, o->precision);
    exact_add_diagonal(to, o->step);
    exact_scale(to, factor);
}

status oracle_spectrum(oracle *o, double *values)
{
    take_data_part(o, o->spare, 1.0 / o->ess);
    return exact_eigen(o->spare, values, o->factor);
}

/* A ridge regression in the basis of its eigenvectors: what has no prior is projected out. */
typedef struct {
    size_t count, flat; /* unknowns; those without a prior */
    double rows;        /* values */
    double squares;     /* of the targets */
    double flat_determinant;
    double *eigenvalues, *projections; /* [count] of G; of b on their vectors */
} ridge;

/* The log evidence for alpha = ratio / s^2 with the best s^2, which Q / (N - flat) is. */
static double evidence(const ridge *e, double ratio, double *noise)
{
    double rest = e->squares, logarithms = 0.0, free_rows = e->rows - (double)e->flat;
    for (size_t i = 0; i < e->count; i++) {
        double value = fmax(e->eigenvalues[i], 0.0) + ratio;
        rest -= e->projections[i] * e->projections[i] / value;
        logarithms += log(value) - log(ratio);
    }
    *noise = fmax(rest, 0.0) / free_rows;
    return -0.5 * (free_rows * (log(*noise) + 1.0) + logarithms + e->flat_determinant +
                   free_rows * ln_2_pi);
}

/* The largest on a grid of ln ratio, then between its neighbours. */
static void climb(const ridge *e, oracle_maximum *out)
{
    double top = fmax(e->eigenvalues[e->count - 1], 1e-300), noise;
    double low = log(1e-12 * top), width = log(1e6) - log(1e-12), best = -INFINITY;
    size_t at = 0;
    for (size_t i = 0; i <= GRID; i++) {
        double found = evidence(e, exp(low + width * (double)i / GRID), &noise);
        if (found > best) {
            best = found;
            at = i;
        }
    }
    out->at_edge = at == 0 || at == GRID;
    double a = low + width * ((double)at - 1.0) / GRID, b = a + 2.0 * width / GRID;
    for (int i = 0; i < REFINEMENTS; i++) {
        double third = (b - a) / 3.0;
        bool left = evidence(e, exp(a + third), &noise) > evidence(e, exp(b - third), &noise);
        if (left)
            b -= third;
        else
            a += third;
    }
    double ratio = exp(0.5 * (a + b));
    out->log_evidence = evidence(e, ratio, &noise);
    out->noise_variance = noise;
    out->prior = ratio / noise;
}

/* G, b and y'y of the regression: o->spare, target, e->squares. At the mode G m - b = -s^2/weight
 * prior m. */
static void take_regression(const oracle *o, ridge *e, double *target)
{
    double variance = o->r->config.mlp.noise_variance, scale = variance / o->weight;
    take_data_part(o, o->spare, scale);
    exact_multiply(o->spare, o->mode, target);
    double residual = 2.0 * variance *
                      (o->loss * (double)o->count -
                       0.5 * (double)o->count * (double)o->outputs * (ln_2_pi + log(variance)));
    e->squares = residual;
    for (size_t i = 0; i < o->unknowns; i++) {
        double product = target[i];
        target[i] += scale * o->prior[i] * o->mode[i];
        e->squares += (2.0 * target[i] - product) * o->mode[i];
    }
}

/* Marginalize what has no prior: a step of Gauss's elimination each. */
static void project_out(const oracle *o, ridge *e, double *target, double *column)
{
    for (size_t j = 0; j < o->unknowns; j++) {
        if (o->prior[j] > 0.0) continue;
        memset(o->step, 0, o->unknowns * sizeof *o->step);
        o->step[j] = 1.0;
        exact_multiply(o->spare, o->step, column);
        double pivot = column[j], root = sqrt(pivot), share = target[j] / pivot;
        for (size_t i = 0; i < o->unknowns; i++) {
            target[i] -= share * column[i];
            column[i] /= root;
        }
        e->squares -= share * share * pivot;
        target[j] = 0.0;
        exact_subtract_product(o->spare, column);
        e->flat_determinant += log(pivot);
        e->flat++;
    }
}

static status decompose(oracle *o, ridge *e, double *target)
{
    exact_matrix *vectors;
    status result = exact_matrix_open(&vectors, o->grid, o->unknowns, o->unknowns);
    if (result) return result;
    result = exact_eigen(o->spare, e->eigenvalues, vectors);
    if (!result) exact_multiply_transposed(vectors, target, e->projections);
    exact_matrix_close(&vectors);
    return result;
}

status oracle_maximize(oracle *o, oracle_maximum *out)
{
    ridge e = {.count = o->unknowns, .rows = (double)o->count * (double)o->outputs};
    double *target = NULL;
    status result = oracle_take(&target, o->unknowns, 1);
    if (!result) result = oracle_take(&e.eigenvalues, o->unknowns, 1);
    if (!result) result = oracle_take(&e.projections, o->unknowns, 1);
    result = agree(o->r->rounds.c->world, result);
    if (!result) {
        take_regression(o, &e, target);
        project_out(o, &e, target, e.projections);
        result = decompose(o, &e, target);
    }
    if (!result) climb(&e, out);
    free(target);
    free(e.eigenvalues);
    free(e.projections);
    return result;
}
