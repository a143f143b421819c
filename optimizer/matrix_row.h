/** What rows share that take matrices whole: their parts, and the ways there and back. */
#ifndef VARIO_OPTIMIZER_MATRIX_ROW_H
#define VARIO_OPTIMIZER_MATRIX_ROW_H

#include "optimizer/basis.h"
#include "optimizer/matrix.h"
#include "optimizer/statistics.h"
#include "optimizer/table.h"

/** One matrix of a tensor. */
typedef struct {
    matrix_place place;
    size_t first; /**< its first element in the tensor */
    size_t count;
    basis basis;
    float *arrays[OPTIMIZER_ARRAYS], *g_sum, *basis_sum, *f_sum; /**< [count] */
    float *x, *y;                                                /**< [count] scratch */
    float *work;                                                 /**< of bases and whitening */
} matrix_part;

matrix_part matrix_row_part(const optimizer_matrix *m, size_t part);

/** Sum an item's gradient as it is, and where sums are kept for it, in the basis. */
void matrix_row_accumulate(const optimizer_matrix *m, const gradient_piece *piece, bool first);

/** mean <- mean - (shrink mean + scale lr u): a direction in the basis, or where nothing is turned
 * one of weights, is turned back, and whitened if wanted. Overwrites part->y.
 * @param u  [count], kept */
void matrix_row_move(const optimizer_matrix *m, const matrix_part *part, const float *u,
                     bool whitens, double scale, double shrink);

/** At an update's end: the factors follow the mean gradient; the first one makes bases of them, and
 * every basis_every-th turns these. Where LAPACK fails they stay as they were. */
void matrix_row_follow(const optimizer_matrix *m, const matrix_part *part, float *momentum,
                       float *directional);

/** Deviations of weights from those in the basis, part->x, which is overwritten:
 * sigma_ij^2 = sum_kl Q_L[i,k]^2 Q_R[j,l]^2 x_kl^2. */
void matrix_row_spread(float *sigma, const optimizer_matrix *m, const matrix_part *part);

/** Keys of rows with bases, and of all that take matrices whole. */
#define BASIS_KEYS                                                                                 \
    {"optimizer.basis_beta", NULL}, {"optimizer.basis_every", NULL},                               \
    {                                                                                              \
        "optimizer.basis_limit", NULL                                                              \
    }
#define MATRIX_KEYS                                                                                \
    {"optimizer.rest_lr", NULL},                                                                   \
    {                                                                                              \
        "optimizer.epsilon", NULL                                                                  \
    }

#endif
