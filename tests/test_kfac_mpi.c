/* Factors and samples of K-FAC on any number of ranks and in every stage, against dense sums over
 * the rows that a model takes in and gives back, and against closed forms. */
#include "kfac_root.h"
#include "kfac_twin.h"

MPI_SUITE(kfac, start, stop)

static job mlp_job(loss_kind loss, size_t hidden, shard_stage stage)
{
    job j = deep_job(loss, stage);
    if (hidden == 0) j.model.kind = MODEL_LINEAR;
    j.model.mlp.hidden_count = hidden;
    j.model.mlp.noise_variance = 0.25;
    j.optimizer.kind = OPTIMIZER_ADAMW;
    return j;
}

static job text_job(shard_stage stage, size_t vocabulary)
{
    job j = tokens_job(stage, 8, vocabulary);
    j.optimizer.kind = OPTIMIZER_ADAMW;
    return j;
}

static const kfac_options plain = {.ess = NAN, .precision = NAN, .samples = 1};

static void check_job(job j, size_t grid_from)
{
    made x;
    twin t;
    kfac_options o = plain;
    o.grid_from = grid_from;
    made_open(&x, j, o);
    twin_open(&t, &x);
    check_factors(&x, &t);
    twin_close(&t);
    made_close(&x);
}

/* 43 examples less one, in batches of eight: the last is short. */
MPI_TEST(factors_of_a_perceptron)
{
    check_job(mlp_job(LOSS_CROSS_ENTROPY, 2, SHARD_GRADIENTS), 0);
    check_job(mlp_job(LOSS_CROSS_ENTROPY, 2, SHARD_PARAMETERS), 0);
}

/* Of 97 tokens labels are drawn, of 50 all are taken. */
MPI_TEST(factors_of_blocks)
{
    check_job(text_job(SHARD_GRADIENTS, 97), 0);
    check_job(text_job(SHARD_PARAMETERS, 50), 0);
}

/* All of them together, or some: layers of a perceptron are 3 x 6, 7 x 7 and 8 x 2. */
MPI_TEST(factors_on_the_grid)
{
    check_job(mlp_job(LOSS_CROSS_ENTROPY, 2, SHARD_GRADIENTS), 1);
    check_job(mlp_job(LOSS_CROSS_ENTROPY, 2, SHARD_GRADIENTS), 7);
    check_job(text_job(SHARD_PARAMETERS, 97), 24);
}

/* y = x W, N(f, 1/4): A is the mean of (x, 1)^T (x, 1) and G is 4, whatever the labels. */
MPI_TEST(factors_of_a_linear_regression)
{
    made x;
    dataset_batch b;
    double expected[4] = {0};
    made_open(&x, mlp_job(LOSS_GAUSSIAN, 0, SHARD_GRADIENTS), plain);
    cr_assert_eq(dataset_batch_open(&b, &x.on.j), STATUS_OK);
    for (uint64_t v = 0; v < COUNT; v++) {
        if (v == 11) continue;
        cr_assert_eq(dataset_window(x.on.data, v, &b, 0), STATUS_OK);
        double in = (double)b.inputs[0], row[] = {in * in, in, in, 1.0};
        for (size_t i = 0; i < 4; i++) expected[i] += row[i] / (COUNT - 1);
    }
    const double *found = shared(&x, 0, KFAC_INPUTS);
    for (size_t i = 0; i < 4; i++) cr_expect_float_eq(found[i], expected[i], 1e-13);
    cr_expect_float_eq(shared(&x, 0, KFAC_GRADIENTS)[0], 4.0, 1e-5);
    cr_expect_float_eq(x.q.lambda, COUNT, 0.0);
    cr_expect_float_eq(x.q.tau, 0.01 * COUNT, 1e-12);
    dataset_batch_close(&b);
    made_close(&x);
}

