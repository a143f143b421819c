/* Rows travel, sums stay home. A pass keeps what every layer took in and gave back; after it each
 * rank sends these rows to the owners of the factors, who add them up in the order of batches: so
 * the bits do not depend on the number of ranks, and no rank has every factor. */
#include "analysis/kfac_parts.h"
#include "kernels/dense.h"
#include "kernels/kernels.h"
#include "posterior/kfac.h"
#include "posterior/sampling.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void keep_rows(void *context, size_t weight, size_t rows, const void *in, const void *d)
{
    kfac *k = context;
    const tensor *t = &k->m.r->rounds.p.tensors[weight];
    for (size_t l = 0; l < k->layers; l++) {
        kfac_part *part = &k->parts[l];
        if (part->weight != weight) continue;
        if (k->pass == 0)
            convert(part->factors[KFAC_INPUTS].rows, DTYPE_F32, in, k->m.r->precision,
                    rows * t->shape[0]);
        convert(part->factors[KFAC_GRADIENTS].rows, DTYPE_F32, d, k->m.r->precision,
                rows * t->shape[1]);
    }
}

static double uniform(const kfac *k, uint64_t row)
{
    uint32_t word;
    noise_key key = {.seed = k->m.job.seed, .stream = STREAM_LABELS};
    noise_uniform_words(&word, key, row, 1);
    return ((double)word + 0.5) / 4294967296.0;
}

static void keep_probabilities(double *p, const float *logits, size_t count)
{
    double max = -INFINITY, sum = 0.0;
    for (size_t i = 0; i < count; i++) max = fmax(max, (double)logits[i]);
    for (size_t i = 0; i < count; i++) sum += p[i] = exp((double)logits[i] - max);
    for (size_t i = 0; i < count; i++) p[i] /= sum;
}

/* Values around the model's own, as its loss has them. */
static void draw_values(const kfac *k, size_t row, const float *values, size_t count)
{
    noise_key key = {.seed = k->m.job.seed, .stream = STREAM_LABELS};
    float deviation = (float)sqrt(k->m.config.mlp.noise_variance);
    for (size_t i = 0; i < count; i++) {
        float z;
        noise_normals(&z, NULL, key, (k->batch_row + row) * count + i, 1);
        k->m.batch.values[row * count + i] = values[i] + deviation * z;
    }
}

/* What a forward pass says of rows: all of it, or a label for each. */
static void visit(void *context, size_t first, size_t rows, float *outputs)
{
    kfac *k = context;
    size_t count = model_outputs(&k->m.config);
    bool classes = model_has_classes(&k->m.config);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < rows; i++) {
        size_t row = first + i;
        const float *of = outputs + i * count;
        double *kept = k->exact ? k->outputs + row * count : NULL;
        if (kept && classes)
            keep_probabilities(kept, of, count);
        else if (kept)
            for (size_t o = 0; o < count; o++) kept[o] = (double)of[o];
        else if (classes)
            k->m.batch.targets[row] =
                (uint16_t)sample_token(of, count, 1.0, 0, 1.0, uniform(k, k->batch_row + row));
        else
            draw_values(k, row, of, count);
    }
}

/* Labels of a pass, and the roots of their probabilities. Of class c the gradient by the outputs is
 * p - e_c; of values, whose loss has the second derivative 1/s^2 by each, s below output o makes it
 * e_o / s. */
static void set_labels(kfac *k, double *roots, size_t rows)
{
    size_t count = model_outputs(&k->m.config);
    double deviation = sqrt(k->m.config.mlp.noise_variance);
    for (size_t row = 0; row < rows; row++) {
        roots[row] = 1.0;
        if (!k->exact) continue;
        const double *of = k->outputs + row * count;
        if (model_has_classes(&k->m.config)) {
            k->m.batch.targets[row] = (uint16_t)k->pass;
            roots[row] = sqrt(of[k->pass]);
            continue;
        }
        for (size_t o = 0; o < count; o++)
            k->m.batch.values[row * count + o] = (float)(o == k->pass ? of[o] - deviation : of[o]);
    }
}

