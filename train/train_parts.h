/** What the files of a training run share. */
#ifndef VARIO_TRAIN_TRAIN_PARTS_H
#define VARIO_TRAIN_TRAIN_PARTS_H

#include "io/checkpoints/checkpoint.h"
#include "io/runs/run.h"
#include "io/weights/pretrained.h"
#include "runtime/watch.h"
#include "train/progress.h"
#include "train/train.h"
#include "train/trainer.h"

struct json_t;

typedef struct {
    const job *job; /**< `own` */
    comm *c;
    const train_options *options;
    char path[JOB_TEXT * 2 + 2]; /**< of the run directory */
    run *run;                    /**< rank 0 only */
    dataset *train, *valid;
    pretrained *init; /**< what the run begins with; NULL: initial weights of its own */
    trainer trainer;
    void *estimator; /**< the options' estimator opened; NULL unless sensitivity.every is above 0 */
    checkpoint_writer *writer;
    checkpoint_facts facts;
    progress progress;
    job own;               /**< the job, with what the run finds by itself */
    bool derived;          /**< it found settings now, for a run that begins */
    double mean_square;    /**< of gradients, from which it did; 0: it looked at none */
    double ceiling;        /**< GFLOP/s of all ranks' products */
    double seconds;        /**< of training, over all restarts */
    double logged_seconds; /**< at the last row */
    uint64_t logged_rows;  /**< tokens or examples at the last row */
    uint64_t saved;        /**< steps of the newest checkpoint, UINT64_MAX for none */
    double total_sent[BYTES_KINDS];
    bool job_lost; /**< job.yaml has to be written anew */
    bool warned_bias, warned_rescue;
    bool warned_rows, warned_events; /**< of a file that cannot be written, until it can be */
} training;

/** A step that was done or skipped, and what it took on this rank. */
typedef struct {
    step_result result;
    state_statistics statistics; /**< of steps that are logged */
    uint64_t sent[BYTES_KINDS];
    double seconds, waited;
} finished_step;

/** Whether something is done after so many steps: every so often, and at the end. */
bool train_due(uint64_t steps, uint64_t every, uint64_t last);

/** Steps after which this start ends: the job's, or fewer where it is to pause. */
uint64_t train_last(const training *g);

/** Rank 0 alone speaks and writes; on the others the three after this do nothing. */
bool train_first_rank(const training *g);
void train_note(training *g, const char *event, struct json_t *details); /**< run_event's */
void train_note_step(training *g, const char *event, uint64_t step);     /**< with its number */
void train_warn(training *g, const char *sentence); /**< to the user, and in events.jsonl */
void train_note_stall(void *context, const watch_event *event); /**< context: the training */

/** Count rows from the present step on. */
void train_log_begin(training *g);

/** Whether a row is written after so many steps. */
bool train_logs(const training *g, uint64_t steps);

/** After a whole step: write a row and evaluate where that is due, show progress; collective. */
status train_log(training *g, const finished_step *step);

/** Whether estimates of the leave-one-out loss say that the run is over (early_stop). */
bool train_over(const training *g);

/** Whether there is nothing left of the job. */
bool train_finished(const training *g);

/** The last event, with the bytes that all ranks sent in this restart, and the JSON result;
 * collective. */
status train_log_end(training *g);

/** Go on from the run's newest checkpoint; collective. */
status train_restore(training *g);

/** Derive the settings that wait (optimizer.settings: auto), or take them from the run; collective.
 */
status train_find_settings(training *g, bool resume);
void train_note_settings(training *g); /**< rank 0 tells what was derived */

/** Find the weights of model.init, before memory is taken for them, and then begin with them;
 * collective. Where the run begins with weights of its own these do nothing. */
status train_find_init(training *g);
status train_read_init(training *g);

/** Room for two checkpoints; rank 0. */
status train_check_space(const training *g);

/** After a whole step: finish the checkpoint that is written, begin the next when due; collective.
 * @param written  all ranks' writers are done */
status train_save(training *g, bool written);

/** A checkpoint of the present step, whole when this returns; collective. */
status train_save_now(training *g);

/** The same for a run that stops: it promises a checkpoint, whatever checkpoint.on_error says of
 * lost ones. */
status train_save_to_stop(training *g);

#endif
