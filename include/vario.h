/** libvario: the IVON optimizer of vario, for programs with a model and a training loop of their
 * own.
 *
 * IVON (Improved Variational Online Newton, Shen et al., ICML 2024) ends a training run with a
 * mean and a variance for every weight, at about the price of Adam. In a loop, two lines differ:
 *
 *     vario_sample(opt, weights);        weights = mean + sigma * noise
 *     ... the gradient of the loss at these weights ...
 *     vario_accumulate(opt, gradients);
 *     vario_step(opt, lr, NULL);         where Adam made its update
 *
 * A step consists of work items (micro-batches), one a rank and round. Noise is a function of seed,
 * step, item and element, and sums are made in the order of items: the same gradients give the same
 * bits on any number of ranks (with VARIO_SHARD_GRADIENTS), and those of a run of `vario train`.
 *
 * Every function that can fail returns a status; vario_error says in one sentence what happened.
 * Nothing here prints, exits or aborts, and the program's locale changes nothing; failures of MPI
 * itself are the communicator's error handler's. Arrays of weights are the caller's: [count]
 * pointers to fp32 values, row-major, in the order of the tensors; nothing keeps them after a call.
 * "Collective": all ranks of the optimizer's communicator call it, in the same order, and get the
 * same status; what is marked (same) must not differ between them, and is refused on all ranks when
 * it does. What no call can see is a rank that does not come: whose optimizer is NULL, that is of
 * another communicator, or that calls another function. The others then wait for it, as in MPI.
 *
 * A pointer is NULL only where it says so; elsewhere NULL is refused with VARIO_INPUT, or by calls
 * that return no status with what is said there, and vario_error names the call. After MPI_Finalize
 * calls that need the other ranks return VARIO_PEER.
 *
 * Threads: calls compute with as many OpenMP threads as the calling thread would. An optimizer is
 * used by one thread at a time, different ones by different threads, and those that make collective
 * calls need what MPI_Init_thread granted: MPI is called by the calling thread only.
 */
#ifndef VARIO_H
#define VARIO_H

#include <stddef.h>
#include <stdint.h>
#ifndef VARIO_WITHOUT_MPI /* defined before: no mpi.h, and vario_create is not declared */
#include <mpi.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VARIO_API __attribute__((visibility("default")))
#else
#define VARIO_API
#endif

typedef enum {
    VARIO_OK = 0,
    VARIO_INPUT, /**< an argument, or a file that was given, is wrong */
    VARIO_IO,    /**< a disk or file operation failed */
    VARIO_NOMEM, /**< memory ran out */
    VARIO_PEER,  /**< MPI does not run, or not yet, or no more */
} vario_status;

enum { VARIO_DIMENSIONS = 8, VARIO_NAME = 64 };

/** One tensor of the model. */
typedef struct {
    const char *name; /**< in checkpoints; its own, up to 63 printable ASCII bytes, no " or \ */
    int dimensions;   /**< 1 to 8 */
    size_t shape[VARIO_DIMENSIONS]; /**< none 0 */
    int decayed; /**< weight_decay applies: usually to matrices, not to biases and gains */
    size_t unit; /**< 0, then the one before's or the next number: tensors of a unit are sent
                      together and cut into parts of 256 elements by owner. All 0 is fine; a unit a
                      layer takes less memory */
} vario_tensor;

/* The words of settings; the first is the default, but for shard. */
enum { VARIO_IVON, VARIO_ADAMW };
enum { VARIO_PRICE, VARIO_GRADSQ };
enum { VARIO_CLIP_MICROBATCH, VARIO_CLIP_STEP };
enum { VARIO_SHARD_NONE, VARIO_SHARD_OPTIMIZER, VARIO_SHARD_GRADIENTS };
enum { VARIO_FP32, VARIO_BF16 };

/** What job files set (`vario schema`), with their names and defaults. Begin with vario_defaults,
 * or with vario_defaults_adamw: AdamW reads no more than beta1, beta2, weight_decay, epsilon,
 * clip_norm, seed, items, clip_scope, shard and wire.
 */
