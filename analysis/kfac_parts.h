/** What the files of K-FAC share. */
#ifndef VARIO_ANALYSIS_KFAC_PARTS_H
#define VARIO_ANALYSIS_KFAC_PARTS_H

#include "analysis/kfac.h"
#include "analysis/mean_pass.h"
#include "exact/matrix.h"
#include "posterior/kfac.h"

enum { KFAC_INPUTS, KFAC_GRADIENTS, KFAC_SIDES };

typedef struct {
    size_t n;
    int owner;      /**< who adds it up and decomposes it, or gets the vectors from the grid */
    double *matrix; /**< (n, n) the lower triangle of a sum, then the mean, then eigenvectors; on
                       its owner and its layer's home, else NULL */
    double *values; /**< [n] eigenvalues, likewise; of the grid's on all ranks */
    bool on_grid;   /**< all ranks add it up and decompose it together, */
    exact_matrix *grid; /**< as this, the sum and then the mean; else NULL */
    float *rows;        /**< (max, n without the bias's 1) of this rank's batch */
} kfac_factor;

typedef struct {
    size_t weight; /**< tensor, whose bias is the next */
    size_t bias;   /**< 1 with one, else 0: inputs have a 1 for it */
    size_t count;  /**< elements with the bias's, one after another */
    int home;      /**< who draws it */
    kfac_factor factors[KFAC_SIDES];
    float *drawn; /**< [count] deviations from the mean, at home */
} kfac_part;

typedef struct {
    mean_pass m; /**< nobody reads its gradients */
    const kfac_options *o;
    kfac_posterior *q;
    size_t layers, max; /**< max: rows of a batch */
    kfac_part *parts;   /**< [layers] */
    size_t passes;      /**< of a batch */
    bool exact;         /**< a pass an output, else labels are drawn */
    exact_grid *grid;   /**< NULL unless factors are on it */
    arena arena;
    uint64_t batch_row; /**< of the data: the batch's first, for labels */
    size_t pass;
    double *outputs; /**< (max, outputs) of the batch: probabilities or values; when exact */
    double *roots;   /**< (P, max) of the probabilities of the labels of a pass */
    size_t *rows;    /**< [P] of every rank's batch */
    double *work;    /**< rows, LAPACK's work, a layer's noise: one after another */
    float *received; /**< another rank's rows, or its layer */
    MPI_Request *sends;
} kfac;

/** Allocate beside a trainer; collective. kfac_end takes it after a failure too.
 * @param rows  of the training data */
status kfac_begin(kfac *k, trainer *r, const kfac_options *o, kfac_posterior *q, uint64_t rows);
void kfac_end(kfac *k);

/** Factors from the training data; collective. */
status kfac_accumulate(kfac *k, const dataset *data);

/** Eigenvectors in the factors' place, and all of a layer's at its home; collective. */
status kfac_decompose(kfac *k);

/** A decomposed layer; only at its home. */
kfac_layer kfac_layer_of(const kfac *k, size_t l);

/** Draw all samples; collective. */
void kfac_sample(kfac *k);

#endif
