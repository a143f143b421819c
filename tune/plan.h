/** What is tuned: brackets of runs, one an optimizer, with the same values of the keys' places and
 * the same rungs. A pure function of the command, so that every process that is given it makes the
 * same runs. */
#ifndef VARIO_TUNE_PLAN_H
#define VARIO_TUNE_PLAN_H

#include "tune/keys.h"
#include "tune/rungs.h"

enum {
    TUNE_SEEDS = 32,     /**< at most */
    TUNE_CONFIGS = 1024, /**< of a bracket, at most */
    TUNE_NAME = 200      /**< bytes of a run's name */
};

/** What the command says. */
typedef struct {
    const char *job;         /**< path */
    const char *const *sets; /**< [set_count] --set of the job */
    size_t set_count;
    const char *const *keys; /**< [key_count] --key */
    size_t key_count;
    const char *seeds, *optimizers; /**< "1,2,3", "evon,adamw", or NULL */
    const char *folder;             /**< NULL: output/NAME-tune */
    uint64_t runs;             /**< of a bracket; UINT64_MAX: as many as there are choices, or 9 */
    uint64_t eta, first, draw; /**< first: UINT64_MAX: the warm-up's end */
    uint64_t threads;          /**< of a rank; 0: the job's, or 1 */
} tune_request;

/** The runs of one optimizer. */
typedef struct {
    char name[16]; /**< the optimizer's; "" where the job's own is the only one */
    job base;
    char *text; /**< of base, resolved */
} tune_bracket;

/** A choice of the keys' values. */
typedef struct {
    size_t bracket;
    char values[TUNE_KEYS][TUNE_TEXT];
    char name[TUNE_NAME]; /**< of its run, without the seed */
} tune_config;

typedef struct {
    char folder[JOB_TEXT];
    tune_key keys[TUNE_KEYS];
    size_t key_count;
    uint64_t seeds[TUNE_SEEDS];
    size_t seed_count;
    bool seeded; /**< --seeds was given, and runs are named by them */
    tune_bracket brackets[OPTIMIZER_KINDS];
    size_t bracket_count;
    tune_config *configs; /**< [bracket_count * each], bracket after bracket */
    size_t each;
    tune_rungs rungs; /**< of every bracket */
    uint64_t threads;
} tune_plan;

/** Make the plan of a command; nothing is written. Every configuration is validated as a job.
 * @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM; to be closed in any case */
status tune_plan_make(tune_plan *p, const tune_request *request);
void tune_plan_close(tune_plan *p);

/** How many configurations there are. */
static inline size_t tune_configs(const tune_plan *p)
{
    return p->bracket_count * p->each;
}

/** The name of a run; s counts seeds. */
void tune_run_name(char name[TUNE_NAME + 32], const tune_plan *p, size_t config, size_t s);

/** What a configuration sets: "KEY=VALUE" each.
 * @param text  out: room for the settings
 * @param sets  out: [TUNE_KEYS] where they stand in it
 * @return p->key_count */
typedef char tune_settings[TUNE_KEYS][2 * TUNE_TEXT];
size_t tune_sets(const tune_plan *p, size_t config, tune_settings text,
                 const char *sets[TUNE_KEYS]);

/** The file in the folder that a bracket's runs are of. */
void tune_base_path(char *path, size_t size, const tune_plan *p, size_t bracket);

#endif