/* Softmax of two classes: G is the mean of diag(p) - p p^T, to what fp32 logits are worth. */
MPI_TEST(factors_of_a_softmax_regression)
{
    made x;
    dataset_batch b;
    made_open(&x, mlp_job(LOSS_CROSS_ENTROPY, 0, SHARD_GRADIENTS), plain);
    cr_assert_eq(dataset_batch_open(&b, &x.on.j), STATUS_OK);
    const float *w = x.on.r.rounds.state.mean.values;
    double variance = 0.0;
    for (uint64_t v = 0; v < COUNT; v++) {
        if (v == 11) continue;
        cr_assert_eq(dataset_window(x.on.data, v, &b, 0), STATUS_OK);
        double z = 0.0;
        for (size_t i = 0; i < 2; i++)
            z += (double)b.inputs[i] * ((double)w[2 * i + 1] - (double)w[2 * i]);
        z += (double)w[5] - (double)w[4];
        variance += 1.0 / (1.0 + exp(z)) / (1.0 + exp(-z)) / (COUNT - 1);
    }
    const double *found = shared(&x, 0, KFAC_GRADIENTS);
    for (size_t i = 0; i < 4; i++) cr_expect_float_eq(found[i], i % 3 ? -variance : variance, 1e-6);
    dataset_batch_close(&b);
    made_close(&x);
}

/* A sample is mean + root of the covariance times the elements' own noise z, so that its deviation
 * d has d^T precision d = z^T z; here with dense precisions of factors that everyone has. */
static void check_sample(made *x, size_t l, const double *a, const double *g, size_t s)
{
    const kfac_part *part = &x->k.parts[l];
    size_t I = part->factors[KFAC_INPUTS].n, O = part->factors[KFAC_GRADIENTS].n;
    size_t first = x->on.r.rounds.p.tensors[part->weight].index;
    double d[part->count], z[part->count], form = 0.0, expected = 0.0;
    noise_normals_reference(
        z, (noise_key){.seed = 3, .stream = STREAM_POSTERIOR, .sample = (uint32_t)s}, first,
        part->count);
    for (size_t i = 0; i < part->count; i++) {
        d[i] = (double)x->q.draws[s].values[first + i] -
               (double)x->on.r.rounds.state.mean.values[first + i];
        expected += z[i] * z[i];
    }
    for (size_t i = 0; i < part->count; i++)
        for (size_t j = 0; j < part->count; j++)
            form += d[i] * d[j] *
                    (x->q.lambda * a[i / O * I + j / O] * g[i % O * O + j % O] +
                     (i == j ? x->q.tau : 0.0));
    cr_expect_float_eq(form, expected, 1e-4 * expected, "layer %zu: %g, %g", l, form, expected);
}

/* At home the root of a layer's covariance, and its samples everywhere. */
static void check_layers(size_t grid_from)
{
    made x;
    double a[LAYERS][MOST], g[LAYERS][MOST];
    const kfac_options o = {.ess = NAN, .precision = 0.5, .samples = 3, .grid_from = grid_from};
    made_open(&x, mlp_job(LOSS_CROSS_ENTROPY, 2, SHARD_GRADIENTS), o);
    for (size_t l = 0; l < x.k.layers; l++) {
        memcpy(a[l], shared(&x, l, KFAC_INPUTS), sizeof a[l]);
        memcpy(g[l], shared(&x, l, KFAC_GRADIENTS), sizeof g[l]);
    }
    cr_assert_eq(kfac_decompose(&x.k), STATUS_OK, "%s", status_message());
    for (size_t l = 0; l < x.k.layers; l++) {
        if (x.k.parts[l].home != world.rank) continue;
        const kfac_layer layer = kfac_layer_of(&x.k, l);
        double far = kfac_root_error(&layer, a[l], g[l]);
        cr_expect_lt(far, 1e-10, "layer %zu, grid from %zu: %g", l, grid_from, far);
    }
    kfac_sample(&x.k);
    for (size_t l = 0; l < x.k.layers; l++)
        for (size_t s = 0; s < 3; s++) check_sample(&x, l, a[l], g[l], s);
    made_close(&x);
}

MPI_TEST(samples_have_the_dense_precision)
{
    check_layers(0);
    world.count_max = 64; /* messages of several parts */
    check_layers(7);
}

/* A factor of 2101 columns, and one of 1: the grid takes three times the work, so it wants four
 * ranks. Beside another of its size it stays with its owner. */
