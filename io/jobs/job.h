/** Job files: one YAML file, one schema table (io/jobs/job_schema.c) that validation, defaults,
 * documentation and the resolved copy all read. */
#ifndef VARIO_IO_JOBS_JOB_H
#define VARIO_IO_JOBS_JOB_H

#include "base/status.h"
#include "model/model.h"
#include "runtime/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { JOB_TEXT = 512, JOB_OVERRIDES = 64 };

typedef enum { EARLY_STOP_NONE, EARLY_STOP_LOO } early_stop_kind;
typedef enum { ON_ERROR_STOP, ON_ERROR_CONTINUE } on_error;
typedef enum { ON_STALL_WARN, ON_STALL_STOP } on_stall;

typedef struct {
    char name[JOB_TEXT];
    uint64_t seed;
    char output[JOB_TEXT];
    struct {
        model_kind kind;
        int preset;          /**< 0: none given; then 124m, 355m, 774m, 1558m */
        gpt2_config gpt2;    /**< preset filled in, explicit sizes win over it */
        mlp_config mlp;      /**< of linear and mlp */
        char init[JOB_TEXT]; /**< "scratch" or a directory with model.safetensors */
    } model;
    struct {
        char train[JOB_TEXT], valid[JOB_TEXT]; /**< globs, relative to the working directory, or
                                                    data sets of examples */
        int shift;                             /**< 1: epoch, 0: none */
        uint64_t seed, features;               /**< of generated examples */
        double mislabelled;                    /**< share of the training examples */
        uint64_t leave_out;  /**< training example that is never seen, UINT64_MAX: none */
        double observations; /**< that the training data are; 0: windows or examples */
    } data;
    struct {
        uint64_t sequences, length,
            microbatches, /**< a length of block_size in the file is resolved here; sequences
                               counts examples, which have length 1 */
            parts;        /**< of a micro-batch; 0 is 1 */
    } batch;
    uint64_t steps;
    optimizer_settings optimizer;
    swag_settings swag;
    schedule schedule;
    clip_settings clip; /**< of an absent norm: infinity */
    struct {
        shard_stage shard;
        dtype wire;
        uint64_t threads; /**< 0: auto */
    } parallel;
    dtype precision;
    recompute_kind recompute;
    struct {
        uint64_t every, batches, samples; /**< every 0: only at the end */
        bool antithetic;                  /**< samples come in pairs: noise_key_of_sample */
    } eval;
    struct {
        uint64_t every, examples; /**< every 0: never; examples 0: all of the training set */
    } sensitivity;
    struct {
        early_stop_kind kind;
        uint64_t patience; /**< evaluations without a better one */
    } early_stop;
    struct {
        uint64_t every, keep; /**< every 0: only at the end; keep 0: all */
        on_error on_error;
        bool initial;
        double margin_seconds;
    } checkpoint;
    struct {
        uint64_t max_skipped;
        double stall_seconds; /**< 0: nobody watches */
        on_stall on_stall;
    } guard;
    struct {
        uint64_t every;
        bool tensorboard;
    } log;
    unsigned waiting; /**< keys that optimizer.settings: auto is still to derive, bits of
                           automatic_key: their values mean nothing yet */
} job;

/** The model of a job. */
model_config job_model(const job *j);

/** The row of a job's kind of model, and whether that reads tokens, else examples. */
const model_row *job_words(const job *j);
bool job_reads_tokens(const job *j);

/** Sequences, or examples, that a rank computes with at once: of a part of a micro-batch. */
uint64_t job_sequences(const job *j);

/** What the ranks are told of a job. */
runtime_settings job_settings(const job *j);
/** The effective sample size after `done` of the job's steps: it may be on a course. */
double job_ess(const job *j, uint64_t done);

/** The row of a job's optimizer. */
const optimizer *job_optimizer(const job *j);

/** Where the initial weights of a job are read from; NULL: they are drawn. */
const char *job_init(const job *j);

/** Whether training draws each work item's weights from a mean and deviations: ivon, evon, bbb. */
bool job_is_variational(const job *j);

/** Whether training collects snapshots for SWAG's posterior. */
bool job_collects(const job *j);

/** Whether a job's runs end with a posterior to draw weights from. */
bool job_has_posterior(const job *j);

/** What ivon multiplies the learning rate by: with settings auto 1 / clip.update, else
 * hessian_init + weight_decay with rescale_lr; 1. */
double job_rate_scale(const job *j);

/** Set every key to the default that it has for the job's kinds of model and optimizer. */
void job_set_defaults(job *j);

