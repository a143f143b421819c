/* K-FAC's factors of a run, and one process's own way to them. */
#ifndef VARIO_TESTS_KFAC_TWIN_H
#define VARIO_TESTS_KFAC_TWIN_H

#include "analysis/kfac_parts.h"
#include "model_fixture.h"
#include "posterior/sampling.h"
#include "trainer_fixture.h"

enum { LAYERS = 16, MOST = 2048 /* numbers of a factor */ };

/* A run at its initial weights, and what is made of it. */
typedef struct {
    running on;
    kfac k;
    kfac_posterior q;
    kfac_options o;
} made;

static void made_begin(made *x, job j, kfac_options o)
{
    *x = (made){.o = o};
    running_look(&x->on, j);
    uint64_t rows = dataset_count(x->on.data) * j.batch.length;
    status result = kfac_begin(&x->k, &x->on.r, &x->o, &x->q, rows);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
}

static void made_open(made *x, job j, kfac_options o)
{
    made_begin(x, j, o);
    cr_assert_eq(kfac_accumulate(&x->k, x->on.data), STATUS_OK, "%s", status_message());
}

static void made_close(made *x)
{
    kfac_end(&x->k);
    kfac_close(&x->q);
    running_close(&x->on);
}

/* Everyone gets the factor from its owner, or from the grid, which keeps its lower triangle. */
static const double *shared(const made *x, size_t l, int side)
{
    static double found[MOST];
    const kfac_factor *f = &x->k.parts[l].factors[side];
    size_t count = f->n * f->n;
    cr_assert_leq(count, MOST);
    if (f->on_grid) {
        exact_get(f->grid, found);
        for (size_t i = 0; i < count; i++)
            if (i % f->n < i / f->n) found[i] = found[i % f->n * f->n + i / f->n];
        return found;
    }
    if (world.rank == f->owner) memcpy(found, f->matrix, count * sizeof *found);
    MPI_Bcast(found, (int)count, MPI_DOUBLE, f->owner, world.world);
    return found;
}

/* One process's own way to the factors: a model with plain buffers, whose rows are added up one by
 * one in double. */
typedef struct {
    buffers w; /* first: the context of its hooks */
    const made *x;
    model *m;
    dataset_batch batch;
    double *outputs; /* probabilities of the batch */
    size_t pass;
    double *factors[LAYERS][KFAC_SIDES];
    size_t rows; /* in all */
} twin;

static void add_outer(double *sum, const float *row, double scale, size_t width, size_t n)
{
    double x[n];
    for (size_t i = 0; i < n; i++) x[i] = i < width ? (double)row[i] : 1.0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) sum[i * n + j] += scale * x[i] * x[j];
}

static bool draws_labels(const twin *t)
{
    return model_outputs(&t->x->k.m.config) > KFAC_EXACT;
}

static void twin_layer(void *context, size_t weight, size_t rows, const void *in, const void *d)
{
    twin *t = context;
    const tensor *of = &t->w.p.tensors[weight];
    size_t I = of->shape[0], O = of->shape[1];
    for (size_t l = 0; l < t->x->k.layers; l++) {
        if (t->x->k.parts[l].weight != weight) continue;
        for (size_t r = 0; r < rows; r++) {
            double p =
                draws_labels(t) ? 1.0 : t->outputs[r * model_outputs(&t->x->k.m.config) + t->pass];
            if (t->pass == 0)
                add_outer(t->factors[l][KFAC_INPUTS], (const float *)in + r * I, 1.0, I, I + 1);
            add_outer(t->factors[l][KFAC_GRADIENTS], (const float *)d + r * O,
                      p * (double)rows * (double)rows, O, O);
        }
    }
}