MPI_TEST(the_grid_is_for_factors_that_others_wait_for)
{
    made x;
    job j = mlp_job(LOSS_GAUSSIAN, 0, SHARD_GRADIENTS);
    j.model.mlp.inputs = j.data.features = 2100;
    made_begin(&x, j, plain);
    cr_expect_eq(x.q.on_grid, world.size < 4 ? 0 : 1);
    made_close(&x);
    j = mlp_job(LOSS_CROSS_ENTROPY, 1, SHARD_GRADIENTS);
    j.model.mlp.hidden[0] = 2100;
    made_begin(&x, j, plain);
    cr_expect_eq(x.q.on_grid, 0);
    made_close(&x);
}

/* A trainer gives what was drawn, whole or from its owners, and what is no layer's at its mean. */
MPI_TEST(trainers_give_the_samples)
{
    trainer r[2];
    kfac_posterior q[2];
    kfac_options o = {.ess = 10.0, .precision = 5.0, .samples = 2};
    job j[] = {text_job(SHARD_NONE, 97), text_job(SHARD_PARAMETERS, 97)};
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(trainer_open(&r[i], &j[i], &world, DTYPE_F32, false), STATUS_OK);
        cr_assert_eq(kfac_draw(&q[i], &r[i], &o), STATUS_OK, "%s", status_message());
        cr_expect_eq(q[i].layers, 12);
        cr_expect_eq(q[i].widest, 33);
    }
    for (size_t p = 0; p < r[1].rounds.owned.owned_count; p++) {
        const slice *part = &r[1].rounds.owned.owned[p];
        size_t index = slice_index(&r[1].rounds.p, part);
        const tensor *t = &r[1].rounds.p.tensors[part->tensor];
        bool layer = t->unit > 0 && t->unit < 4 && !strstr(t->name, "ln_");
        for (uint32_t s = 0; s < 2; s++) {
            float theta[part->count];
            noise_key key = {.seed = 3, .stream = STREAM_POSTERIOR, .sample = s};
            state_sample(&r[1].rounds.state, part, key, theta, DTYPE_F32);
            cr_expect_arr_eq(theta, q[0].draws[s].values + index, sizeof theta);
            bool moved = memcmp(theta, r[0].rounds.state.mean.values + index, sizeof theta) != 0;
            cr_expect_eq(moved, layer, "%s", t->name);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        kfac_close(&q[i]);
        trainer_close(&r[i]);
    }
}

static void must_fail(job j, kfac_options o, status expected, const char *what)
{
    trainer r;
    kfac_posterior q;
    cr_assert_eq(trainer_open(&r, &j, &world, DTYPE_F32, false), STATUS_OK);
    status result = kfac_draw(&q, &r, &o);
    cr_expect_eq(result, expected);
    cr_expect(strstr(status_message(), what), "'%s' expected in: %s", what, status_message());
    status_clear();
    kfac_close(&q);
    trainer_close(&r);
}

MPI_TEST(refuses_what_it_cannot_do)
{
    kfac_options o = {.ess = NAN, .precision = NAN, .samples = 1};
    job j = mlp_job(LOSS_CROSS_ENTROPY, 1, SHARD_GRADIENTS), wide = j;
    o.batches = 7;
    must_fail(j, o, STATUS_INPUT, "moons:7-49: 6 batches of 8 found");
    o.batches = 0;
    wide.model.mlp.hidden[0] = 32000;
    must_fail(wide, o, STATUS_INPUT, "tensor 'layers.1.weight': a K-FAC factor of 32001");
    o.samples = SIZE_MAX / 1024;
    must_fail(j, o, STATUS_NOMEM, ": K-FAC of 2 layers: rank 0 wants");
    o.samples = 1;
    j.optimizer.weight_decay = 0.0;
    must_fail(j, o, STATUS_INPUT, "--prior-precision TAU expected");
    j.optimizer.weight_decay = 0.01;
    strcpy(j.data.train, "csv:/nowhere.csv");
    must_fail(j, o, STATUS_INPUT, "/nowhere.csv");
}
