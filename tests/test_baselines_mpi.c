/* Bayes by backprop and SWAG in training, on any number of ranks and in every stage. */
#include "trainer_fixture.h"

#include <math.h>
#include <string.h>

enum { STEPS = 13, START = 4, EVERY = 2, RANK = 3, SNAPSHOTS = 5, MOST = 400, SAMPLES = 3 };

MPI_SUITE(baselines, start, stop)

static job job_of(optimizer_kind kind, shard_stage stage)
{
    return (job){
        .seed = 3,
        .model =
            {.kind = MODEL_MLP,
             .mlp = {.inputs = 2, .outputs = 2, .hidden_count = 1, .hidden = {37}, .bias = true}},
        .data = {.seed = 1, .leave_out = UINT64_MAX},
        .batch = {.sequences = 8, .length = 1, .microbatches = 5},
        .steps = STEPS,
        .optimizer = {.kind = kind,
                      .ess = 100.0,
                      .sigma_init = 0.05,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .weight_decay = 0.01,
                      .epsilon = 1e-8,
                      .momentum = 0.5,
                      .mc_samples = 1},
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 0.05},
        .clip = {.norm = INFINITY, .update = INFINITY},
        .parallel = {.shard = stage}};
}

static job with_swag(job j)
{
    j.swag.start = START;
    j.swag.every = EVERY;
    j.swag.rank = RANK;
    return j;
}

static void open_moons(running *x, job j)
{
    running_open(x, j, "moons:0-99", true);
    cr_assert_leq(x->r.rounds.p.count, MOST);
}

static double step(running *x, uint64_t t)
{
    step_result result;
    cr_assert_eq(trainer_step(&x->r, x->data, t, true, &result, NULL), STATUS_OK);
    cr_assert_not(result.skipped);
    return result.loss;
}

static validation validate(running *x)
{
    validation found;
    uint64_t samples = job_has_posterior(&x->j) ? SAMPLES : 0;
    cr_assert_eq(trainer_evaluate(&x->r, x->data, 3, samples, &found), STATUS_OK);
    return found;
}

/* What this rank keeps of an array, by logical index. */
static void copy_array(const state *s, state_array array, float *out)
{
    const sharding *part = array.whole ? &s->all : s->owned;
    for (size_t i = 0; i < part->owned_count; i++)
        memcpy(out + slice_index(s->p, &part->owned[i]), state_at(s, array, &part->owned[i]),
               part->owned[i].count * sizeof *out);
}

/* Of values that this rank keeps; the others are 0 on both sides. */
static double distance(const float *found, const double *expected)
{
    double max = 0.0;
    for (size_t i = 0; i < MOST; i++) max = fmax(max, fabs((double)found[i] - expected[i]));
    return max;
}

/* The snapshots' moments from the weights themselves, in double. */
static void check_moments(const state *s, float snapshots[SNAPSHOTS][MOST])
{
    double mean[MOST], variance[MOST] = {0}, deviations[RANK][MOST];
    for (size_t i = 0; i < MOST; i++) {
        double sum = 0.0;
        for (size_t n = 0; n < SNAPSHOTS; n++) {
            sum += (double)snapshots[n][i];
            mean[i] = sum / (double)(n + 1);
            deviations[n % RANK][i] = (double)snapshots[n][i] - mean[i];
        }
        for (size_t n = 0; n < SNAPSHOTS; n++)
            variance[i] += pow((double)snapshots[n][i] - mean[i], 2) / SNAPSHOTS;
    }
    for (size_t a = 0; a < 2 + RANK; a++) {
        float found[MOST] = {0};
        copy_array(s, s->swag[a], found);
        const double *expected = a == 0 ? mean : a == 1 ? variance : deviations[a - 2];
        cr_expect_lt(distance(found, expected), 1e-6, "array %zu", a);
    }
}

