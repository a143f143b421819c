/* Rounds of batches outermost, members within: what a batch adds up to is looked at and dropped. */
#include "analysis/predictive.h"

#include "base/memory.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"
#include "train/trainer_parts.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const member *members, *now; /* now: the one that predicts */
    size_t count, done;          /* done: members up to the one that predicts */
    const dataset *data;
    uint64_t batches, first; /* first: rank 0's in this round */
    size_t max, rows;        /* of a whole batch, of this rank's in this round */
    bool curve;
    const batch *b; /* this rank's */
    /* Sums over members, for each row of the batch; the last three of several members only. */
    double *likelihoods; /* logarithm of the sum of probabilities or densities */
    double *sums;        /* (rows, outputs) probabilities or means */
    double *squares;     /* (rows, outputs) of means, for values */
    double *entropies;   /* for classes */
    double noise;        /* of variances, for values */
    double *scratch;     /* (threads, outputs) */
    double *facts;       /* (rows, columns) */
    double *gathered;    /* rank 0: (P, rows, columns) */
    predictions *out;
} prediction;

static double nll_of(const prediction *e, size_t row)
{
    return log((double)e->done) - e->likelihoods[row];
}

static void set_class_facts(prediction *e, size_t row, const double *average)
{
    double *facts = e->facts + row * e->out->columns;
    size_t target = e->b->targets[row];
    prediction_score s = metrics_score(average, e->out->outputs, target);
    double expected = e->done == 1 ? s.entropy : e->entropies[row] / (double)e->done;
    facts[CLASS_NLL] = nll_of(e, row);
    facts[CLASS_TARGET] = (double)target;
    facts[CLASS_TOP] = (double)s.top;
    facts[CLASS_CONFIDENCE] = s.confidence;
    facts[CLASS_BRIER] = s.brier;
    facts[CLASS_ENTROPY] = s.entropy;
    facts[CLASS_EXPECTED] = expected;
    facts[CLASS_MUTUAL] = s.entropy < expected ? 0.0 : s.entropy - expected;
}

static void set_value_facts(prediction *e, size_t row)
{
    size_t outputs = e->out->outputs;
    double *facts = e->facts + row * e->out->columns, n = (double)e->done;
    facts[VALUE_NLL] = nll_of(e, row);
    facts[VALUE_ERROR] = 0.0;
    for (size_t at = row * outputs; at < (row + 1) * outputs; at++) {
        double *of = facts + VALUE_OF + (at - row * outputs) * VALUE_STRIDE;
        double mean = e->sums[at] / n, spread = e->squares[at] / n - mean * mean;
        of[VALUE_TARGET] = (double)e->b->values[at];
        of[VALUE_MEAN] = mean;
        of[VALUE_SPREAD] = spread < 0.0 ? 0.0 : spread; /* by rounding */
        of[VALUE_VARIANCE] = e->noise / n + of[VALUE_SPREAD];
        facts[VALUE_ERROR] += (mean - of[VALUE_TARGET]) * (mean - of[VALUE_TARGET]);
    }
}

static double *thread_scratch(const prediction *e)
{
    return e->scratch + (size_t)omp_get_thread_num() * e->out->outputs;
}

/* A single member's probabilities are looked at and not kept. */
static void note_class(prediction *e, size_t row, const float *logits)
{
    double *p = thread_scratch(e);
    size_t outputs = e->out->outputs;
    metrics_softmax(p, logits, outputs);
    if (e->count == 1) {
        set_class_facts(e, row, p);
        return;
    }
    e->entropies[row] += metrics_entropy(p, outputs);
    for (size_t i = 0; i < outputs; i++) e->sums[row * outputs + i] += p[i];
}

static void note_values(prediction *e, size_t row, const float *values)
{
    for (size_t i = 0; i < e->out->outputs; i++) {
        double value = (double)values[i];
        e->sums[row * e->out->outputs + i] += value;
        e->squares[row * e->out->outputs + i] += value * value;
    }
}

static void visit(void *context, size_t first, size_t rows, float *outputs)
{
    prediction *e = context;
    trainer *r = e->now->r;
    size_t columns = e->out->outputs;
    model_losses(r->losses + first, &r->config, e->b, first, rows, outputs);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < rows; i++) {
        size_t row = first + i;
        e->likelihoods[row] = metrics_add_logarithms(e->likelihoods[row], -(double)r->losses[row]);
        (e->out->classes ? note_class : note_values)(e, row, outputs + i * columns);
    }
}

