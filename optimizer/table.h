/** The optimizers: one row each, in the file that has its arithmetic. Whoever trains, saves, draws
 * or reads settings asks the row. docs/extending.md says how to add one. */
#ifndef VARIO_OPTIMIZER_TABLE_H
#define VARIO_OPTIMIZER_TABLE_H

#include "optimizer/optimizer.h"

/** Every optimizer that a job can name, in the order of optimizer.kind's values: those whose
 * arithmetic is on slices, then those that take the matrices of layers whole. */
#define OPTIMIZERS_OF_SLICES(ROW)                                                                  \
    ROW(IVON, ivon) ROW(ADAMW, adamw) ROW(SGD, sgd) ROW(BBB, bbb) ROW(LION, lion)
#define OPTIMIZERS_OF_MATRICES(ROW) ROW(EVON, evon) ROW(SOAP, soap) ROW(MUON, muon)
#define OPTIMIZERS(ROW) OPTIMIZERS_OF_SLICES(ROW) OPTIMIZERS_OF_MATRICES(ROW)

#define OPTIMIZER_VALUE(KIND, name) OPTIMIZER_##KIND,
typedef enum { OPTIMIZERS(OPTIMIZER_VALUE) OPTIMIZER_KINDS } optimizer_kind;

/** "ivon|adamw|..." as a constant. */
#define OPTIMIZER_NAME(KIND, name) "|" #name
#define OPTIMIZER_NAMES (&("" OPTIMIZERS(OPTIMIZER_NAME))[1])

enum { OPTIMIZER_ARRAYS = 8, OPTIMIZER_SETTINGS = 32, OPTIMIZER_AUTOMATIC = 10 };

/** Whether a job gives what stays of its settings, or they follow from it (automatic.h). */
typedef enum { SETTINGS_GIVEN, SETTINGS_AUTO } settings_kind;
/** How ess goes from its first value to ess_final, over all steps. */
typedef enum { ESS_COSINE, ESS_LINEAR } ess_course_kind;
/** What updates what is no layer's matrix: embeddings and vectors. */
typedef enum { REST_ADAMW, REST_IVON } rest_kind;
/** How a whitened direction's length depends on its matrix' sides, by PyTorch's names. */
typedef enum { ADJUST_NONE, ADJUST_ORIGINAL, ADJUST_MATCH_RMS_ADAMW } adjust_kind;

/** What job files say of an optimizer (docs/jobs.md). A row reads those that it names. */
typedef struct {
    optimizer_kind kind;
    settings_kind settings;
    double temperature; /**< of the posterior, with SETTINGS_AUTO; 0: derived */
    double largest; /**< update that a learning rate is the weight's change by; 0: learning rates
                         are what they are */
    double ess, hessian_init;
    double ess_final; /**< 0: ess all along */
    ess_course_kind ess_course;
    hessian_kind hessian;
    double sigma_init; /**< deviation of every weight at the start */
    double beta1, beta2, weight_decay, epsilon, momentum;
    uint64_t mc_samples;
    bool rescale_lr, debias;
    double basis_beta;    /**< decay of the factors that bases are made of, a step */
    uint64_t basis_every; /**< steps between turns of the bases */
    uint64_t basis_limit; /**< longest side that has one */
    double estimate_clip; /**< estimates of h are cut off at this many h; infinity: never */
    bool whiten;          /**< directions go through Newton-Schulz's steps */
    adjust_kind adjust_lr;
    bool nesterov; /**< the momentum's next step is looked ahead */
    rest_kind rest;
    double rest_lr; /**< highest learning rate of the rest */
    dtype products; /**< of the operands where matrices are turned and whitened: the precision in
                         which a job computes */
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

/** A tensor of layers' matrices, whole on its owner: one matrix, or `parts` of them side by side
 * (tensor.matrices). Arrays and sums hold part after part, each (rows, columns) and contiguous. */
typedef struct {
    const optimizer_settings *settings;
    size_t rows, columns, parts; /**< of each part */
    uint64_t index;              /**< logical index of the tensor's first element */
    double decay, lr;            /**< as in optimizer_update */
    uint64_t updates;
    double g_scale, f_scale;
    float *mean;                 /**< (rows, parts * columns) as the tensor lies */
    float *const *arrays;        /**< in the row's order */
    float *bases, *factors;      /**< Q and L, R of every part: left, right (basis.h); NULL: none */
    float *g_sum;                /**< of the items' gradients */
    float *basis_sum, *f_sum;    /**< in the basis: of the same, and of noise times them; or NULL */
    float *work;                 /**< [optimizer_matrix_work] */
    uint64_t *clipped, *rescued; /**< elements, counted up */
} optimizer_matrix;

/** What a row does that takes the matrices of layers whole, on their owners. */
typedef struct {
    bool bases;    /**< bases and their factors are kept */
    bool projects; /**< items' gradients are summed in the basis, too */
    bool whitens;  /**< whatever the settings say */
    /** Add a work item's gradient to the sums.
     * @param first  what the sums held is forgotten */
    void (*accumulate)(const optimizer_matrix *m, const gradient_piece *piece, bool first);
    void (*update)(const optimizer_matrix *m);
    /** Draw weights, as sample_weights; NULL: there is a point alone. */
    void (*sample)(const optimizer_matrix *m, void *theta, dtype type, noise_key key);
    /** Deviations of single weights. @param sigma  as the tensor lies */
    void (*sigma)(const optimizer_matrix *m, float *sigma);
    /** Add what describes the posterior, before the update; NULL: there is nothing to tell. */
    void (*describe)(posterior_sums *sums, const optimizer_matrix *m);
} matrix_hooks;

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
    const matrix_hooks *matrix; /**< layers' matrices are taken whole, `rest` updates what is none;
                                     update and describe are then NULL */
    optimizer_key keys[OPTIMIZER_SETTINGS];       /**< up to the first without a name */
    optimizer_key automatic[OPTIMIZER_AUTOMATIC]; /**< with SETTINGS_AUTO: other defaults, and NULL
                                                       for what is derived (automatic.h) */
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

/** Whether a side of a matrix has a basis. */
static inline bool optimizer_has_basis(const optimizer *row, const optimizer_settings *s,
                                       size_t side)
{
    return row->matrix && row->matrix->bases && side <= s->basis_limit;
}

/** Operations of a step on one matrix, roughly: what dealing matrices out goes by. */
double optimizer_matrix_cost(const optimizer *row, const optimizer_settings *s, size_t rows,
                             size_t columns);

/** Floats of work for one matrix. */
size_t optimizer_matrix_work(const optimizer *row, const optimizer_settings *s, size_t rows,
                             size_t columns);

/** Row and settings of what is no layer's matrix. @param rate  out: times the learning rate */
const optimizer *optimizer_rest(const optimizer_settings *s, double peak, optimizer_settings *rest,
                                double *rate);

/** A row's entry for a key, NULL: it means nothing to it. */
const optimizer_key *optimizer_find_key(const optimizer *row, const char *key);

/** The same of its keys with SETTINGS_AUTO, NULL: its default is what it is. */
const optimizer_key *optimizer_find_automatic(const optimizer *row, const char *key);

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

/** The effective sample size after `done` of `steps` steps: the next step's, and a checkpoint's. */
double optimizer_ess(const optimizer_settings *s, uint64_t done, uint64_t steps);

#endif
