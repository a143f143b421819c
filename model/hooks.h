/** What every kind of model shares: where weights come from and gradients go, what it computes on,
 * and in which shape. The model never sees ranks: it asks for a unit's weights when it needs them
 * and hands over a unit's gradient when that is whole. */
#ifndef VARIO_MODEL_HOOKS_H
#define VARIO_MODEL_HOOKS_H

#include "base/parameters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The buffers have the layouts that the model was given: weights in layout_open(precision),
 * gradients in layout_open(DTYPE_F32).
 *
 * Order of calls with units 0 .. U: the first and the last unit are held for the whole pass, those
 * between are asked for again on the way back. In a forward pass: weights(0), ..., weights(U). In a
 * backward pass, after that: gradients_done(U), then for u = U - 1 ... 1: weights(u), gradients(u),
 * gradients_done(u), then gradients_done(0). gradients(0) and gradients(U) are asked for before
 * weights(U - 1). A model of one unit has weights(0), gradients(0), gradients_done(0). A pointer
 * from weights of units 0 and U stays valid for the pass, of one between until another is asked
 * for; a pointer from gradients until gradients_done.
 */
typedef struct {
    void *context;
    const void *(*weights)(void *context, size_t unit);
    float *(*gradients)(void *context, size_t unit); /**< contents undefined: written, not added */
    void (*gradients_done)(void *context, size_t unit);
    void (*poll)(void *context); /**< called where kernels end; may be NULL */
    /** Called in a backward pass for every linear layer, in the reverse of the order of tensors;
     * may be NULL.
     * @param weight  the tensor (in, out) that is the layer's
     * @param in      (rows, in) act: what the layer takes in
     * @param d       (rows, out) act: gradient of the mean loss by what it puts out */
    void (*layer)(void *context, size_t weight, size_t rows, const void *in, const void *d);
} model_hooks;

static inline void hooks_poll(const model_hooks *hooks)
{
    if (hooks->poll) hooks->poll(hooks->context);
}

static inline void hooks_layer(const model_hooks *hooks, size_t weight, size_t rows, const void *in,
                               const void *d)
{
    if (hooks->layer) hooks->layer(hooks->context, weight, rows, in, d);
}

typedef enum { RECOMPUTE_NONE, RECOMPUTE_BLOCK } recompute_kind;

typedef struct {
    size_t sequences, length; /**< of a micro-batch; examples have length 1 */
    dtype precision;
    recompute_kind recompute; /**< of gpt2 */
    bool training;            /**< false: forward only, no memory for a backward pass */
    bool variances;           /**< of examples: memory for model_variances */
    bool bases;               /**< whose weights may be turned into bases */
} model_shape;

/** A posterior of weights that are independent, or in each layer's matrix those of Q_L' W Q_R. */
typedef struct {
    const float *const *variances; /**< [units] in layout_open(DTYPE_F32) */
    const float *const *left, *const
                                  *right; /**< [units] Q_L (in, in) and Q_R (out, out), whose
                                               columns are vectors; NULL: none, as entries may be.
                                               The shape must have `bases` where there are some */
} weight_spread;

/** A micro-batch, of token sequences (gpt2) or of examples; rows = sequences * length. */
typedef struct {
    size_t sequences;        /**< at most the shape's */
    size_t length;           /**< the shape's */
    const uint16_t *tokens;  /**< gpt2: [rows] */
    const float *inputs;     /**< others: (rows, inputs) */
    const uint16_t *targets; /**< cross-entropy: [rows] next tokens or classes */
    const float *values;     /**< Gaussian loss: (rows, outputs) */
    const uint8_t *counted;  /**< gpt2, backward: [rows] whether a row's loss adds to the mean over
                                all rows; NULL: every row's does */
} batch;

/** Called with the outputs of rows [first, first + rows) of a batch, in the order of rows.
 * @param outputs  (rows, outputs) fp32: logits, or the values that Gaussian losses compare; the
 *                 visitor may change them */
typedef void model_visit(void *context, size_t first, size_t rows, float *outputs);

#endif
