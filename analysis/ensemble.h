/** The runs whose predictions a verb averages, and how their networks are drawn. */
#ifndef VARIO_ANALYSIS_ENSEMBLE_H
#define VARIO_ANALYSIS_ENSEMBLE_H

#include "analysis/kfac.h"
#include "analysis/predictive.h"
#include "io/checkpoints/checkpoint.h"

#include <math.h>

enum { ENSEMBLE_RUNS = 64 /**< at most */ };

/** What the user asked for. */
typedef struct {
    const char *verb;
    uint64_t samples;        /**< draws of each run */
    uint64_t sequences;      /**< of a batch; 0: the first run's */
    const char *posterior;   /**< auto, mean, samples, dropout, kfac; NULL: auto */
    double ess, precision;   /**< of kfac; NaN: not given */
    uint64_t factor_batches; /**< of kfac; 0: all */
    bool antithetic;         /**< samples in pairs, whatever the runs' jobs say */
    bool own_data;           /**< the runs' data.valid may differ */
    bool quiet;
} ensemble_request;

/** Of a verb, before its options are parsed. */
#define ENSEMBLE_REQUEST(of)                                                                       \
    {                                                                                              \
        .verb = (of), .ess = NAN, .precision = NAN                                                 \
    }

typedef struct {
    const char *paths[ENSEMBLE_RUNS];
    size_t count; /**< runs */
    job *jobs;    /**< [count], as the next four */
    trainer *trainers;
    checkpoint_facts *facts;
    draw_kind *draws;
    kfac_posterior *kfac; /**< NULL without --posterior kfac */
    kfac_options kfac_options;
    uint64_t samples;
    member *members; /**< draws in turn: the first of each run, the second of each run, ...; without
                          draws the mean of each run */
    size_t member_count;
} ensemble;

/** Read the runs' jobs, and refuse what cannot be averaged; collective. ensemble_close takes it,
 * after a failure too.
 * @param paths  run directories, NULL after the last; the caller keeps them
 * @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM, the same on all ranks */
status ensemble_read(ensemble *e, comm *c, const char **paths, const ensemble_request *request);

/** Warn, on rank 0, where data have another tokenizer than the runs; not collective. */
void ensemble_warn_tokens(const ensemble *e, const comm *c, const dataset *data);

/** Read the networks; collective.
 * @param native whether every rank's processor multiplies bf16 */
status ensemble_open(ensemble *e, comm *c, bool native);
void ensemble_close(ensemble *e);

/** Whether a job trains with dropout, so that its networks can be drawn without a posterior. */
bool ensemble_has_dropout(const job *j);

/** Whether the first run's samples come in pairs about its mean. */
bool ensemble_is_antithetic(const ensemble *e);

/** The first run's mean. */
member ensemble_mean(const ensemble *e);

/** Whether there is an average beside the first run's mean. */
bool ensemble_has_average(const ensemble *e);

/** What is averaged, in words: "8 posterior samples". */
void ensemble_describe(const ensemble *e, char *text, size_t size);

#endif
