/** What the files of sensitivities share. */
#ifndef VARIO_ANALYSIS_SENSITIVITY_PARTS_H
#define VARIO_ANALYSIS_SENSITIVITY_PARTS_H

#include "analysis/mean_pass.h"
#include "analysis/sensitivity.h"

struct sensitivity {
    mean_pass m; /**< of gpt2 one sequence a batch; its layout is that of variances, too */
    sensitivity_per per;
    arena arena;
    float **variances; /**< [unit_count] whole; sensitivity_run gathers them */
    float **gradients; /**< [unit_count] of a group, while sensitivity_leave works on it */
    double *blocks;    /**< scratch for one tensor */
    uint8_t *counted;  /**< [length] of tokens: the one */
    double form;       /**< of the pass in progress */
    size_t max;        /**< rows of a batch */
    /* Of a batch: */
    float *outputs, *found; /**< (max, outputs) */
    double *errors;         /**< [outputs] */
    sensitivity_row *rows;  /**< [max], on rank 0 [P * max] */
    float *details;         /**< (max, 2, outputs), likewise */
    size_t columns;         /**< of details */
};

/** Those of tensor i. */
static inline float *sensitivity_variances(const sensitivity *x, size_t i)
{
    return x->variances[x->m.r->rounds.p.tensors[i].unit] +
           x->m.layout.tensor_offset[i] / sizeof(float);
}

#endif
