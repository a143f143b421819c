/** The Kronecker-factored Laplace posterior of a run's linear layers (posterior/kfac.h), made after
 * training by any optimizer: factors at the mean from the training data, their eigenvectors,
 * samples.
 */
#ifndef VARIO_ANALYSIS_KFAC_H
#define VARIO_ANALYSIS_KFAC_H

#include "train/trainer.h"

enum {
    KFAC_EXACT = 64, /**< outputs of a row that take a pass each; of more, labels are drawn */
    KFAC_WIDE = 2000 /**< narrowest factor that all ranks may decompose together */
};

typedef struct {
    double ess;       /**< lambda; NaN: ivon's and bbb's own, of others the rows of the data */
    double precision; /**< tau of the prior; NaN: lambda optimizer.weight_decay */
    uint64_t batches; /**< the first so many of the training data; 0: all */
    size_t samples;   /**< at least 1 */
    bool antithetic;  /**< noise_key_of_sample */
    size_t grid_from; /**< factors from this order on are put on the grid; 0: the rule below */
} kfac_options;

/** Samples of the posterior; what is no layer's stays at its mean. */
typedef struct {
    state_posterior posterior; /**< first: what a state draws from */
    double lambda, tau;
    uint64_t rows; /**< tokens or examples that the factors are means over */
    size_t layers, widest;
    size_t on_grid; /**< factors */
    arena arena;
    state_array *draws; /**< [samples] */
} kfac_posterior;

/** Draw samples, and have the trainer's state give them in the place of its own posterior's;
 * collective, the same bits whatever the number of ranks unless factors are on the grid.
 *
 * Batches of the job's size in the order of the data, batch b on rank b mod P. Each factor has an
 * owner, who adds up the rows of all ranks in the order of batches and finds its eigenvectors; they
 * meet at the layer's home, which draws its weights. A rank keeps S samples as it keeps the mean;
 * on the way it has its share of the factors' n^2 doubles, work for one of them, what layers take
 * in and give back of one batch, and a model for training.
 *
 * A factor of at least KFAC_WIDE columns whose n^3 is more than three times all factors' over the
 * number of ranks would leave the others waiting for its owner: all ranks add it up and decompose
 * it together, on the grid of exact/, and the owner gets the eigenvectors. A sample is a function
 * of the factors alone (posterior/kfac.h), so its deviations are then the same to rounding.
 *
 * @param q  out; kfac_close frees it, after a failure too, but not before the trainer's last sample
 * @param r  opened for evaluation, its checkpoint read; its job's data.train is read
 * @return STATUS_OK; STATUS_INPUT: no precision of a prior, factors too wide, a bad token, no data;
 *         STATUS_NOMEM: more than the node has; STATUS_NUMERIC: factors that are not finite;
 *         STATUS_IO. The same on all ranks
 */
status kfac_draw(kfac_posterior *q, trainer *r, const kfac_options *o);
void kfac_close(kfac_posterior *q);

#endif
