/* Validation: batch b on rank b mod P, losses in double, added in the order of b. */
#include "io/agree.h"
#include "kernels/kernels.h"
#include "runtime/trainer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    trainer *r;
    const tokens *data;
    uint64_t batches;
    double *probabilities; /* [own batches * tokens] sums over samples; NULL without samples */
} evaluation;

static void visit(void *context, size_t first, size_t rows, float *logits)
{
    trainer *r = context;
    size_t V = r->job->model.gpt2.vocab_size;
    cross_entropy(r->losses + first, NULL, 0, DTYPE_F32, logits, V, r->targets + first, rows, V,
                  1.0);
}

/* Run one round and leave the tokens' losses in r->losses. */
static status round_losses(evaluation *e, uint64_t round, const noise_key *key)
{
    trainer *r = e->r;
    size_t ranks = (size_t)r->c->size, S = r->job->batch.sequences, T = r->job->batch.length;
    uint64_t first = round * ranks, b = first + (uint64_t)r->c->rank;
    size_t active = e->batches - first < ranks ? (size_t)(e->batches - first) : ranks;
    status read = STATUS_OK;
    if (b < e->batches)
        for (size_t s = 0; s < S && !read; s++)
            read = tokens_window(e->data, b * S + s, r->inputs + s * T, r->targets + s * T);
    if (!key) read = agree(r->c->world, read); /* samples read what the mean's pass has read */
    if (read) return read;
    for (size_t from = 0; from < ranks; from++) r->keys[from] = key ? *key : (noise_key){0};
    weights_begin(&r->weights,
                  &(weights_round){.active = active, .keys = r->keys, .sampled = key != NULL});
    if (b < e->batches)
        gpt2_predict(r->model, &r->hooks,
                     &(batch){.sequences = S, .length = T, .tokens = r->inputs}, false,
                     (noise_key){0}, visit, r);
    else
        trainer_idle_pass(r, false);
    weights_end(&r->weights);
    return STATUS_OK;
}

/* Every rank's batch sums, added in the order of batches. */
static void add_batches(evaluation *e, uint64_t round, double mine, double *total)
{
    trainer *r = e->r;
    double all[r->c->size];
    MPI_Allgather(&mine, 1, MPI_DOUBLE, all, 1, MPI_DOUBLE, r->c->world);
    for (size_t from = 0; from < (size_t)r->c->size; from++)
        if (round * (uint64_t)r->c->size + from < e->batches) *total += all[from];
}

static status mean_loss(evaluation *e, uint64_t rounds, double *total)
{
    trainer *r = e->r;
    size_t n = r->job->batch.sequences * r->job->batch.length;
    for (uint64_t round = 0; round < rounds; round++) {
        status result = round_losses(e, round, NULL);
        if (result) return result;
        double sum = 0.0;
        bool works = round * (uint64_t)r->c->size + (uint64_t)r->c->rank < e->batches;
        for (size_t i = 0; works && i < n; i++) sum += (double)r->losses[i];
        add_batches(e, round, sum, total);
    }
    return STATUS_OK;
}

static status sampled_loss(evaluation *e, uint64_t rounds, uint64_t samples, double *total)
{
    trainer *r = e->r;
    size_t n = r->job->batch.sequences * r->job->batch.length;
    for (uint64_t s = 0; s < samples; s++) {
        noise_key key = {.seed = r->job->seed, .stream = STREAM_POSTERIOR, .sample = (uint32_t)s};
        for (uint64_t round = 0; round < rounds; round++) {
            status result = round_losses(e, round, &key);
            if (result) return result;
            bool works = round * (uint64_t)r->c->size + (uint64_t)r->c->rank < e->batches;
            for (size_t i = 0; works && i < n; i++)
                e->probabilities[round * n + i] += exp(-(double)r->losses[i]);
        }
    }
    for (uint64_t round = 0; round < rounds; round++) {
        double sum = 0.0;
        bool works = round * (uint64_t)r->c->size + (uint64_t)r->c->rank < e->batches;
        for (size_t i = 0; works && i < n; i++)
            sum -= log(e->probabilities[round * n + i] / (double)samples);
        add_batches(e, round, sum, total);
    }
    return STATUS_OK;
}

static uint64_t batches_there(const trainer *r, const tokens *data, uint64_t wanted)
{
    uint64_t there = tokens_windows(data) / r->job->batch.sequences;
    return wanted == 0 || wanted > there ? there : wanted;
}

status trainer_evaluate(trainer *r, const tokens *data, uint64_t batches, uint64_t samples,
                        double *loss, double *averaged)
{
    evaluation e = {.r = r, .data = data, .batches = batches_there(r, data, batches)};
    size_t n = r->job->batch.sequences * r->job->batch.length;
    uint64_t ranks = (uint64_t)r->c->size, rounds = (e.batches + ranks - 1) / ranks;
    double total = 0.0, sampled = 0.0;
    *loss = *averaged = NAN;
    if (e.batches == 0)
        return fail(STATUS_INPUT,
                    "%s: %llu windows of %zu tokens found, a batch of %zu sequences expected",
                    r->job->data.valid, (unsigned long long)tokens_windows(data),
                    r->job->batch.length, r->job->batch.sequences);
    if (samples > 0) e.probabilities = calloc(rounds * n, sizeof *e.probabilities);
    status result = samples > 0 && !e.probabilities
                        ? fail(STATUS_NOMEM, "memory for the losses of %llu batches",
                               (unsigned long long)rounds)
                        : STATUS_OK;
    result = agree(r->c->world, result);
    if (!result) result = mean_loss(&e, rounds, &total);
    if (!result && samples > 0) result = sampled_loss(&e, rounds, samples, &sampled);
    if (!result) {
        double count = (double)e.batches * (double)n;
        *loss = total / count;
        if (samples > 0) *averaged = sampled / count;
    }
    free(e.probabilities);
    return result;
}
