/** Optimizer arithmetic on slices: parts of one tensor, contiguous, fp32. No MPI, no allocation,
 * no I/O. Every function is element-wise and threaded with OpenMP; its bits do not depend on the
 * number of threads nor on where a slice begins. */
#ifndef VARIO_OPTIMIZER_OPTIMIZER_H
#define VARIO_OPTIMIZER_OPTIMIZER_H

#include "base/parameters.h"
#include "kernels/noise.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { HESSIAN_PRICE, HESSIAN_GRADSQ } hessian_kind;

/** IVON (Shen et al., ICML 2024), see docs/numerics.md for the formulas. */
typedef struct {
    double lambda; /**< effective sample size */
    double delta;  /**< weight decay of this tensor: 0 for 1-D tensors */
    double h0;     /**< initial Hessian */
    double beta1, beta2;
    double xi;        /**< element-wise update clip; infinity for none */
    double alpha;     /**< learning rate of this step, lr (h0 + job's delta) when rescaled */
    uint64_t updates; /**< n: updates made, this one included */
    bool debias;      /**< divide the momentum by 1 - beta1^n */
    hessian_kind hessian;
    bool nesterov; /**< look ahead (Dozat, 2016) */
} ivon_step;

typedef struct {
    double beta1, beta2, epsilon;
    double decay; /**< of this tensor: 0 for 1-D tensors */
    double lr;
    uint64_t updates; /**< n, this one included */
} adamw_step;

typedef struct {
    double momentum, decay, lr;
} sgd_step;

/** Bayes by backprop (Blundell et al., ICML 2015): Adam on the mean and the log deviation. */
typedef struct {
    double lambda; /**< effective sample size: what the KL term is divided by */
    double delta;  /**< the prior's precision over lambda, above 0 */
    double beta1, beta2, epsilon, lr;
    uint64_t updates; /**< n, this one included */
} bbb_step;

enum { SWAG_RANK = 64 /**< columns of deviations, at most */ };

/** What SWAG has collected of a slice (Maddox et al., NeurIPS 2019). */
typedef struct {
    const float *mean, *variance;       /**< [count] of the snapshots */
    const float *deviations[SWAG_RANK]; /**< [columns][count] */
    size_t columns;                     /**< held so far */
    bool diagonal;                      /**< no columns are wanted: N(mean, variance) */
} swag_moments;

/** sigma = 1 / sqrt(lambda (h + delta)). [count] each; destination first; may not alias. */
void ivon_sigma(float *sigma, const float *h, double lambda, double delta, size_t count);

/** theta = m + sigma * epsilon(key, index + i), in type (bf16: rounded stochastically with the
 * element's own bits: (bits(theta) + ((r & 0x1ff) << 7) + 64) >> 16).
 * @param theta  [count] of type: float or bf16
 * @param sigma  [count]; NULL means no noise: theta = m, rounded to nearest even
 * @param index  logical index of the first element
 */
void sample_weights(void *theta, dtype type, const float *m, const float *sigma, noise_key key,
                    uint64_t index, size_t count);

/** The same with sigma as ivon_sigma forms it, to the bit, from h [count] where that is at hand. */
void sample_weights_from_hessian(void *theta, dtype type, const float *m, const float *h,
                                 double lambda, double delta, noise_key key, uint64_t index,
                                 size_t count);

/** The same with sigma = e^rho, rho [count], to the bit that bbb_sigma forms. */
void sample_weights_from_log(void *theta, dtype type, const float *m, const float *rho,
                             noise_key key, uint64_t index, size_t count);

/** theta = mean + s sqrt(variance) z + sum_k d_k y_k / sqrt(2 (columns - 1)), s = 1/sqrt(2), or 1
 * when q->diagonal; fewer than two columns add nothing (Maddox et al., equation 1). z is the noise
 * of the elements, y that of the elements SWAG_FACTORS + k of the same key. As sample_weights. */
void sample_weights_swag(void *theta, dtype type, const swag_moments *q, noise_key key,
                         uint64_t index, size_t count);

#define SWAG_FACTORS (UINT64_C(1) << 57) /* no parameter vector reaches it */

/** Initial weights: mean + deviation * epsilon (stream 1), or the constant mean. */
void initial_weights(float *m, double mean, double deviation, uint64_t seed, uint64_t index,
                     size_t count);

/** One work item's gradient of a slice. */
typedef struct {
    const void *values; /**< [count] of type */
    dtype type;
    float scale;   /**< norm clipping factor of the item */
    noise_key key; /**< that its weights were drawn with */
} gradient_piece;