static void look(prediction *e)
{
    size_t outputs = e->out->outputs;
    if (e->out->classes && e->count == 1) return; /* was done row by row */
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < e->rows; row++) {
        if (!e->out->classes) {
            set_value_facts(e, row);
            continue;
        }
        double *average = thread_scratch(e);
        for (size_t i = 0; i < outputs; i++)
            average[i] = e->sums[row * outputs + i] / (double)e->done;
        set_class_facts(e, row, average);
    }
}

/* Rank 0 gets the rows of a round, which follow those of the rounds before. */
static void gather(prediction *e, size_t point)
{
    comm *c = e->members[0].r->rounds.c;
    predictions *out = e->out;
    MPI_Request requests[c->size];
    size_t all = 0, begun = 0, before = (size_t)e->first * e->max;
    for (int from = 0; from < c->size; from++) {
        uint64_t b = e->first + (uint64_t)from;
        size_t rows = b < e->batches ? dataset_batch_rows(e->data, b) : 0;
        size_t bytes = rows * out->columns * sizeof *e->facts, at = all * out->columns;
        all += rows;
        if (rows == 0) continue;
        if (c->rank == 0 && from == 0)
            memcpy(e->gathered + at, e->facts, bytes);
        else if (c->rank == 0)
            comm_receive(c, e->gathered + at, bytes, from, TAG_PREDICTIONS, &requests[begun++]);
        else if (c->rank == from)
            comm_send(c, e->facts, bytes, 0, TAG_PREDICTIONS, BYTES_CONTROL, &requests[begun++]);
    }
    comm_wait(c, requests, begun);
    for (size_t k = 0; c->rank == 0 && k < out->columns; k++)
        for (size_t row = 0; row < all; row++)
            out->facts[point][k * out->rows + before + row] = e->gathered[row * out->columns + k];
}

static void clear_sums(prediction *e)
{
    size_t cells = e->rows * e->out->outputs;
    e->noise = 0.0;
    e->done = 0;
    for (size_t row = 0; row < e->rows; row++) e->likelihoods[row] = -INFINITY;
    if (e->sums) memory_clear(e->sums, cells * sizeof *e->sums);
    if (e->squares) memory_clear(e->squares, cells * sizeof *e->squares);
    if (e->entropies) memory_clear(e->entropies, e->rows * sizeof *e->entropies);
}

/* This rank's batch of the round with the next member. */
static void run_member(prediction *e, size_t active)
{
    const member *m = e->now = &e->members[e->done++];
    trainer *r = m->r;
    uint64_t b = e->first + (uint64_t)r->rounds.c->rank;
    noise_key key = noise_key_of_sample(r->job->seed, m->number, m->antithetic);
    noise_key drop = noise_key_of_sample(r->job->seed, m->number, false);
    drop.step = (uint32_t)(1 + b);
    e->noise += r->config.mlp.noise_variance;
    trainer_predict(r, e->rows ? e->b : NULL, active, m->draw == DRAW_SAMPLE ? &key : NULL,
                    m->draw == DRAW_DROPOUT ? &drop : NULL, visit, e);
}

static status run_round(prediction *e)
{
    trainer *r = e->members[0].r;
    uint64_t b = e->first + (uint64_t)r->rounds.c->rank, left = e->batches - e->first;
    size_t active = left < (uint64_t)r->rounds.c->size ? (size_t)left : (size_t)r->rounds.c->size;
    bool works = (size_t)r->rounds.c->rank < active;
    e->rows = works ? dataset_batch_rows(e->data, b) : 0;
    status read = works ? dataset_windows(e->data, b, &r->batch) : STATUS_OK;
    read = agree(r->rounds.c->world, read);
    if (read) return read;
    clear_sums(e);
    for (size_t point = 0; point < e->out->points; point++) {
        while (e->done < e->out->members[point]) run_member(e, active);
        look(e);
        gather(e, point);
    }
    return STATUS_OK;
}

/* Numbers, or zeros of them; nothing is wanted of 0. */
static bool take(double **values, size_t rows, size_t columns)
{
    size_t count;
    if (rows == 0 || columns == 0) return true;
    *values = memory_product(&count, rows, columns) ? calloc(count, sizeof **values) : NULL;
    return *values;
}

