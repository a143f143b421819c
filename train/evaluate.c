/* Validation: batch b on rank b mod P, sums in double, added in the order of b. */
#include "posterior/metrics.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "train/trainer_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* What a batch, or all of them, add up to. */
typedef struct {
    double loss, right, rows;
} sums;

typedef struct {
    trainer *r;
    const dataset *data;
    uint64_t batches, rounds, samples;
    size_t max;     /* rows of a whole batch */
    size_t classes; /* of an example; 0: nobody asks for the likeliest */
    uint64_t round; /* in progress */
    bool sampling;  /* at a posterior sample, else at the mean */
    sums mine;      /* of the round, at the mean */
    /* Over samples, for each row of this rank's batches: */
    double *likelihoods;   /* sum of probabilities, or the logarithm of the sum of densities */
    double *probabilities; /* (rows, classes) sums */
    uint16_t *targets;
} evaluation;

static size_t largest_output(const float *outputs, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (outputs[i] > outputs[best]) best = i;
    return best;
}

static size_t likeliest(const double *probabilities, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (probabilities[i] > probabilities[best]) best = i;
    return best;
}

static void add_softmax(double *probabilities, const float *outputs, size_t count)
{
    double p[count];
    metrics_softmax(p, outputs, count);
    for (size_t i = 0; i < count; i++) probabilities[i] += p[i];
}

static bool has_densities(const evaluation *e)
{
    return !model_has_classes(&e->r->config);
}

static void note_mean(evaluation *e, size_t row, const float *outputs)
{
    const uint16_t *targets = e->r->batch.targets;
    e->mine.loss += (double)e->r->losses[row];
    if (!e->classes) return;
    if (largest_output(outputs, e->classes) == targets[row]) e->mine.right += 1.0;
    if (e->targets) e->targets[e->round * e->max + row] = targets[row];
}

static void note_sample(evaluation *e, size_t row, const float *outputs)
{
    size_t at = e->round * e->max + row;
    double loss = (double)e->r->losses[row], *sum = &e->likelihoods[at];
    *sum = has_densities(e) ? metrics_add_logarithms(*sum, -loss) : *sum + exp(-loss);
    if (e->classes) add_softmax(e->probabilities + at * e->classes, outputs, e->classes);
}

static void visit(void *context, size_t first, size_t rows, float *outputs)
{
    evaluation *e = context;
    size_t columns = model_outputs(&e->r->config);
    model_losses(e->r->losses + first, &e->r->config, &e->r->batch.view, first, rows, outputs);
    for (size_t i = 0; i < rows; i++)
        (e->sampling ? note_sample : note_mean)(e, first + i, outputs + i * columns);
}

/* Rows of this rank's batch of a round; 0 without one. */
static size_t rows_of(const evaluation *e, uint64_t round)
{
    uint64_t b = round * (uint64_t)e->r->rounds.c->size + (uint64_t)e->r->rounds.c->rank;
    return b < e->batches ? dataset_batch_rows(e->data, b) : 0;
}

/* Visit this rank's batch. */
static status run_round(evaluation *e, const noise_key *key)
{
    trainer *r = e->r;
    size_t ranks = (size_t)r->rounds.c->size;
    uint64_t first = e->round * ranks;
    size_t active = e->batches - first < ranks ? (size_t)(e->batches - first) : ranks;
    bool works = (size_t)r->rounds.c->rank < active;
    status read = works ? dataset_windows(e->data, first + (uint64_t)r->rounds.c->rank, &r->batch)
                        : STATUS_OK;
    if (!key)
        read = agree(r->rounds.c->world, read); /* samples read what the mean's pass has read */
    if (read) return read;
    trainer_predict(r, works ? &r->batch.view : NULL, active, key, NULL, visit, e);
    return STATUS_OK;
}

/* Every rank's batch, added in the order of batches. */
static void add_batches(evaluation *e, sums mine, sums *total)
{
    trainer *r = e->r;
    sums all[r->rounds.c->size];
    MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE,
                  r->rounds.c->world);
    for (size_t from = 0; from < (size_t)r->rounds.c->size; from++) {
        if (e->round * (uint64_t)r->rounds.c->size + from >= e->batches) continue;
        total->loss += all[from].loss;
        total->right += all[from].right;
        total->rows += all[from].rows;
    }
}

