/** The runs whose predictions a verb averages, and how their networks are drawn. */
#ifndef VARIO_CLI_ENSEMBLE_H
#define VARIO_CLI_ENSEMBLE_H

#include "cli/session.h"
#include "io/checkpoint.h"
#include "runtime/predictive.h"

enum { ENSEMBLE_RUNS = 64 /**< at most */ };

/** What the user asked for. */
typedef struct {
    const char *verb;
    uint64_t samples;      /**< draws of each run */
    uint64_t sequences;    /**< of a batch; 0: the first run's */
    const char *posterior; /**< auto, mean, samples, dropout; NULL: auto */
    bool own_data;         /**< the runs' data.valid may differ */
    bool quiet;
} ensemble_wishes;

/** Rows of a verb's options. @param w  ensemble_wishes */
#define ENSEMBLE_OPTIONS(w)                                                                        \
    {"--samples", OPTION_COUNT, &(w).samples, "S",                                                 \
     "average S posterior samples, or dropouts, of each run too"},                                 \
        {"--posterior", OPTION_TEXT, &(w).posterior, "KIND",                                       \
         "auto (samples where there are, else dropout), mean, samples, dropout"},                  \
    {                                                                                              \
        "--sequences", OPTION_COUNT, &(w).sequences, "N",                                          \
            "sequences or examples of a batch (0: the job's)"                                      \
    }

typedef struct {
    const char *paths[ENSEMBLE_RUNS];
    size_t count; /**< runs */
    job *jobs;    /**< [count], as the next three */
    trainer *trainers;
    checkpoint_facts *facts;
    draw_kind *draws;
    uint64_t samples;
    member *members; /**< draws in turn: the first of each run, the second of each run, ...; without
                          draws the mean of each run */
    size_t member_count;
} ensemble;

/** Read the runs' jobs, and refuse what cannot be averaged; collective. ensemble_close takes it,
 * after a failure too.
 * @param paths  run directories, NULL after the last; the caller keeps them
 * @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM, the same on all ranks */
status ensemble_read(ensemble *e, session *s, const char **paths, const ensemble_wishes *wishes);

/** Read the networks, once session_compute has been called; collective. */
status ensemble_open(ensemble *e, session *s);
void ensemble_close(ensemble *e);

/** The first run's mean. */
member ensemble_mean(const ensemble *e);

/** Whether there is an average beside the first run's mean. */
bool ensemble_has_average(const ensemble *e);

/** What is averaged, in words: "8 posterior samples". */
void ensemble_describe(const ensemble *e, char *text, size_t size);

#endif
