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

/** mean <- mean - (shrink mean + lr u): a direction in the basis, or where nothing is turned one of
 * weights, is turned back, and whitened if wanted, with a length by adjust_lr. Overwrites part->y.
 * @param u  [count], kept */
void matrix_row_move(const optimizer_matrix *m, const matrix_part *part, const float *u,
                     bool whitens, double shrink);

/** At an update's end: the factors follow the mean gradient; the first one makes bases of them, and
 * every basis_every-th turns these. Where LAPACK fails they stay as they were.
 * @param directional  what belongs to single directions. The first bases take the identity's place:
 *                     an h of weights, as a merged run has, becomes the diagonal of the same
 *                     precision in them, h' = (Q_L o Q_L)' h (Q_R o Q_R); of an h that is the same
 *                     everywhere nothing changes */
void matrix_row_follow(const optimizer_matrix *m, const matrix_part *part, float *momentum,
                       float *directional);

/** Deviations of weights from those in the basis, part->x, which is overwritten:
 * sigma_ij^2 = sum_kl Q_L[i,k]^2 Q_R[j,l]^2 x_kl^2. */
void matrix_row_spread(float *sigma, const optimizer_matrix *m, const matrix_part *part);

/** The diagonal, for single weights, of the precision that is diagonal in the bases, over lambda
 * and without delta: (Q_L o Q_L) h (Q_R o Q_R)', h being the row's first array. Rows of squares add
 * up to 1, so that what is added to all of h stays what it is.
 * @param h  out, as the tensor lies */
void matrix_row_diagonal(float *h, const optimizer_matrix *m);

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
