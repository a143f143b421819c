/* Posteriors from squared gradients, on any number of ranks and in every stage, against gradients
 * that are found in another way. */
#include "analysis/curvature.h"
#include "checkpoint_fixture.h"
#include "trainer_fixture.h"

#include <jansson.h>

MPI_SUITE(curvature, start, stop)

enum { MOST = 64 /* parameters */ };

/* A run without a posterior, and what is made of it. */
typedef struct {
    job job;
    parameters p;
    sharding all; /* of one rank */
    char folder[PATH_LENGTH], run[2 * PATH_LENGTH], made[2 * PATH_LENGTH];
    float mean[MOST], h[MOST], momentum[MOST];
    checkpoint_facts facts;
    curvature_report report;
} example;

static job linear_job(void)
{
    return (job){.name = "linear",
                 .seed = 3,
                 .model = {.kind = MODEL_LINEAR,
                           .mlp = {.inputs = 7,
                                   .outputs = 1,
                                   .loss = LOSS_GAUSSIAN,
                                   .noise_variance = 0.25,
                                   .bias = true},
                           .init = "scratch"},
                 .data = {.train = "curve:0-299", .seed = 1, .features = 7},
                 .batch = {.sequences = 8, .length = 1, .microbatches = 1},
                 .steps = 10,
                 .optimizer = {.kind = OPTIMIZER_ADAMW, .weight_decay = 0.5, .mc_samples = 1},
                 .clip = {.norm = 1e-3, .update = INFINITY}};
}

static job mlp_job(void)
{
    job j = linear_job();
    strcpy(j.name, "mlp");
    j.model.kind = MODEL_MLP;
    j.model.mlp = (mlp_config){
        .inputs = 2, .outputs = 2, .hidden_count = 1, .hidden = {5}, .bias = true, .dropout = 0.5};
    strcpy(j.data.train, "moons:0-39");
    j.data.features = 0;
    return j;
}

static status begin_and_finish(const example *x, const trainer *r)
{
    saved_array arrays[SAVED_ARRAYS];
    checkpoint_writer *w;
    size_t count = state_saved_arrays(&r->rounds.state, arrays);
    status result =
        job_checkpoint_begin(&w, world.checkpoint, x->run, &x->job, &x->facts, &x->p, arrays, count,
                             r->rounds.owned.owned, r->rounds.owned.owned_count);
    return result ? result : checkpoint_finish(&w, 0);
}

/* Write the initial weights, or a value in the place of the last, as a run's checkpoint. */
static void example_open(example *x, job j, const float *last)
{
    trainer r;
    memset(x, 0, sizeof *x);
    x->job = j;
    x->job.data.leave_out = UINT64_MAX;
    make_run(x->folder);
    in(x->run, "%s/run", x->folder);
    in(x->made, "%s/made", x->folder);
    model_config config = job_model(&x->job);
    cr_assert_eq(model_parameters(&x->p, &config), STATUS_OK);
    cr_assert_leq(x->p.count, MOST);
    cr_assert_eq(sharding_open(&x->all, &x->p, 1, 0), STATUS_OK);
    cr_assert(everywhere(world.rank != 0 || mkdir(x->run, 0777) == 0));
    cr_assert_eq(trainer_open(&r, &x->job, &world, DTYPE_F32, true), STATUS_OK);
    const slice *mine = r.rounds.owned.owned + r.rounds.owned.owned_count;
    if (last && r.rounds.owned.owned_count &&
        slice_index(&x->p, mine - 1) + mine[-1].count == x->p.count)
        state_at(&r.rounds.state, r.rounds.state.mean, mine - 1)[mine[-1].count - 1] = *last;
    x->facts = (checkpoint_facts){.steps = 10, .updates = 10, .threads = 1, .ranks = 1};
    status result = begin_and_finish(x, &r);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
    trainer_close(&r);
    snprintf(x->job.output, sizeof x->job.output, "%s", x->folder);
    strcpy(x->job.name, "made");
}

static void example_close(example *x)
{
    MPI_Barrier(world.world);
    if (world.rank == 0) file_remove_tree(x->folder);
    sharding_close(&x->all);
    parameters_close(&x->p);
}

static curvature_options plain(const example *x)
{
    return (curvature_options){.run = x->run,
                               .sequences = 1,
                               .ess = NAN,
                               .decay = NAN,
                               .floor = NAN,
                               .precision = DTYPE_F32,
                               .threads = 1,
                               .force = true,
                               .quiet = true};
}

static status make(example *x, const curvature_options *o)
{
    status result = curvature_run(&x->job, &world, o, &x->report);
    json_decref(x->report.details);
    x->report.details = NULL;
    return result;
}

