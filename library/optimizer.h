/** What the files of the library share. The optimizer is the rounds of a step whose
 * gradients come from outside. */
#ifndef VARIO_LIBRARY_OPTIMIZER_H
#define VARIO_LIBRARY_OPTIMIZER_H

#include "include/vario.h"
#include "io/jobs/job.h"
#include "runtime/rounds.h"

struct vario_optimizer {
    job job; /* of a program's own model; its schedule is the step's learning rate */
    comm c;
    rounds r;
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

/** Make a job of settings, which are in the ranges of a job's keys; local. */
status library_job(job *j, const vario_settings *settings, size_t ranks);

/** Whether a step can be made with this learning rate; local. */
status library_rate(const job *j, double lr);

/** Make parameters of tensors; local. @return STATUS_OK, STATUS_INPUT or STATUS_NOMEM (p is then
 * empty) */
status library_parameters(parameters *p, const vario_tensor *tensors, size_t count);

/** Whether initial weights, of tensors that are the same on all ranks, are finite and the same;
 * collective. */
status library_agree_weights(const vario_optimizer *v, float *const *values);

/** Whether [p->tensor_count] pointers are there. */
status library_values(const parameters *p, float *const *values, const char *call);

#endif
