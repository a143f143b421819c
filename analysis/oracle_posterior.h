/** A run's posterior of the unknowns as it is: deviations that are independent, of single unknowns
 * or of directions in a matrix' bases (EVON: covariance (Q_R kron Q_L) diag(s^2) (Q_R kron Q_L)').
 * Tensors are independent of each other. docs/exact.md has the formulas. */
#ifndef VARIO_ANALYSIS_ORACLE_POSTERIOR_H
#define VARIO_ANALYSIS_ORACLE_POSTERIOR_H

#include "analysis/jacobian.h"

/** A matrix whose deviations are independent in its bases: element (r, c) is unknown first +
 * r stride + c, and direction (k, l), column k of Q_L times column l of Q_R, has its number. */
typedef struct {
    size_t first, rows, columns, stride;
    const double *left, *right; /**< Q_L (rows, rows), Q_R (columns, columns); NULL: 1 */
} oracle_block;

typedef struct {
    size_t unknowns;
    double *sigma;        /**< [unknowns] deviations of single unknowns */
    double *spread;       /**< [unknowns] of directions; the same where there is no block */
    oracle_block *blocks; /**< in the order of the unknowns */
    size_t block_count;   /**< 0: a diagonal posterior */
    double *bases;        /**< of all blocks */
    double *work;         /**< [unknowns] */
} oracle_posterior;

/** Bytes of one rank's copy of the bases; not collective. */
size_t oracle_posterior_bytes(const jacobian *x, const trainer *r);

/** The first tensor of unknowns that the run keeps as a point, NULL: all have a posterior. */
const char *oracle_posterior_point(const jacobian *x, const trainer *r);

/** Take a trainer's posterior from its owners to every rank. Collective.
 * @param q  out; oracle_posterior_close takes it either way
 * @return STATUS_OK or STATUS_NOMEM, the same on all ranks */
status oracle_posterior_open(oracle_posterior *q, const jacobian *x, const trainer *r);
void oracle_posterior_close(oracle_posterior *q);

/** The block that an unknown is in; NULL: it is a direction itself. Not collective. */
const oracle_block *oracle_posterior_block(const oracle_posterior *q, size_t unknown);

/** A direction of a block as a vector of length 1; not collective.
 * @param unknown  its number
 * @param out      [unknowns] out: 0 outside of the block */
void oracle_posterior_direction(const oracle_posterior *q, const oracle_block *block,
                                size_t unknown, double *out);

/** Standard normals of directions become a deviation from the mean; not collective, one call at a
 * time. @param z  [unknowns] in and out */
void oracle_posterior_draw(const oracle_posterior *q, double *z);

/** Derivatives by unknowns become derivatives by directions, times their deviations: inner products
 * of such rows are covariances of J theta. Not collective, one call at a time.
 * @param row  [unknowns] in and out */
void oracle_posterior_project(const oracle_posterior *q, double *row);

#endif
