/** What the files of sensitivities share. */
#ifndef VARIO_ANALYSIS_SENSITIVITY_PARTS_H
#define VARIO_ANALYSIS_SENSITIVITY_PARTS_H

#include "analysis/mean_pass.h"
#include "analysis/sensitivity.h"

struct sensitivity {
    mean_pass m; /**< of gpt2 one sequence a batch; its layout is that of variances, too */
    sensitivity_per per;
    arena arena;
    float **variances; /**< [unit_count] whole; sensitivity_run gathers them: of weights, or of
                            the directions of matrices that are taken whole, part after part */
    float **bases;     /**< [tensor_count] of these, Q_L and Q_R of each part; NULL: none */
    const float **left, **right; /**< [unit_count] of perceptrons' layers */
    float *work;                 /**< of one matrix; NULL: none is taken whole */
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

/** Floats of bases and work, 0 where no matrices with a posterior are taken whole. */
size_t sensitivity_bases_floats(const runtime_settings *with, const parameters *p);

/** Take them from the arena. @return STATUS_OK or STATUS_NOMEM (local) */
status sensitivity_bases_open(sensitivity *x);
void sensitivity_bases_close(sensitivity *x);

/** Bring the bases from their owners to all ranks; collective. */
void sensitivity_gather_bases(sensitivity *x);

/** Whether a tensor's variances are those of directions. */
bool sensitivity_is_turned(const sensitivity *x, size_t tensor_number);

/** g' Sigma g of tensor i. */
double sensitivity_quadratic(const sensitivity *x, size_t i, const float *gradient);

/** x += Sigma g of tensor i, whose variances are those of directions.
 * @param to  [count] the whole tensor */
void sensitivity_move(const sensitivity *x, size_t i, float *to, const float *gradient);

/** Those of tensor i. */
static inline float *sensitivity_variances(const sensitivity *x, size_t i)
{
    return x->variances[x->m.r->rounds.p.tensors[i].unit] +
           x->m.layout.tensor_offset[i] / sizeof(float);
}

#endif
