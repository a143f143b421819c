/** Buffers and weight look-ups that the files of the model share. */
#ifndef VARIO_MODEL_GPT2_INTERNAL_H
#define VARIO_MODEL_GPT2_INTERNAL_H

#include "model/gpt2.h"

/** What a block keeps for its backward pass; "act" is in the compute type. */
typedef struct {
    float *in, *mid; /**< (N, C) residual before attention and before the MLP */
    float *mean1, *rstd1, *mean2, *rstd2; /**< [N] */
    float *lse;                           /**< (B, NH, T) */
    void *ln1, *qkv, *att, *ln2, *fc,
        *gelu; /**< act (N, C), (N, 3C), (N, C), (N, C), (N, 4C) x 2 */
} block_saved;

struct gpt2 {
    gpt2_config config;
    model_shape shape;
    parameters p;
    layout weights_layout, gradients_layout;
    arena arena;
    block_saved *blocks; /**< [n_layer]; without a backward, or recomputing, they share buffers */
    float *residual;     /**< (N, C) */
    float *d_residual;   /**< (N, C) gradient of the residual stream */
    void *projected;     /**< act (N, C) */
    float *d_norm;       /**< (N, C) gradient of a norm's output */
    void *dc, *da;       /**< act (N, C) */
    void *d3, *d4;       /**< act (N, 3C), (N, 4C) */
    void *final;         /**< act (N, C): the final norm's output */
    float *final_mean, *final_rstd, *losses; /**< [N] */
    size_t chunk;                            /**< rows of the output layer at once */
    float *logits;                           /**< (chunk, V) */
    void *wte_logits;                        /**< wte packed for the logits' product */
    void *wte_final; /**< wte packed for the product that gives the gradient of `final` */
    void *d_logits;  /**< act (chunk, V) */
    float *work;
};

/** Keys and values of the positions 0 .. length - 1 of a text. */
struct gpt2_cache {
    arena arena;
    char *base;    /**< act (n_layer, 2, NH, max, C / NH): of each block keys, then values */
    size_t half;   /**< bytes of a block's keys */
    size_t max;    /**< positions */
    size_t length; /**< positions that it holds */
};

/** What a forward pass computes. */
typedef struct {
    size_t sequences, length; /**< at most as many rows as the model's shape has */
    double drop;              /**< 0 without dropout */
    noise_key key;
    gpt2_cache *cache; /**< positions follow those that it holds; NULL: from 0 on */
} forward_pass;

/** Tensors of a block, and of the final norm (0). */
enum { LN_1, ATTN, ATTN_PROJ, LN_2, FC, FC_PROJ };

/** Number of a unit's tensor. */
size_t gpt2_tensor(const gpt2 *g, size_t unit_number, size_t which, bool bias);

/** A weight or a bias (NULL without biases) in a unit's buffer. */
const void *gpt2_weight(const gpt2 *g, const void *buffer, size_t unit_number, size_t which);
const float *gpt2_bias(const gpt2 *g, const void *buffer, size_t unit_number, size_t which);
const void *gpt2_embeddings(const gpt2 *g, const void *buffer, size_t which); /**< wte, wpe */
float *gpt2_gradient(const gpt2 *g, float *buffer, size_t tensor_at);
float *gpt2_weight_grad(const gpt2 *g, float *buffer, size_t unit_number, size_t which);
float *gpt2_bias_grad(const gpt2 *g, float *buffer, size_t unit_number, size_t which);

size_t gpt2_act_bytes(const gpt2 *g); /**< of an activation */
size_t gpt2_rows(const gpt2 *g);      /**< N, of as many sequences as the shape has */

/** Dropout's elements are numbered site after site: the embeddings, then for each block its
 * attention, its attention's projection, its MLP's projection. */
typedef enum { SITE_ATTENTION, SITE_ATTENTION_PROJECTION, SITE_MLP_PROJECTION } dropout_site;
uint64_t gpt2_dropout_index(const gpt2 *g, size_t block, dropout_site site);

/** Weights of the embeddings and of the final norm, which a pass holds to its end. */
typedef struct {
    const void *first, *last;
} end_weights;

/** Embeddings to the final norm's output. */
end_weights gpt2_forward(gpt2 *g, const model_hooks *hooks, const uint16_t *tokens,
                         const forward_pass *pass);

const void *gpt2_act_row(const gpt2 *g, const void *values, size_t row, size_t columns);

/** Block l: blocks[l].in to `out`.
 * @param out  (N, C); NULL to compute only what blocks[l] saves */
void gpt2_block_forward(gpt2 *g, const model_hooks *hooks, size_t l, const void *weights,
                        float *out, const forward_pass *pass);

/** att from qkv of block l, for a pass with a cache; puts the new keys and values there. */
void gpt2_cache_attend(gpt2 *g, size_t l, const forward_pass *pass);

/** From d_residual of the block's output to that of its input, and its gradients. */
void gpt2_block_backward(gpt2 *g, const model_hooks *hooks, size_t l, const void *weights,
                         float *gradients, const forward_pass *pass);

#endif
