/** The optimizers: one row each, in the file that has its arithmetic. Whoever trains, saves, draws
 * or reads settings asks the row. docs/extending.md says how to add one. */
#ifndef VARIO_OPTIMIZER_TABLE_H
#define VARIO_OPTIMIZER_TABLE_H

#include "optimizer/optimizer.h"

/** Every optimizer that a job can name, in the order of optimizer.kind's values. */
#define OPTIMIZERS(ROW)                                                                            \
    ROW(IVON, ivon) ROW(ADAMW, adamw) ROW(SGD, sgd) ROW(BBB, bbb) ROW(LION, lion)

#define OPTIMIZER_VALUE(KIND, name) OPTIMIZER_##KIND,
typedef enum { OPTIMIZERS(OPTIMIZER_VALUE) OPTIMIZER_KINDS } optimizer_kind;

/** "ivon|adamw|..." as a constant. */
#define OPTIMIZER_NAME(KIND, name) "|" #name
#define OPTIMIZER_NAMES (&("" OPTIMIZERS(OPTIMIZER_NAME))[1])

enum { OPTIMIZER_ARRAYS = 8, OPTIMIZER_SETTINGS = 16 };

/** What job files say of an optimizer (docs/jobs.md). A row reads those that it names. */
typedef struct {
    optimizer_kind kind;
    double ess, hessian_init;
    hessian_kind hessian;
    double sigma_init; /**< deviation of every weight at the start */
    double beta1, beta2, weight_decay, epsilon, momentum;
    uint64_t mc_samples;
    bool rescale_lr, debias;
} optimizer_settings;

/** What deviations are formed from: the array of the row that is its posterior's. */
typedef enum {
    SPREAD_NONE,    /**< weights are trained, not a posterior */
    SPREAD_HESSIAN, /**< sigma = 1 / sqrt(ess (h + decay)) */
    SPREAD_LOG,     /**< sigma = e^rho */
} spread_kind;

/** An array that is kept beside the mean, a value a weight. */
typedef struct {
    const char *prefix; /**< before the tensors' names in files */
    bool posterior;     /**< predictions need it: it stands in posterior.safetensors, else in
                             optimizer.safetensors; it comes first */
    double (*initial)(const optimizer_settings *s); /**< NULL: 0 */
} optimizer_array;

/** A key of a job's that means something to an optimizer. */
typedef struct {
    const char *key;      /**< dotted */
    const char *standard; /**< its default where that is not the schema's, else NULL */
} optimizer_key;

/** What a slice's update is made of. */
typedef struct {
    const optimizer_settings *settings;
    double decay;                /**< of this tensor */
    double lr, clip;             /**< of this step; the largest change an element may ask for */
    uint64_t updates;            /**< this one included */
    float *mean, *const *arrays; /**< [count] each; arrays in the row's order */
    const gradient_sums *sums;   /**< with pieces where the row takes them */
    double g_scale, f_scale;     /**< times these the sums are means over work items */
    size_t count;
    uint64_t *clipped, *rescued; /**< elements, counted up */
} optimizer_update;

/** Sums over slices that describe a posterior. */
typedef struct {
    double sigma;       /**< sum of sigma */
    double hessian;     /**< sum of h */
    double hessian_min; /**< start with infinity */
    double bias;        /**< sum of (1 - beta2) (h - f)^2 / (2 (h + delta)), the push on h */
} posterior_sums;

typedef struct {
    const char *name, *title; /**< in job files; for people */
    optimizer_array arrays[OPTIMIZER_ARRAYS];
    size_t array_count;
    spread_kind spread; /**< not SPREAD_NONE: every work item draws its weights */
    bool estimates;     /**< f is summed beside g: of noise times gradient, or its square */
    bool decays_all;    /**< 1-D tensors too */
    /** What learning rates are multiplied by; NULL: 1. */
    double (*rate_scale)(const optimizer_settings *s);
    bool takes_pieces; /**< an update adds a step's last pieces on its way */
    void (*update)(const optimizer_update *u); /**< NULL: sums are made, nothing is updated */
    /** Add a slice's sums, before its update; NULL: there is nothing to tell. */
    void (*describe)(posterior_sums *sums, const optimizer_update *u);
    optimizer_key keys[OPTIMIZER_SETTINGS]; /**< up to the first without a name */
} optimizer;

/** The row of a kind, with the loops for this processor. */
const optimizer *optimizer_row(optimizer_kind kind);

/** Define a row, in a file that is compiled for every level of instructions. */
#ifdef VARIO_LEVEL
#define OPTIMIZER_ROW(name) const optimizer LEVELED(name##_optimizer)
#else
#define OPTIMIZER_ROW(name) const optimizer name##_optimizer
#endif

/** What rows of optimizers of weights say of SWAG, which collects snapshots beside them. */
#define SWAG_KEYS                                                                                  \
    {"swag.start", NULL}, {"swag.every", NULL},                                                    \
    {                                                                                              \
        "swag.rank", NULL                                                                          \
    }

/** A row's entry for a key, NULL: it means nothing to it. */
const optimizer_key *optimizer_find_key(const optimizer *row, const char *key);

/** Whether each work item draws its weights from a mean and deviations. */
static inline bool optimizer_is_variational(const optimizer *row)
{
    return row->spread != SPREAD_NONE;
}

/** What the learning rate is multiplied by. */
static inline double optimizer_rate_scale(const optimizer *row, const optimizer_settings *s)
{
    return row->rate_scale ? row->rate_scale(s) : 1.0;
}

/** The weight decay of a tensor. */
double optimizer_decay(const optimizer *row, const optimizer_settings *s, bool decayed);

/** Deviations from the posterior's array of a variational row. [count] each */
void optimizer_sigma(const optimizer *row, float *sigma, const float *spread,
                     const optimizer_settings *s, double decay, size_t count);

/** Weights drawn likewise; as sample_weights. */
void optimizer_sample(const optimizer *row, void *theta, dtype type, const float *m,
                      const float *spread, const optimizer_settings *s, double decay, noise_key key,
                      uint64_t index, size_t count);

#endif