/** Add a piece to the owner's sums, which begin at +0 with the first.
 *
 * With x = scale * value: g_sum += x; for HESSIAN_PRICE also f_sum += epsilon(key, index + i) x,
 * for HESSIAN_GRADSQ f_sum += x^2.
 *
 * @param g_sum  [count]
 * @param f_sum  [count], or NULL for optimizers without a Hessian sum
 * @param first  what the sums held is forgotten
 */
void accumulate_piece(float *g_sum, float *f_sum, bool first, const gradient_piece *piece,
                      hessian_kind hessian, uint64_t index, size_t count);

/** A step's sums over a slice: those in memory, and pieces that they lack. */
typedef struct {
    const float *g, *f;           /**< [count] in memory, not written */
    bool empty;                   /**< g and f are not read: the pieces are all there is */
    const gradient_piece *pieces; /**< [piece_count], in the order of work items */
    size_t piece_count;
    uint64_t index; /**< logical index of the first element, for the pieces' noise */
} gradient_sums;

/** Update (m, h, momentum) in place from the sums of a step, g_sum and f_sum; pieces are added on
 * the way, to the same bits as if accumulate_piece had before.
 *
 * gbar = g_scale * g_sum; f = f_scale * f_sum, divided by sigma (formed from the old h) for
 * HESSIAN_PRICE, times lambda for HESSIAN_GRADSQ.
 *
 * @param clipped   += how many elements the update clip cut
 * @param rescued   += how many elements kept their old h, because h + delta would not have stayed
 *                  positive and finite
 */
void ivon_update(float *m, float *h, float *momentum, const gradient_sums *sums, double g_scale,
                 double f_scale, const ivon_step *step, size_t count, uint64_t *clipped,
                 uint64_t *rescued);

void adamw_update(float *m, float *exp_avg, float *exp_avg_sq, const float *g_sum, double g_scale,
                  const adamw_step *step, size_t count);

void sgd_update(float *m, float *velocity, const float *g_sum, double g_scale, const sgd_step *step,
                size_t count);

/** sigma = e^rho. [count] each; destination first. */
void bbb_sigma(float *sigma, const float *rho, size_t count);

/** Update means, log deviations and their moments in place from the sums of a step.
 *
 * With gbar = g_scale * g_sum, f = f_scale * f_sum (the mean of epsilon g) and sigma = e^rho: Adam
 * with gbar + delta m for m, and with lambda sigma (f + delta sigma) - 1, which is lambda times the
 * objective's gradient, for rho. See docs/numerics.md.
 *
 * @param first, second  [2][count] each: of m, of rho
 */
void bbb_update(float *m, float *rho, float *const first[2], float *const second[2],
                const float *g_sum, const float *f_sum, double g_scale, double f_scale,
                const bbb_step *step, size_t count);

/** Count weights in: mean and variance of all snapshots, and this one's distance from the new mean.
 * @param deviation  [count] out, NULL: not wanted
 * @param snapshots  collected, this one included; with the first, mean and variance are made anew
 */
void swag_collect(float *mean, float *variance, float *deviation, const float *m,
                  uint64_t snapshots, size_t count);

/** Double sums of (scale * g)^2 over blocks of PARAMETER_BLOCK elements: block b covers elements
 * 256 b .. of values; the last may be short. Inside a block element i goes to lane i mod 8,
 * and the lanes are added in their order.
 * @param sums  [ceil(count / 256)] out
 */
void squared_blocks(double *sums, const float *values, double scale, size_t count);

/* Schedules: lr at step t = 0, 1, ... (see docs/jobs.md). */
typedef enum {
    SCHEDULE_CONSTANT,
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
    SCHEDULE_WSD,          /**< warmup-stable-decay: linear decay over the last `decay` steps */
    SCHEDULE_INVERSE_SQRT, /**< peak * sqrt(max(warmup,1) / max(t + 1, warmup, 1)) */
    SCHEDULE_STEPS,        /**< times `factor` at each of `milestones` */
} schedule_kind;

enum { SCHEDULE_MILESTONES = 16 };

typedef struct {
    schedule_kind kind;
    double peak, final;
    uint64_t warmup;
    uint64_t decay;
    double factor;
    size_t milestone_count;
    uint64_t milestones[SCHEDULE_MILESTONES];
} schedule;

/** Learning rate of step t of a run of `steps` steps. */
double schedule_at(const schedule *s, uint64_t t, uint64_t steps);

#endif