static status run_mean(evaluation *e, sums *total)
{
    for (e->round = 0; e->round < e->rounds; e->round++) {
        e->mine = (sums){.rows = (double)rows_of(e, e->round)};
        status result = run_round(e, NULL);
        if (result) return result;
        add_batches(e, e->mine, total);
    }
    return STATUS_OK;
}

/* What the samples say of this rank's batch together. */
static sums average_round(const evaluation *e)
{
    size_t rows = rows_of(e, e->round), first = e->round * e->max;
    double samples = (double)e->samples;
    sums mine = {.rows = (double)rows};
    for (size_t at = first; at < first + rows; at++) {
        double sum = e->likelihoods[at];
        mine.loss -= has_densities(e) ? sum - log(samples) : log(sum / samples);
        if (!e->classes) continue;
        size_t best = likeliest(e->probabilities + at * e->classes, e->classes);
        if (best == e->targets[at]) mine.right += 1.0;
    }
    return mine;
}

static status run_samples(evaluation *e, sums *total)
{
    e->sampling = true;
    for (uint64_t s = 0; s < e->samples; s++) {
        const job *j = e->r->job;
        noise_key key = noise_key_of_sample(j->seed, (uint32_t)s, j->eval.antithetic);
        for (e->round = 0; e->round < e->rounds; e->round++) {
            status result = run_round(e, &key);
            if (result) return result;
        }
    }
    for (e->round = 0; e->round < e->rounds; e->round++) add_batches(e, average_round(e), total);
    return STATUS_OK;
}

static status open_averages(evaluation *e)
{
    size_t rows = (size_t)e->rounds * e->max;
    if (e->samples == 0) return STATUS_OK;
    e->likelihoods = calloc(rows, sizeof *e->likelihoods);
    if (e->classes) e->probabilities = calloc(rows * e->classes, sizeof *e->probabilities);
    if (e->classes) e->targets = calloc(rows, sizeof *e->targets);
    if (!e->likelihoods || (e->classes && (!e->probabilities || !e->targets)))
        return fail(STATUS_NOMEM, "memory for the losses of %" PRIu64 " batches", e->rounds);
    for (size_t i = 0; has_densities(e) && i < rows; i++) e->likelihoods[i] = -INFINITY;
    return STATUS_OK;
}

static status check_memory(const evaluation *e)
{
    double rows = (double)e->rounds * (double)e->max;
    double bytes = 8.0 * rows * (1.0 + (double)e->classes);
    return free_memory_check(e->r->rounds.c->world, bytes,
                             "%s: averages over %.4g rows of validation a rank", e->r->job->name,
                             rows);
}

static void close_averages(evaluation *e)
{
    free(e->likelihoods);
    free(e->probabilities);
    free(e->targets);
}

static evaluation plan_evaluation(trainer *r, const dataset *data, uint64_t batches,
                                  uint64_t samples)
{
    uint64_t there = dataset_batches(data), ranks = (uint64_t)r->rounds.c->size;
    uint64_t wanted = batches * r->rounds.state.settings.parts; /* a batch here is a part's */
    if (wanted == 0 || wanted > there) wanted = there;
    bool examples = !model_reads_tokens(&r->config);
    return (evaluation){
        .r = r,
        .data = data,
        .batches = wanted,
        .rounds = (wanted + ranks - 1) / ranks,
        .samples = samples,
        .max = job_sequences(r->job) * r->job->batch.length,
        .classes = examples && model_has_classes(&r->config) ? model_outputs(&r->config) : 0};
}

status trainer_evaluate(trainer *r, const dataset *data, uint64_t batches, uint64_t samples,
                        validation *out)
{
    evaluation e = plan_evaluation(r, data, batches, samples);
    sums mean = {0}, averaged = {0};
    *out = (validation){NAN, NAN, NAN, NAN};
    status result = samples > 0 ? check_memory(&e) : STATUS_OK;
    if (!result) result = agree(r->rounds.c->world, open_averages(&e));
    if (!result) result = run_mean(&e, &mean);
    if (!result && samples > 0) result = run_samples(&e, &averaged);
    if (!result) {
        out->loss = mean.loss / mean.rows;
        if (e.classes) out->accuracy = mean.right / mean.rows;
        if (samples > 0) out->averaged = averaged.loss / averaged.rows;
        if (samples > 0 && e.classes) out->accuracy_averaged = averaged.right / averaged.rows;
    }
    close_averages(&e);
    return result;
}