typedef struct {
    double ess;           /**< effective sample size lambda: often the number of examples. 1e10 */
    double hessian_init;  /**< h at the start; sigma = 1/sqrt(lambda (h + weight_decay)). 1e-3 */
    double beta1, beta2;  /**< decay of momentum and Hessian, a step. 0.9, 0.99999 */
    double weight_decay;  /**< delta, the prior's precision over lambda. 1e-6 */
    double clip_norm;     /**< largest norm of an item's (or the step's) gradient. infinity */
    double clip_update;   /**< largest element of an update before the learning rate. infinity */
    double epsilon;       /**< AdamW's alone: added to the root. 1e-8 */
    uint64_t seed;        /**< of the noise. 1337 */
    uint64_t items;       /**< work items of a step, over all ranks; 0: one a rank. 0 */
    int optimizer;        /**< VARIO_IVON or VARIO_ADAMW, to compare with */
    int clip_scope;       /**< what clip_norm holds for: VARIO_CLIP_MICROBATCH or VARIO_CLIP_STEP */
    int hessian;          /**< its estimate: VARIO_PRICE or VARIO_GRADSQ, which is experimental */
    int rescale_lr;       /**< multiply the learning rate by hessian_init + weight_decay. 1 */
    int debias;           /**< divide the momentum by 1 - beta1^n after n updates. 1 */
    int shard;            /**< what is split over the ranks, each with all before it: none, h and
                               momentum, sums of gradients (VARIO_SHARD_GRADIENTS, the default) */
    int wire;             /**< matrices' gradients in messages: VARIO_FP32 or VARIO_BF16 */
    int nesterov;         /**< step along the momentum and this step's gradient once more. 0 */
    uint64_t reserved[8]; /**< 0 */
} vario_settings;

/** What a step did; the same on all ranks. NAN where there is nothing to tell. */
typedef struct {
    int skipped;             /**< a gradient was not finite: the mean is unchanged */
    uint64_t updates;        /**< made so far: steps less those skipped */
    double gradient_norm;    /**< of the mean gradient, before clipping */
    double gradient_clipped; /**< share of the items, or of the step, that clip_norm scaled */
    double update_clipped;   /**< share of the elements that clip_update cut */
    double sigma_mean;       /**< posterior before the update: mean deviation, ... */
    double hessian_min, hessian_mean;
    double hessian_bias; /**< ... and the push on h that beta2 causes, over h: above 0.1 is much */
    uint64_t reserved[4];
} vario_report;

/** An optimizer and its posterior: this rank's part of it. */
typedef struct vario_optimizer vario_optimizer;

/** Set the defaults of job files; not collective. Of NULL nothing is set. */
VARIO_API void vario_defaults(vario_settings *settings);

/** Set those of AdamW: beta1 0.9, beta2 0.95, weight_decay 0.1, which is multiplied by the learning
 * rate only. The same loop then trains with AdamW: vario_sample gives the weights themselves, and
 * vario_draw and vario_deviation are refused, as there is no posterior. */
VARIO_API void vario_defaults_adamw(vario_settings *settings);

#ifndef VARIO_WITHOUT_MPI
/** Create an optimizer over the ranks of a communicator, which is duplicated; collective over it.
 *
 * A program without ranks passes MPI_COMM_SELF. MPI_Init comes before; any thread mode will do.
 *
 * @param optimizer  out: vario_free frees it; NULL on failure
 * @param comm       an intra-communicator (same): ranks that pass different ones wait for each
 * other. A freed one cannot be told from others; a handle of none is refused by the rank alone
 * @param tensors    [count] (same); copied
 * @param weights    [count] initial values of the mean (same, to the bit), finite; NULL: zeros, for
 *                   vario_load
 * @param settings   (same); NULL: the defaults
 * @return VARIO_OK, VARIO_INPUT (naming tensor or setting, or that ranks differ), VARIO_NOMEM or
 *         VARIO_PEER
 */
VARIO_API vario_status vario_create(vario_optimizer **optimizer, MPI_Comm comm,
                                    const vario_tensor *tensors, size_t count,
                                    float *const *weights, const vario_settings *settings);
#endif

/** Create an optimizer for this process alone, in a program that does not use MPI; not collective.
 *
 * Checkpoints are written through MPI, so it is started where it does not run, and then ended when
 * the program exits. As vario_create but for that. */
VARIO_API vario_status vario_create_alone(vario_optimizer **optimizer, const vario_tensor *tensors,
                                          size_t count, float *const *weights,
                                          const vario_settings *settings);

/** vario_create with a communicator as Fortran knows it: an MPI_Fint, or MPI_Comm's MPI_VAL. A
 * number that is no communicator's is refused, by the rank alone. */
VARIO_API vario_status vario_create_fortran(vario_optimizer **optimizer, int comm,
                                            const vario_tensor *tensors, size_t count,
                                            float *const *weights, const vario_settings *settings);

/** Free an optimizer and set the pointer to NULL; takes NULL, and a pointer to NULL. Collective;
 * before MPI_Finalize, after which it gives back memory alone. */
VARIO_API void vario_free(vario_optimizer **optimizer);