/* Every rank reads all of the new run by itself. */
static void make_and_read(example *x, const curvature_options *o)
{
    char path[2 * PATH_LENGTH];
    status result = make(x, o);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
    const saved_array arrays[] = {{"model.safetensors", "", x->mean, true, NULL},
                                  {"posterior.safetensors", "", x->h, true, NULL},
                                  {"optimizer.safetensors", "momentum.", x->momentum, true, NULL}};
    memset(x->momentum, 0xff, sizeof x->momentum);
    result = checkpoint_read(MPI_COMM_SELF, x->made, &x->p, arrays, 3, x->all.owned,
                             x->all.owned_count, &x->facts, path, sizeof path);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
}

/* Loss of a row, in double: a layer of sums, and where there are two, tanh between them. */
static double loss_of(const example *x, const double *theta, const dataset_batch *b, size_t row)
{
    const mlp_config *c = &x->job.model.mlp;
    size_t layers = c->hidden_count + 1;
    double values[2][16] = {{0}}, *out = NULL;
    for (size_t i = 0; i < c->inputs; i++) values[0][i] = (double)b->inputs[row * c->inputs + i];
    for (size_t l = 0; l < layers; l++) {
        const tensor *w = &x->p.tensors[2 * l], *bias = &x->p.tensors[2 * l + 1];
        out = values[(l + 1) % 2];
        for (size_t k = 0; k < w->shape[1]; k++) {
            double sum = theta[bias->index + k];
            for (size_t i = 0; i < w->shape[0]; i++)
                sum += values[l % 2][i] * theta[w->index + i * w->shape[1] + k];
            out[k] = l + 1 < layers ? tanh(sum) : sum;
        }
    }
    if (c->loss == LOSS_GAUSSIAN)
        return 0.5 * pow(out[0] - (double)b->values[row], 2.0) / c->noise_variance;
    double sum = 0.0;
    for (size_t k = 0; k < c->outputs; k++) sum += exp(out[k]);
    return log(sum) - out[b->targets[row]];
}

static double batch_loss(const example *x, const double *theta, const dataset_batch *b)
{
    double sum = 0.0;
    for (size_t row = 0; row < b->view.sequences; row++) sum += loss_of(x, theta, b, row);
    return sum / (double)b->view.sequences;
}

/* h by central differences of batches of so many rows. */
static void expected_hessian(const example *x, uint64_t sequences, uint64_t batches,
                             double expected[MOST])
{
    const double step = 1e-5;
    job j = x->job;
    dataset *data;
    dataset_batch b;
    double theta[MOST] = {0};
    j.batch.sequences = sequences;
    cr_assert_eq(dataset_open(&data, &j, DATASET_TRAIN, NULL), STATUS_OK);
    cr_assert_eq(dataset_batch_open(&b, &j), STATUS_OK);
    for (size_t i = 0; i < x->p.count; i++) theta[i] = (double)x->mean[i];
    memset(expected, 0, MOST * sizeof *expected);
    for (uint64_t n = 0; n < batches; n++) {
        cr_assert_eq(dataset_items(data, n * sequences, &b), STATUS_OK);
        for (size_t i = 0; i < x->p.count; i++) {
            double middle = theta[i], up, down;
            theta[i] = middle + step;
            up = batch_loss(x, theta, &b);
            theta[i] = middle - step;
            down = batch_loss(x, theta, &b);
            theta[i] = middle;
            expected[i] +=
                (double)sequences * pow((up - down) / (2.0 * step), 2.0) / (double)batches;
        }
    }
    dataset_batch_close(&b);
    dataset_close(&data);
}

static void expect_hessian(const example *x, const double *expected, double tolerance)
{
    double max = 0.0;
    for (size_t i = 0; i < x->p.count; i++) {
        max = fmax(max, fabs((double)x->h[i] - expected[i]) / (1e-3 + expected[i]));
        cr_expect_eq(x->momentum[i], 0.0F);
    }
    cr_expect(everywhere(max < tolerance), "%g", max);
}

/* Gaussian loss of one output: the gradient of a weight is x e / s^2, of the bias e / s^2. More
 * examples than are added up at once. */
