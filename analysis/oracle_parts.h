/** What the files of the oracle share. */
#ifndef VARIO_ANALYSIS_ORACLE_PARTS_H
#define VARIO_ANALYSIS_ORACLE_PARTS_H

#include "analysis/oracle.h"
#include "base/memory.h"

#include <stdlib.h>

/** Outputs of a round's rows at theta: f = f_0 + J (theta - theta_0).
 * @param step  [unknowns] theta - theta_0; NULL: 0
 * @param f     (examples, outputs) out */
void oracle_outputs(const oracle *o, const jacobian_rows *b, const double *step, double *f);

/** Loss of an example in nats, and its errors: derivatives by the outputs.
 * @param f       [outputs] in; of classes out: their probabilities
 * @param errors  [outputs] out */
double oracle_loss(const oracle *o, const jacobian_rows *b, size_t example, double *f,
                   double *errors);

/** Rows J of an example become X = sqrt(lambda/N) H^(1/2) J.
 * @param p        [outputs] probabilities, of classes
 * @param rows     (outputs, unknowns)
 * @param scratch  [unknowns] */
void oracle_weigh(const oracle *o, const double *p, double *rows, double *scratch);

/** Rows of a round's examples, this rank's. */
static inline size_t oracle_cells(const oracle *o, const jacobian_rows *b)
{
    return b->examples * o->outputs;
}

/** Memory for numbers, all 0, or STATUS_NOMEM. */
static inline status oracle_take(double **values, size_t rows, size_t columns)
{
    size_t count;
    *values = memory_product(&count, rows, columns) ? calloc(count + 1, sizeof **values) : NULL;
    if (*values) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for %zu x %zu numbers", rows, columns);
}

#endif