/* Of inputs the bias's 1 is no number that travels. */
static size_t bias_of(const kfac_part *part, int side)
{
    return side == KFAC_INPUTS ? part->bias : 0;
}

/* Rows of a rank's batch, in k->work. A pass gives gradients of the mean over its rows. */
static void widen(kfac *k, const kfac_part *part, int side, int from, const float *x)
{
    const kfac_factor *f = &part->factors[side];
    size_t rows = k->rows[from];
    if (side == KFAC_INPUTS)
        kfac_widen_inputs(k->work, x, rows, f->n - part->bias, part->bias);
    else
        kfac_widen_gradients(k->work, x, (double)rows, k->roots + (size_t)from * k->max, rows,
                             f->n);
}

static size_t row_bytes(const kfac *k, const kfac_part *part, int side, int from)
{
    return k->rows[from] * (part->factors[side].n - bias_of(part, side)) * sizeof(float);
}

/* Inputs are the same in every pass. */
static bool is_sent(const kfac *k, int side)
{
    return side == KFAC_GRADIENTS || k->pass == 0;
}

/* Those on the grid are added up by all ranks together, one after the other. */
static status add_on_grid(kfac *k)
{
    int rank = k->m.r->rounds.c->rank;
    status result = STATUS_OK;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; !result && side < KFAC_SIDES; side++) {
            const kfac_factor *f = &k->parts[l].factors[side];
            if (!f->on_grid || !is_sent(k, side)) continue;
            widen(k, &k->parts[l], side, rank, f->rows);
            result = exact_add_products(f->grid, k->work, k->rows[rank]);
        }
    return result;
}

static void receive_now(comm *c, float *rows, size_t bytes, int from)
{
    MPI_Request request;
    comm_receive(c, rows, bytes, from, TAG_FACTORS, &request);
    comm_wait(c, &request, 1);
}

static void send_rows(kfac *k)
{
    comm *c = k->m.r->rounds.c;
    size_t sent = 0;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            const kfac_factor *f = &k->parts[l].factors[side];
            if (f->on_grid || f->owner == c->rank || !is_sent(k, side) || k->rows[c->rank] == 0)
                continue;
            comm_send(c, f->rows, row_bytes(k, &k->parts[l], side, c->rank), f->owner, TAG_FACTORS,
                      BYTES_CONTROL, &k->sends[sent++]);
        }
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            const kfac_part *part = &k->parts[l];
            const kfac_factor *f = &part->factors[side];
            if (f->on_grid || f->owner != c->rank || !is_sent(k, side)) continue;
            for (int from = 0; from < c->size; from++) {
                const float *x = from == c->rank ? f->rows : k->received;
                if (k->rows[from] == 0) continue;
                if (from != c->rank)
                    receive_now(c, k->received, row_bytes(k, part, side, from), from);
                widen(k, part, side, from, x);
                dense_add_squares(f->matrix, k->work, k->rows[from], f->n);
            }
        }
    comm_wait(c, k->sends, sent);
}

static status run_pass(kfac *k, size_t active)
{
    comm *c = k->m.r->rounds.c;
    size_t rows = k->rows[c->rank];
    double *roots = k->roots + (size_t)c->rank * k->max;
    set_labels(k, roots, rows);
    if (mean_pass_begin(&k->m, active, true, rows > 0))
        model_backward(k->m.model, &k->m.hooks, &k->m.batch.view, (noise_key){0});
    mean_pass_end(&k->m);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, k->roots, (int)k->max, MPI_DOUBLE, c->world);
    send_rows(k);
    return add_on_grid(k);
}