static void twin_visit(void *context, size_t first, size_t rows, float *outputs)
{
    twin *t = context;
    size_t C = model_outputs(&t->x->k.m.config);
    for (size_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (size_t c = 0; c < C; c++) sum += exp((double)outputs[r * C + c]);
        for (size_t c = 0; c < C; c++)
            t->outputs[(first + r) * C + c] = exp((double)outputs[r * C + c]) / sum;
        if (!draws_labels(t)) continue;
        uint32_t word;
        noise_key key = {.seed = 3, .stream = STREAM_LABELS};
        noise_uniform_words(&word, key, t->rows + first + r, 1);
        t->batch.targets[first + r] = (uint16_t)sample_token(outputs + r * C, C, 1.0, 0, 1.0,
                                                             ((double)word + 0.5) / 4294967296.0);
    }
}

static void twin_batch(twin *t, uint64_t b)
{
    size_t left = 0;
    for (uint64_t v = b * t->x->k.m.job.batch.sequences;
         v < dataset_count(t->x->on.data) && v < (b + 1) * t->x->k.m.job.batch.sequences; v++)
        if (v != t->x->on.j.data.leave_out)
            cr_assert_eq(dataset_window(t->x->on.data, v, &t->batch, left++), STATUS_OK);
    t->batch.view.sequences = left;
    model_predict(t->m, &t->w.hooks, &t->batch.view, false, (noise_key){0}, twin_visit, t);
    size_t rows = left * t->x->on.j.batch.length, C = model_outputs(&t->x->k.m.config);
    for (t->pass = 0; t->pass < (draws_labels(t) ? 1 : C); t->pass++) {
        for (size_t r = 0; !draws_labels(t) && r < rows; r++)
            t->batch.targets[r] = (uint16_t)t->pass;
        model_backward(t->m, &t->w.hooks, &t->batch.view, (noise_key){0});
    }
    t->rows += rows;
}

/* Weights are those of a trainer that has them whole. */
static void twin_open(twin *t, const made *x)
{
    memset(t, 0, sizeof *t);
    t->x = x;
    model_shape shape = {
        .sequences = x->on.j.batch.sequences, .length = x->on.j.batch.length, .training = true};
    cr_assert_eq(model_parameters(&t->w.p, &x->k.m.config), STATUS_OK);
    buffers_open(&t->w, DTYPE_F32);
    omp_set_num_threads(1);
    for (size_t i = 0; i < t->w.p.tensor_count; i++) {
        const tensor *of = &t->w.p.tensors[i];
        initial_weights(t->w.theta + of->index, of->init_mean, of->init_deviation, x->on.j.seed,
                        of->index, of->count);
    }
    load_weights(&t->w);
    t->w.hooks.layer = twin_layer;
    cr_assert_eq(model_open(&t->m, &x->k.m.config, &shape), STATUS_OK);
    cr_assert_eq(dataset_batch_open(&t->batch, &x->k.m.job), STATUS_OK);
    t->outputs = calloc(x->k.max * model_outputs(&x->k.m.config), sizeof *t->outputs);
    for (size_t l = 0; l < x->k.layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            size_t n = x->k.parts[l].factors[side].n;
            t->factors[l][side] = calloc(n * n, sizeof(double));
        }
    for (uint64_t b = 0; b < dataset_batches(x->on.data); b++) twin_batch(t, b);
}

static void twin_close(twin *t)
{
    for (size_t l = 0; l < LAYERS; l++)
        for (int side = 0; side < KFAC_SIDES; side++) free(t->factors[l][side]);
    free(t->outputs);
    dataset_batch_close(&t->batch);
    model_close(&t->m);
    buffers_close(&t->w);
    kernels_open(); /* as it was before the buffers */
}

static void check_factors(const made *x, twin *t)
{
    cr_expect_eq(x->q.rows, t->rows);
    for (size_t l = 0; l < x->k.layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            size_t n = x->k.parts[l].factors[side].n;
            const double *found = shared(x, l, side);
            double max = 0.0, far = 0.0;
            for (size_t i = 0; i < n * n; i++) {
                double expected = t->factors[l][side][i] /= (double)t->rows;
                max = fmax(max, fabs(expected));
                far = fmax(far, fabs(found[i] - expected));
            }
            cr_expect_gt(max, 0.0);
            cr_expect_leq(far, 1e-10 * max, "layer %zu side %d: %g of %g", l, side, far, max);
        }
}

#endif
