/** What the files of the library share. The optimizer is the rounds of a step whose
 * gradients come from outside. */
#ifndef VARIO_LIBRARY_OPTIMIZER_H
#define VARIO_LIBRARY_OPTIMIZER_H

#include "include/vario.h"
#include "io/checkpoints/checkpoint_state.h"
#include "runtime/rounds.h"

struct vario_optimizer {
    comm c;
    rounds r;           /* with their settings in r.state */
    step_result result; /* of the step in progress */
    size_t round;       /* accumulated in this step */
    bool sampled;       /* the round's item was drawn */
    bool broken;        /* a load failed half-way */
    uint64_t steps, skipped_in_row;
};

/** Every public function with work to do begins and ends with these, once: the pending message is
 * of this call, and numbers are read and written as in the C locale. */
void library_begin(void);
vario_status library_end(status result);

/** Whether a call that other ranks wait for, or that such a call follows, may talk to them. */
status library_connected(const vario_optimizer *v, const char *call);

/** Whether the optimizer may be used. */
status library_usable(const vario_optimizer *v, const char *call);

/** Whether it may be used, and has a posterior. */
status library_posterior(const vario_optimizer *v, const char *call);

/** Make every rank's status that of the lowest rank that failed, and refuse what is not the same on
 * all ranks; collective.
 * @param arguments  a hash of what must not differ
 * @param sentence   says that it does */
status library_agree(const vario_optimizer *v, status here, uint64_t arguments,
                     const char *sentence);

/** Whether a hash is not the same on all ranks; collective. */
bool library_differ(const vario_optimizer *v, uint64_t hash);

/** Refuse a pointer: "CALL: WHAT expected, NULL found". */
status library_refuse_null(const char *call, const char *what);

/** Fill the runtime's settings, padding included, from a program's, whose ranges are those of job
 * files; local.
 * @param given  NULL: the defaults
 * @return STATUS_OK or STATUS_INPUT, naming the setting */
status library_settings(runtime_settings *s, const vario_settings *given, size_t ranks);

/** Whether a step can be made with this learning rate; local. */
status library_rate(const runtime_settings *s, double lr);

/** What checkpoints say of settings: the keys that a job file has for them, and a config.json of
 * a model that is the program's own.
 * @param words  out: checkpoint_words_close frees it
 * @return STATUS_OK or STATUS_NOMEM (words are then empty) */
status library_words(checkpoint_words *words, const runtime_settings *s);

/** Make parameters of tensors; local. @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM (p is then
 * empty) */
status library_parameters(parameters *p, const vario_tensor *tensors, size_t count);

/** Whether initial weights, of tensors that are the same on all ranks, are finite and the same;
 * collective. */
status library_agree_weights(const vario_optimizer *v, float *const *values);

/** Whether [p->tensor_count] pointers are there. */
status library_values(const parameters *p, float *const *values, const char *call);

#endif
