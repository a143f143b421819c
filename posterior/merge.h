/** Models made into one: arithmetic on parts of one tensor. No MPI, no allocation, no I/O; double
 * inside; element-wise, so bits depend neither on the number of threads nor on where a part begins.
 * docs/posterior.md derives the formulas. */
#ifndef VARIO_POSTERIOR_MERGE_H
#define VARIO_POSTERIOR_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    MERGE_HESSIAN, /**< weighted by curvature: Daheim et al., ICLR 2024; see merge_values */
    MERGE_TASK,    /**< task arithmetic: Ilharco et al., ICLR 2023; needs a base */
    MERGE_MEAN,    /**< the plain average; takes no base */
    MERGE_METHODS
} merge_method;

/** "hessian", "task", "mean" */
extern const char *const merge_method_names[MERGE_METHODS];

/** A model's values. */
typedef struct {
    const float *m, *h; /**< [count]; h may be NULL where no h is made */
    double scale;       /**< s: h in units of the result's lambda; of the base it is 1 */
    double delta;       /**< of this tensor */
} merge_model;

typedef struct {
    uint64_t negative; /**< values of h below 0 that counted as 0 */
    uint64_t bad;      /**< elements where a model or the result is not merge_is_good */
} merge_counts;

/** Merge models into one.
 *
 * With a base, where p = h_0 + delta_0, c_t = s_t max(h_t, 0) and H = p + alpha sum c_t:
 *     hessian  m = m_0 + alpha sum (p + c_t) / H (m_t - m_0)     h = H - delta_0
 *     task     m = m_0 + alpha sum (m_t - m_0)                   h = H - delta_0
 * Without one, where p_t = s_t (h_t + delta_t) and T models are given:
 *     hessian  m = sum p_t m_t / sum p_t                         h = sum p_t - delta_1
 *     mean     m = sum m_t / T                                   h = sum p_t / T - delta_1
 * Where no h is made models are points, whose weights say nothing of each other: hessian is then
 * m = m_0 + alpha sum (m_t - m_0) / T, or without a base mean.
 *
 * @param m       [count] out
 * @param h       [count] out; NULL: none is made
 * @param base    NULL: none
 * @param models  [model_count] at least one
 * @param counts  added to
 */
void merge_values(float *m, float *h, merge_method method, const merge_model *base,
                  const merge_model *models, size_t model_count, double alpha, size_t count,
                  merge_counts *counts);

/** Whether a posterior can have this mean and, where it is given, this h: both finite, and h +
 * delta above 0 as fp32 adds it. */
bool merge_is_good(float m, const float *h, double delta);

#endif