static status open_sums(prediction *e)
{
    predictions *out = e->out;
    bool several = e->count > 1, first = e->members[0].r->rounds.c->rank == 0;
    size_t kept = several || !out->classes ? out->outputs : 0;
    size_t ranks = (size_t)e->members[0].r->rounds.c->size;
    bool enough = take(&e->likelihoods, e->max, 1) && take(&e->sums, e->max, kept) &&
                  take(&e->squares, e->max, out->classes ? 0 : kept) &&
                  take(&e->entropies, e->max, out->classes && several) &&
                  take(&e->scratch, (size_t)omp_get_max_threads(), out->outputs) &&
                  take(&e->facts, e->max, out->columns) &&
                  take(&e->gathered, first ? ranks * e->max : 0, out->columns);
    if (!enough)
        return fail(STATUS_NOMEM,
                    "memory for averages of %zu rows with %zu outputs each (fewer --sequences take "
                    "less)",
                    e->max, out->outputs);
    for (size_t point = 0; point < out->points; point++)
        if (!take(&out->facts[point], out->rows, out->columns))
            return fail(STATUS_NOMEM, "memory for what %zu averages say of %zu rows", out->points,
                        out->rows);
    return STATUS_OK;
}

/* What open_sums takes. */
static status check_memory(const prediction *e)
{
    const predictions *out = e->out;
    comm *c = e->members[0].r->rounds.c;
    double each =
        1.0 + (double)out->columns +
        (double)(e->count > 1 || !out->classes) * (double)out->outputs * (out->classes ? 1 : 2);
    double bytes = 8.0 * (double)e->max * each;
    if (c->rank == 0)
        bytes += 8.0 * (double)out->columns *
                 ((double)c->size * (double)e->max + (double)out->points * (double)out->rows);
    return free_memory_check(c->world, bytes,
                             "%s: averages of batches of %zu rows with %zu outputs each (fewer "
                             "--sequences take less), and of %zu rows in all on rank 0",
                             e->members[0].r->job->name, e->max, out->outputs, out->rows);
}

static void close_sums(prediction *e)
{
    free(e->likelihoods);
    free(e->sums);
    free(e->squares);
    free(e->entropies);
    free(e->scratch);
    free(e->facts);
    free(e->gathered);
}

static void plan(prediction *e)
{
    const trainer *r = e->members[0].r;
    predictions *out = e->out;
    size_t outputs = model_outputs(&r->config);
    uint64_t there = dataset_batches(e->data), rows = 0;
    if (e->batches == 0 || e->batches > there) e->batches = there;
    e->max = job_sequences(r->job) * r->job->batch.length;
    if (e->batches) rows = (e->batches - 1) * e->max + dataset_batch_rows(e->data, e->batches - 1);
    *out = (predictions){.classes = model_has_classes(&r->config),
                         .outputs = outputs,
                         .length = r->job->batch.length,
                         .rows = r->rounds.c->rank == 0 ? (size_t)rows : 0,
                         .batch_rows = e->max};
    out->columns = out->classes ? CLASS_COLUMNS : VALUE_OF + outputs * VALUE_STRIDE;
    for (size_t n = 1; e->curve && n < e->count; n *= 2) out->members[out->points++] = n;
    out->members[out->points++] = e->count;
}

status predict(predictions *out, const member *members, size_t count, const dataset *data,
               uint64_t batches, bool curve)
{
    trainer *r = members[0].r;
    prediction e = {.members = members,
                    .count = count,
                    .data = data,
                    .batches = batches,
                    .curve = curve,
                    .b = &r->batch.view,
                    .out = out};
    plan(&e);
    status result = check_memory(&e);
    if (!result) result = agree(r->rounds.c->world, open_sums(&e));
    for (e.first = 0; !result && e.first < e.batches; e.first += (uint64_t)r->rounds.c->size)
        result = run_round(&e);
    close_sums(&e);
    return result;
}

void predictions_close(predictions *p)
{
    for (size_t point = 0; point < p->points; point++) free(p->facts[point]);
    *p = (predictions){0};
}

const double *predictions_column(const predictions *p, size_t point, size_t column)
{
    return p->facts[point] + column * p->rows;
}
