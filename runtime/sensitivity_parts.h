/** What the files of sensitivities share. */
#ifndef VARIO_RUNTIME_SENSITIVITY_PARTS_H
#define VARIO_RUNTIME_SENSITIVITY_PARTS_H

#include "runtime/sensitivity.h"

struct sensitivity {
    trainer *r;
    sensitivity_per per;
    job job;       /**< the trainer's; of gpt2 with one sequence a batch */
    layout layout; /**< of variances and gradients */
    arena arena;
    float **variances; /**< [unit_count] whole; sensitivity_run gathers them */
    slots gradients;   /**< of gpt2 */
    model *model;
    model_hooks hooks;
    dataset_batch batch;
    double *blocks;   /**< scratch for one tensor */
    uint8_t *counted; /**< [length] of tokens: the one */
    double form;      /**< of the pass in progress */
    size_t most;      /**< rows of a batch */
    /* Of a batch: */
    float *outputs, *found; /**< (most, outputs) */
    double *errors;         /**< [outputs] */
    sensitivity_row *rows;  /**< [most], on rank 0 [P * most] */
    float *details;         /**< (most, 2, outputs), likewise */
    size_t columns;         /**< of details */
};

/** The weights hook of a pass at the mean; context is a sensitivity. */
const void *sensitivity_weights(void *context, size_t u);

#endif