/** How many observations the training data are; unless the job says so, their examples, or windows
 * of batch.length tokens.
 * @param rows  tokens or examples */
double job_observations(const job *j, uint64_t rows);

/** lambda of the posterior that a run ends with. */
double job_last_ess(const job *j);

/** What a job's settings make of the posterior that a run ends with: observations / its ess. */
double job_temperature(const job *j, uint64_t rows);

/** Whether keys wait for gradients at the initial weights. */
bool job_needs_gradients(const job *j);

/** Derive the keys that wait.
 * @param rows         tokens or examples in the training data
 * @param mean_square  of an element of a work item's gradient at the initial weights
 * @return STATUS_OK, or STATUS_NUMERIC where a value would be none that a job may give */
status job_derive(job *j, uint64_t rows, double mean_square);

/** Take the keys that wait from the job that a run keeps. */
void job_take_derived(job *j, const job *kept);

/** One line of what a job's settings are, or of what is known of those that wait.
 * @param rows  0: unknown */
void job_settings_say(const job *j, uint64_t rows, char *text, size_t size);

/** Refuse a job with keys that wait, where nothing derives them.
 * @param verb  such as "vario import" */
status job_refuse_waiting(const job *j, const char *verb, const char *path);

/** Make a job one of ivon with these settings. Where another optimizer's was, hessian_init is that
 * given, the optimizer's other keys get ivon's defaults and SWAG's snapshots end; a job of ivon
 * keeps them. */
void job_become_ivon(job *j, double ess, double weight_decay, double hessian_init);

/** Make a job one of another optimizer, with that one's defaults: of its own keys, of those of the
 * job's before, and of the highest learning rate. A job of that optimizer stays what it is. */
void job_become(job *j, optimizer_kind kind);

/** Read, override and validate a job; not collective (rank 0 reads and broadcasts the struct,
 * which is plain data).
 *
 * @param path       of the YAML file; messages name path:line:column
 * @param overrides  [count] "key=value" with dotted keys ("batch.sequences=4"); messages name
 *                   --set key=value
 * @return STATUS_OK or STATUS_INPUT (unknown key with the nearest valid one, wrong type, out of
 *         range, contradiction, duplicate key), STATUS_IO when the file cannot be read is
 *         STATUS_INPUT too: the path is the user's input
 */
status job_read(job *j, const char *path, const char *const *overrides, size_t count);

/** The job that a run keeps, as job_read of its text; paths stay what they were when it began.
 * @param path       stands for the file in messages
 * @param overrides  [count] as job_read's */
status job_parse(job *j, const char *path, const char *text, size_t size,
                 const char *const *overrides, size_t count);

/** A job without a file: as job_read, of settings alone.
 * @param path  stands for the file in messages */
status job_make(job *j, const char *path, const char *const *settings, size_t count);

/** Write the resolved job, every key with its value, in the schema's order: reading the result
 * gives an equal job. @return STATUS_OK or STATUS_IO */
status job_write(const job *j, FILE *out);

/** Print the schema as documentation: key, type, default, range, whether it may change on resume,
 * meaning. @return STATUS_OK or, of JSON, STATUS_NOMEM or STATUS_IO */
status job_schema_print(FILE *out, bool json);

/** Whether a run that began as `before` may go on as `now`: STATUS_OK, or STATUS_INPUT naming the
 * first key that differs and may not change, with both values. */
status job_resume_check(const job *before, const job *now, const char *run);

/** Whether two runs' weights are those of one model, and may be merged: STATUS_OK, or STATUS_INPUT
 * naming the first key that differs, with both values. Dropout and initial weights may differ.
 * @param run, expected_run  where each comes from, for the message */
status job_model_check(const job *j, const char *run, const job *expected,
                       const char *expected_run);

/** Whether a text is a run's name: letters, digits and ._+=-, not beginning with '.'. */
bool job_name_fits(const char *name);

/** Whether a text is the directory of runs: a path that shells and plots take for nothing else,
 * even where someone forgot to quote it; blanks are allowed. */
bool job_output_fits(const char *output);

/** A job's warnings about optimizer settings (docs/numerics.md): steps (1 - beta2) << 1, an ess far
 * from the number of training tokens or windows, or of examples, ...
 * @param rows  tokens or examples in the training data; 0 when unknown
 * @return how many were written to lines; each line a NUL-terminated sentence
 */
size_t job_warnings(const job *j, uint64_t rows, char lines[][STATUS_MESSAGE_SIZE],
                    size_t capacity);

#endif
