/** Telling rows that are unlike the training data from those that are like it, by a prediction.
 *
 * Out of distribution is the positive class. An item is a sequence of tokens or an example; its
 * score is the mean over its rows, and higher the stranger it looks. Rank 0 alone calls these, with
 * predictions of classes (or next tokens).
 */
#ifndef VARIO_ANALYSIS_OOD_H
#define VARIO_ANALYSIS_OOD_H

#include "analysis/predictive.h"

typedef enum {
    OOD_PROBABILITY, /**< 1 - largest probability (Hendrycks and Gimpel, ICLR 2017) */
    OOD_ENTROPY,     /**< predictive entropy */
    OOD_MUTUAL,      /**< mutual information; 0 for a single member */
    OOD_NLL, /**< of the next tokens, which a sequence has and an unlabelled example has not */
    OOD_SCORES
} ood_score;

/** Predictions over both sets; both of the same members. */
typedef struct {
    const predictions *in, *out;
} ood_sets;

typedef struct {
    ranking rank;
    double mean_in, mean_out; /**< of the score */
} ood_result;

/** Whether a score says something of these predictions. */
bool ood_has(const ood_sets *sets, ood_score which);

/** Rank by the last point's average. @return STATUS_OK or STATUS_NOMEM */
status ood_rank(ood_result *result, const ood_sets *sets, ood_score which);

enum { OOD_BINS = 40 };

/** Items of both sets whose score lies in equal bins from the smallest score found to the largest.
 */
typedef struct {
    double from, to;
    size_t in[OOD_BINS], out[OOD_BINS];
    size_t in_count, out_count;
} ood_histogram;

/** @return STATUS_OK or STATUS_NOMEM */
status ood_count(ood_histogram *h, const ood_sets *sets, ood_score which);

#endif