/* Collecting and predicting leave training as it was; predictions are those of the average. */
static void check_swag(optimizer_kind kind, shard_stage stage)
{
    running plain, swag;
    float snapshots[SNAPSHOTS][MOST] = {{0}};
    size_t taken = 0;
    open_moons(&plain, job_of(kind, stage));
    open_moons(&swag, with_swag(job_of(kind, stage)));
    for (uint64_t t = 0; t < STEPS; t++) {
        cr_expect_eq(step(&plain, t), step(&swag, t), "step %d", (int)t);
        if (t == START - 2) {
            validation before = validate(&swag), same = validate(&plain);
            cr_expect_eq(before.loss, same.loss);
            cr_expect_float_eq(before.averaged, before.loss, 1e-9);
        }
        if (t + 1 >= START && (t + 1 - START) % EVERY == 0)
            copy_array(&swag.r.rounds.state, swag.r.rounds.state.mean, snapshots[taken++]);
        if (t == START + EVERY) validate(&swag);
    }
    cr_assert_eq(taken, SNAPSHOTS);
    cr_expect_eq(swag.r.rounds.state.snapshots, SNAPSHOTS);
    check_moments(&swag.r.rounds.state, snapshots);
    float iterate[2][MOST] = {{0}};
    copy_array(&plain.r.rounds.state, plain.r.rounds.state.mean, iterate[0]);
    copy_array(&swag.r.rounds.state, swag.r.rounds.state.mean, iterate[1]);
    cr_expect_arr_eq(iterate[0], iterate[1], sizeof iterate[0]);
    validation average = validate(&swag), last = validate(&plain);
    cr_expect_neq(average.loss, last.loss);
    cr_expect_neq(average.averaged, average.loss);
    state *s = &plain.r.rounds.state;
    memcpy(s->mean.values, swag.r.rounds.state.swag[0].values,
           (s->mean.whole ? s->p->count : s->owned->elements) * sizeof(float));
    weights_changed(&plain.r.weights);
    cr_expect_eq(validate(&plain).loss, average.loss);
    running_close(&plain);
    running_close(&swag);
}

MPI_TEST(swag_predicts_with_the_average_and_leaves_training_alone)
{
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        check_swag(OPTIMIZER_SGD, (shard_stage)stage);
        check_swag(OPTIMIZER_ADAMW, (shard_stage)stage);
        check_swag(OPTIMIZER_LION, (shard_stage)stage);
    }
}

/* Every stage draws bbb's weights from the same deviations, kept or formed on the way. */
MPI_TEST(bbb_draws_the_same_in_every_stage)
{
    double losses[4][STEPS], first_sigma = log(0.05);
    validation found[4];
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        running x;
        open_moons(&x, job_of(OPTIMIZER_BBB, (shard_stage)stage));
        for (uint64_t t = 0; t < STEPS; t++) losses[stage][t] = step(&x, t);
        found[stage] = validate(&x);
        float rho[MOST] = {0};
        copy_array(&x.r.rounds.state, x.r.rounds.state.arrays[0], rho);
        const sharding *part = x.r.rounds.state.owned;
        for (size_t i = 0; i < part->owned_count; i++)
            cr_expect_gt(
                fabs((double)rho[slice_index(&x.r.rounds.p, &part->owned[i])] - first_sigma), 0.01,
                "log deviations move");
        cr_expect_neq(found[stage].averaged, found[stage].loss);
        running_close(&x);
    }
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        bool exact = stage >= SHARD_GRADIENTS;
        for (uint64_t t = 0; t < STEPS; t++)
            cr_expect_float_eq(losses[stage][t], losses[SHARD_GRADIENTS][t], exact ? 0.0 : 1e-4);
        cr_expect_float_eq(found[stage].averaged, found[SHARD_GRADIENTS].averaged,
                           exact ? 0.0 : 1e-4);
    }
}

/* Whatever a row on slices keeps and does: stages 2 and 3 give the same bits, 0 and 1 nearly so. */
MPI_TEST(every_optimizer_trains_alike_in_every_stage)
{
    for (int kind = 0; kind < OPTIMIZER_KINDS; kind++) {
        double losses[4][STEPS];
        if (optimizer_row((optimizer_kind)kind)->matrix) continue; /* parameters alone */
        for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
            running x;
            job j = job_of((optimizer_kind)kind, (shard_stage)stage);
            j.optimizer.hessian_init = 0.1;
            open_moons(&x, j);
            for (uint64_t t = 0; t < STEPS; t++) losses[stage][t] = step(&x, t);
            running_close(&x);
        }
        for (uint64_t t = 0; t < STEPS; t++) {
            cr_expect_eq(losses[SHARD_PARAMETERS][t], losses[SHARD_GRADIENTS][t], "%s, step %d",
                         optimizer_row((optimizer_kind)kind)->name, (int)t);
            cr_expect_float_eq(losses[SHARD_NONE][t], losses[SHARD_GRADIENTS][t], 1e-3);
            cr_expect_float_eq(losses[SHARD_OPTIMIZER][t], losses[SHARD_GRADIENTS][t], 1e-3);
        }
        cr_expect_neq(losses[SHARD_NONE][STEPS - 1], losses[SHARD_NONE][0]);
    }
}