MPI_TEST(of_a_linear_regression)
{
    example x;
    double expected[MOST] = {0};
    example_open(&x, linear_job(), NULL);
    curvature_options o = plain(&x);
    o.decay = 1e-3;
    o.floor = 1e-9;
    make_and_read(&x, &o);
    dataset *data;
    dataset_batch b;
    cr_assert_eq(dataset_open(&data, &x.job, DATASET_TRAIN, NULL), STATUS_OK);
    cr_assert_eq(dataset_batch_open(&b, &x.job), STATUS_OK);
    for (uint64_t v = 0; v < 300; v++) {
        cr_assert_eq(dataset_window(data, v, &b, 0), STATUS_OK);
        double e = (double)x.mean[7] - (double)b.values[0];
        for (size_t i = 0; i < 7; i++) e += (double)x.mean[i] * (double)b.inputs[i];
        for (size_t i = 0; i < 8; i++)
            expected[i] += pow((i < 7 ? (double)b.inputs[i] : 1.0) * e / 0.25, 2.0) / 300.0;
    }
    dataset_batch_close(&b);
    dataset_close(&data);
    expect_hessian(&x, expected, 1e-5);
    cr_expect_eq(x.report.lambda, 300.0);
    cr_expect_eq(x.report.delta, 1e-3);
    cr_expect_eq(x.facts.steps, 0);
    double sum = 0.0;
    for (size_t i = 0; i < 8; i++) sum += expected[i] / 8.0;
    cr_expect_float_eq(x.report.hessian_mean, sum, 1e-5 * sum);
    example_close(&x);
}

/* Batches of three without dropout, whichever stage the run was sharded by; the last is not whole
 * and does not count. */
MPI_TEST(of_a_perceptron_in_every_stage)
{
    example x;
    float first[MOST];
    double expected[MOST];
    example_open(&x, mlp_job(), NULL);
    curvature_options o = plain(&x);
    o.sequences = 3;
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        x.job.parallel.shard = (shard_stage)stage;
        o.floor = 1e-9;
        make_and_read(&x, &o);
        cr_expect_eq(x.report.batches, 13);
        if (stage == SHARD_NONE) memcpy(first, x.h, sizeof first);
        cr_expect(everywhere(memcmp(first, x.h, x.p.count * sizeof *first) == 0));
    }
    expected_hessian(&x, 3, 13, expected);
    expect_hessian(&x, expected, 1e-4);
    o.batches = 4;
    make_and_read(&x, &o);
    expected_hessian(&x, 3, 4, expected);
    expect_hessian(&x, expected, 1e-4);
    example_close(&x);
}

/* Without other words lambda delta is one over the mean square of the matrices' weights, and 1-D
 * tensors have at least delta. */
MPI_TEST(a_prior_as_wide_as_the_weights)
{
    example x;
    example_open(&x, mlp_job(), NULL);
    curvature_options o = plain(&x);
    make_and_read(&x, &o);
    double squares = 0.0;
    for (size_t i = 0; i < 20; i++) {
        const tensor *w = &x.p.tensors[i < 10 ? 0 : 2];
        squares += pow((double)x.mean[w->index + i % 10], 2.0) / 20.0;
    }
    cr_expect_float_eq(x.report.delta, 1.0 / (40.0 * squares), 1e-6 / squares);
    uint64_t raised = 0;
    for (size_t i = 0; i < x.p.tensor_count; i++)
        for (size_t e = 0; x.p.tensors[i].dimensions == 1 && e < x.p.tensors[i].count; e++) {
            float h = x.h[x.p.tensors[i].index + e];
            cr_expect_geq(h, (float)x.report.delta);
            raised += h == (float)x.report.delta;
        }
    cr_expect_eq(x.report.raised, raised);
    o.ess = 17.0;
    o.decay = 0.25;
    o.floor = 3.0;
    make_and_read(&x, &o);
    cr_expect_eq(x.report.lambda, 17.0);
    for (size_t i = 0; i < x.p.tensor_count; i++)
        for (size_t e = 0; e < x.p.tensors[i].count; e++)
            cr_expect_geq(x.h[x.p.tensors[i].index + e],
                          x.p.tensors[i].dimensions == 2 ? 2.75F : 3.0F);
    example_close(&x);
}

static void must_fail(example *x, const curvature_options *o, status expected, const char *what)
{
    status result = make(x, o);
    bool named = result == expected && strstr(status_message(), what);
    cr_assert(everywhere(named), "status %d, '%s' expected in: %s", (int)result, what,
              status_message());
    status_clear();
    cr_expect(everywhere(access(x->made, F_OK) != 0), "something was left");
}

MPI_TEST(refuses_what_has_none)
{
    static const float values[] = {NAN, 1e30F};
    for (size_t i = 0; i < 2; i++) {
        example x;
        example_open(&x, linear_job(), &values[i]);
        curvature_options o = plain(&x);
        o.decay = 1e-3;
        must_fail(&x, &o, STATUS_NUMERIC, "batch 0 of 300");
        example_close(&x);
    }
    example x;
    const float large = 8e18F; /* losses and gradients are finite, squares of gradients are not */
    example_open(&x, linear_job(), &large);
    curvature_options o = plain(&x);
    must_fail(&x, &o, STATUS_NUMERIC, "tensor 'layers.0.");
    o.batches = 301;
    must_fail(&x, &o, STATUS_INPUT, "300 batches of 1 examples found");
    o.batches = 0;
    o.decay = 0.0;
    must_fail(&x, &o, STATUS_INPUT, "--floor");
    example_close(&x);
}