/** Rounds of a step: its items over the ranks, rounded up. Each has one vario_sample and one
 * vario_accumulate. Of NULL: 0. */
VARIO_API size_t vario_rounds(const vario_optimizer *optimizer);

/** The work item that this rank has in the present round: round * ranks + rank; -1 in the last
 * round when none is left for it. Items number the micro-batches of a step. Of NULL: -1. */
VARIO_API int64_t vario_item(const vario_optimizer *optimizer);

/** Steps that were made, those skipped included. Of NULL: 0. */
VARIO_API uint64_t vario_steps(const vario_optimizer *optimizer);

/** Draw the weights of this rank's item: mean + sigma * noise(seed, step, item, element); not
 * collective. The same again until vario_accumulate.
 *
 * @param weights  [count] out; unchanged on a rank without an item, and on failure
 * @return VARIO_OK; VARIO_INPUT after a step's last round, or when vario_load has failed */
VARIO_API vario_status vario_sample(vario_optimizer *optimizer, float *const *weights);

/** Hand over the gradient of this rank's item at its sample; collective, once a round.
 *
 * The gradient is that of the item's mean loss; the step uses the mean over items. A rank without
 * an item calls it, too.
 *
 * @param gradients  [count], not changed; not looked at on a rank without an item
 * @return VARIO_OK, or VARIO_INPUT: vario_sample did not come before; then nothing has happened */
VARIO_API vario_status vario_accumulate(vario_optimizer *optimizer, float *const *gradients);

/** Update mean, Hessian and momentum; collective, after a step's last round.
 *
 * A gradient that is not finite skips the update: the step counts, the mean stays.
 *
 * @param lr      learning rate of this step (same), from 0 to 1e30. With rescale_lr it is
 *                hessian_init + weight_decay times smaller in effect; the product must be finite in
 *                fp32
 * @param report  out, may be NULL, which may spare a look at all gradients (same: NULL or not)
 * @return VARIO_OK, or VARIO_INPUT: rounds are missing, lr is no such number, or ranks differ; then
 *         nothing has happened */
VARIO_API vario_status vario_step(vario_optimizer *optimizer, double lr, vario_report *report);

/** The posterior's mean: what other optimizers have for weights; not collective, as the next two,
 * which all work after MPI_Finalize, too.
 * @param weights  [count] out */
VARIO_API vario_status vario_mean(const vario_optimizer *optimizer, float *const *weights);

/** Draw posterior sample number `sample`, to average predictions over; not collective. The same
 * number gives the same sample, those of `vario eval`.
 * @param weights  [count] out */
VARIO_API vario_status vario_draw(const vario_optimizer *optimizer, uint32_t sample,
                                  float *const *weights);

/** The posterior's standard deviations; not collective.
 * @param sigma  [count] out */
VARIO_API vario_status vario_deviation(const vario_optimizer *optimizer, float *const *sigma);

/** Write a checkpoint DIRECTORY/step-NNNNNNNN, numbered by the steps made; collective, between
 * steps.
 *
 * Mean, Hessian and momentum, as safetensors files that any tool reads and whose bytes do not
 * depend on the number of ranks, and state.json with checksums. It appears whole or not at all;
 * older ones stay until then.
 *
 * @param directory  (same), made where it is missing
 * @param keep       newest checkpoints that stay, 0: all (same)
 * @return VARIO_OK, VARIO_INPUT, VARIO_IO or VARIO_NOMEM; on failure nothing is left behind */
VARIO_API vario_status vario_save(vario_optimizer *optimizer, const char *directory, uint64_t keep);

/** Go on from the newest whole checkpoint of a directory, or from one step-NNNNNNNN; collective,
 * between steps.
 *
 * Checkpoints of `vario train` are read, too. A torn, truncated or altered one is refused, naming
 * the tensor; when an older one was used instead, vario_error says why after VARIO_OK. Names,
 * shapes, seed, ess and weight_decay must be the optimizer's.
 *
 * @param directory  (same)
 * @return VARIO_OK, VARIO_INPUT or VARIO_NOMEM; after a failure the optimizer can only load again,
 *         or be freed */
VARIO_API vario_status vario_load(vario_optimizer *optimizer, const char *directory);

/** The sentence about this thread's last call, "" when there is nothing to say; valid until its
 * next. vario_free leaves it as it is, and so do vario_rounds, vario_item and vario_steps of an
 * optimizer. */
VARIO_API const char *vario_error(void);

/** The library's version, "MAJOR.MINOR.PATCH". */
VARIO_API const char *vario_version(void);

#ifdef __cplusplus
}
#endif

#endif
