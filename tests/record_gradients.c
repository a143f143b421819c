/* record_gradients JOB.yaml DIRECTORY: run a job on one rank, in fp32, and record what a program
 * with a model of its own would have been given and would have found:
 *
 *     DIRECTORY/tensors   a line a tensor: name, decayed, unit, dimensions, shape
 *     DIRECTORY/settings  a line of numbers: steps, items of a step, seed
 *     DIRECTORY/steps     a step: its learning rate (double), then of every work item the weights
 *                         that were drawn and their gradient, [elements] floats each
 */
#include "kernels/kernels.h"
#include "train/trainer_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    trainer r;
    model_hooks hooks; /* the trainer's own */
    float *theta, *gradient;
    const float **of_unit; /* where the unit's gradient is being written */
    FILE *out;
} recording;

static recording x; /* the hooks' context stays the trainer */

static void copy_unit(float *to, const float *from, size_t u)
{
    const unit *whole = &x.r.rounds.p.units[u];
    for (size_t i = whole->first; i < whole->first + whole->tensors; i++)
        memcpy(to + x.r.rounds.p.tensors[i].index,
               from + x.r.rounds.state.gradient.tensor_offset[i] / sizeof(float),
               x.r.rounds.p.tensors[i].count * sizeof(float));
}

static const void *record_weights(void *context, size_t u)
{
    const void *theta = x.hooks.weights(context, u);
    copy_unit(x.theta, theta, u);
    return theta;
}

static float *note_gradient(void *context, size_t u)
{
    float *gradient = x.hooks.gradients(context, u);
    x.of_unit[u] = gradient;
    return gradient;
}

/* Unit 0's is an item's last. */
static void record_gradient(void *context, size_t u)
{
    copy_unit(x.gradient, x.of_unit[u], u);
    if (u == 0) {
        fwrite(x.theta, sizeof(float), x.r.rounds.p.count, x.out);
        fwrite(x.gradient, sizeof(float), x.r.rounds.p.count, x.out);
    }
    x.hooks.gradients_done(context, u);
}

static FILE *create(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return fopen(path, "wb");
}

static void describe(const char *directory, const job *j)
{
    FILE *out = create(directory, "tensors");
    for (size_t i = 0; i < x.r.rounds.p.tensor_count; i++) {
        const tensor *t = &x.r.rounds.p.tensors[i];
        fprintf(out, "%s %d %zu %d", t->name, t->decayed, t->unit, t->dimensions);
        for (int d = 0; d < t->dimensions; d++) fprintf(out, " %zu", t->shape[d]);
        fputc('\n', out);
    }
    fclose(out);
    out = create(directory, "settings");
    fprintf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", j->steps, job_settings(j).items, j->seed);
    fclose(out);
}

static status record(const job *j, comm *c, const char *directory)
{
    dataset *data = NULL;
    step_result result;
    status code = dataset_open(&data, j, DATASET_TRAIN, NULL);
    if (!code) code = trainer_open(&x.r, j, c, DTYPE_F32, true);
    if (code) return code;
    x.hooks = x.r.hooks;
    x.r.hooks.weights = record_weights;
    x.r.hooks.gradients = note_gradient;
    x.r.hooks.gradients_done = record_gradient;
    x.theta = calloc(x.r.rounds.p.count, sizeof(float));
    x.gradient = calloc(x.r.rounds.p.count, sizeof(float));
    x.of_unit = calloc(x.r.rounds.p.unit_count, sizeof *x.of_unit);
    x.out = create(directory, "steps");
    if (!x.out) return fail(STATUS_IO, "%s: cannot be written to", directory);
    describe(directory, j);
    for (uint64_t t = 0; !code && t < j->steps; t++) {
        double lr = schedule_at(&j->schedule, t, j->steps);
        fwrite(&lr, sizeof lr, 1, x.out);
        code = trainer_step(&x.r, data, t, true, &result, NULL);
        if (!code && result.skipped) code = fail(STATUS_NUMERIC, "a step was skipped");
    }
    if (fclose(x.out) != 0 && !code) code = fail(STATUS_IO, "%s: write failed", directory);
    trainer_close(&x.r);
    dataset_close(&data);
    free(x.theta);
    free(x.gradient);
    free(x.of_unit);
    return code;
}

int main(int argc, char **argv)
{
    static job j;
    comm c;
    status code = comm_open(&c);
    kernels_open();
    if (!code && argc != 3)
        code = fail(STATUS_INPUT, "record_gradients JOB.yaml DIRECTORY expected");
    if (!code) code = job_read(&j, argv[1], NULL, 0);
    if (!code) code = record(&j, &c, argv[2]);
    if (code) fprintf(stderr, "record_gradients: %s\n", status_message());
    kernels_close();
    comm_close(&c);
    return status_exit_code(code);
}