/* Sequences of a batch; the example that is left out is none of them. */
static size_t sequences_of(const kfac *k, const dataset *data, uint64_t b, uint64_t batches)
{
    uint64_t first = b * k->m.job.batch.sequences, left_out = k->m.job.data.leave_out;
    if (b >= batches) return 0;
    size_t there = dataset_batch_rows(data, b) / k->m.job.batch.length;
    return left_out >= first && left_out - first < there ? there - 1 : there;
}

static status read_batch(kfac *k, const dataset *data, uint64_t b, size_t sequences)
{
    uint64_t v = b * k->m.job.batch.sequences;
    status result = STATUS_OK;
    k->batch_row = v * k->m.job.batch.length;
    k->m.batch.view.sequences = sequences;
    for (size_t s = 0; !result && s < sequences; v++)
        if (!dataset_left_out(data, v)) result = dataset_window(data, v, &k->m.batch, s++);
    return result;
}

static status run_round(kfac *k, const dataset *data, uint64_t first, uint64_t batches)
{
    comm *c = k->m.r->rounds.c;
    size_t length = k->m.job.batch.length, ranks = (size_t)c->size;
    size_t active = batches - first < ranks ? (size_t)(batches - first) : ranks;
    uint64_t mine = first + (uint64_t)c->rank;
    for (size_t from = 0; from < ranks; from++) {
        k->rows[from] = sequences_of(k, data, first + from, batches) * length;
        k->q->rows += k->rows[from];
    }
    size_t rows = k->rows[c->rank];
    status result = agree(c->world, read_batch(k, data, mine, rows / length));
    if (result) return result;
    if (mean_pass_begin(&k->m, active, false, rows > 0))
        model_predict(k->m.model, &k->m.hooks, &k->m.batch.view, false, (noise_key){0}, visit, k);
    mean_pass_end(&k->m);
    for (k->pass = 0; !result && k->pass < k->passes; k->pass++) result = run_pass(k, active);
    return result;
}

/* The mean of a sum on the grid; its trace. */
static double mean_on_grid(const kfac *k, const kfac_factor *f)
{
    double trace = 0.0;
    exact_scale(f->grid, 1.0 / (double)k->q->rows);
    exact_diagonal(f->grid, f->values);
    for (size_t i = 0; i < f->n; i++) trace += f->values[i];
    return trace;
}

/* No rank leaves early: the others would wait for it on the grid. */
static status finish_factors(kfac *k)
{
    status result = STATUS_OK;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            kfac_factor *f = &k->parts[l].factors[side];
            double trace = 0.0;
            if (f->on_grid)
                trace = mean_on_grid(k, f);
            else if (f->owner == k->m.r->rounds.c->rank)
                trace = kfac_mean(f->matrix, (double)k->q->rows, f->n);
            if (!isfinite(trace))
                result = fail(STATUS_NUMERIC,
                              "%s: tensor '%s': its %s have no finite mean square; K-FAC needs a "
                              "run that is whole",
                              k->m.job.name, k->m.r->rounds.p.tensors[k->parts[l].weight].name,
                              side == KFAC_INPUTS ? "inputs" : "gradients");
        }
    return result;
}

status kfac_accumulate(kfac *k, const dataset *data)
{
    uint64_t there = dataset_batches(data), batches = k->o->batches ? k->o->batches : there;
    status result = STATUS_OK;
    k->m.hooks.layer = keep_rows;
    if (batches > there || there == 0)
        return fail(STATUS_INPUT,
                    "%s: %" PRIu64 " batches of %" PRIu64 " found in the training data, at least "
                    "%" PRIu64 " expected (--factor-batches)",
                    k->m.job.data.train, there, k->m.job.batch.sequences, there ? batches : 1);
    for (uint64_t first = 0; !result && first < batches; first += (uint64_t)k->m.r->rounds.c->size)
        result = run_round(k, data, first, batches);
    return result ? result : agree(k->m.r->rounds.c->world, finish_factors(k));
}
