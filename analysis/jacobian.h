/** Derivatives of a model's outputs by chosen weights, the unknowns, at a trainer's mean: what
 * Gauss-Newton matrices are made of. */
#ifndef VARIO_ANALYSIS_JACOBIAN_H
#define VARIO_ANALYSIS_JACOBIAN_H

#include "train/trainer.h"

/** Of one rank in one round. */
typedef struct {
    uint64_t first;          /**< example or window of the data */
    size_t examples;         /**< here; 0 on ranks without work */
    const double *f;         /**< (examples, outputs) at the mean; NULL of gpt2 */
    double *rows;            /**< (examples, outputs, unknowns) of examples: J. Of gpt2 (windows, 1,
                                  unknowns): a gradient whose outer product has the window's J' H J for
                                  its expectation, see jacobian_round. The caller may change them */
    const uint16_t *targets; /**< [examples] of classes; NULL */
    const float *values;     /**< (examples, outputs) of values; NULL */
} jacobian_rows;

typedef struct jacobian jacobian;

/** Choose the unknowns and allocate beside a trainer; collective.
 *
 * @param r        kept, must outlive *x; of fp32
 * @param tensors  names, or beginnings of names up to a dot, with commas between them, in any
 *                 order; NULL: all of a linear model, the last layer of an mlp
 * @return STATUS_OK, STATUS_NOMEM, or STATUS_INPUT: a name that none has, or none given for gpt2 */
status jacobian_open(jacobian **x, trainer *r, const char *tensors);
void jacobian_close(jacobian **x);

size_t jacobian_unknowns(const jacobian *x);
size_t jacobian_outputs(const jacobian *x); /**< rows of an example; 1 of gpt2 */

/** Whether outputs are linear in the unknowns, which are all of the last layer's: f = J theta. */
bool jacobian_is_linear(const jacobian *x);

/** Tensor and element of it that unknown i is. */
const tensor *jacobian_tensor(const jacobian *x, size_t i, size_t *element);

/** A tensor's first unknown, SIZE_MAX: it has none. @param number  its own in the model */
size_t jacobian_start(const jacobian *x, size_t number);

/** Examples or windows of a batch, the same on all ranks. */
size_t jacobian_batch(const jacobian *x);

/** Bytes of one rank's rows. */
size_t jacobian_bytes(const jacobian *x);

/** The unknowns' means, on every rank: [unknowns]. */
const double *jacobian_mean(const jacobian *x);

/** Their deviations, on every rank; collective. @param sigma  [unknowns] out */
void jacobian_deviations(const jacobian *x, double *sigma);

/** Rounds that it takes to see `count` examples or windows. */
uint64_t jacobian_rounds(const jacobian *x, uint64_t count);

/** The rows of a round; collective.
 *
 * Batch b of the data is on rank b mod P in round b div P. Products are fp32, and exact where they
 * are inputs or ones; f of a linear model is added up in double.
 *
 * Of gpt2 a window's tokens get targets that the model draws (stream STREAM_TEXT, sample: the
 * window): the gradient of the window's summed loss for them has mean 0, and its outer product the
 * expectation sum over tokens of J' H J (Martens, New Insights and Perspectives on the Natural
 * Gradient Method, JMLR 2020, section 9).
 *
 * @param out  valid until the next call
 * @return STATUS_OK or STATUS_INPUT (a bad token), the same on all ranks */
status jacobian_round(jacobian *x, const dataset *data, uint64_t round, jacobian_rows *out);

#endif
