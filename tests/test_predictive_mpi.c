/* Averages of members against averages of what the members say alone, on any number of ranks. */
#include "analysis/predictive.h"
#include "trainer_fixture.h"

#include <math.h>

enum { MEMBERS = 5 };

MPI_SUITE(predictive, start, stop)

static void open_rows(running *s, loss_kind loss, shard_stage stage)
{
    running_open(s, small_job(loss, stage), rows_of(loss), false);
}

static predictions run(running *s, const member *members, size_t count, bool curve)
{
    predictions p;
    cr_assert_eq(predict(&p, members, count, s->data, 0, curve), STATUS_OK);
    cr_assert_eq(p.rows, world.rank == 0 ? COUNT : 0);
    return p;
}

/* All members, and each alone. */
static predictions run_all(running *s, draw_kind draw, predictions alone[MEMBERS])
{
    member members[MEMBERS];
    for (uint32_t m = 0; m < MEMBERS; m++) {
        members[m] = (member){.r = &s->r, .draw = draw, .number = m};
        alone[m] = run(s, &members[m], 1, false);
    }
    return run(s, members, MEMBERS, true);
}

static void close_all(predictions *all, predictions alone[MEMBERS])
{
    for (size_t m = 0; m < MEMBERS; m++) predictions_close(&alone[m]);
    predictions_close(all);
}

static double fact(const predictions *p, size_t point, size_t column, size_t row)
{
    return predictions_column(p, point, column)[row];
}

/* -ln of the mean likelihood of the first members. */
static double nll_of(const predictions *alone, size_t members, size_t row)
{
    double sum = 0.0;
    for (size_t m = 0; m < members; m++) sum += exp(-fact(&alone[m], 0, CLASS_NLL, row));
    return -log(sum / (double)members);
}

/* Probability of class 1, of two. */
static double of_one(const predictions *alone, size_t row)
{
    double confidence = fact(alone, 0, CLASS_CONFIDENCE, row);
    return fact(alone, 0, CLASS_TOP, row) > 0.0 ? confidence : 1.0 - confidence;
}

static void check_classes(const predictions *all, const predictions *alone, size_t point)
{
    size_t n = all->members[point];
    for (size_t row = 0; row < all->rows; row++) {
        double p = 0.0, expected = 0.0, target = fact(all, point, CLASS_TARGET, row);
        for (size_t m = 0; m < n; m++) {
            p += of_one(&alone[m], row) / (double)n;
            expected += fact(&alone[m], 0, CLASS_ENTROPY, row) / (double)n;
        }
        double entropy = -p * log(p) - (1.0 - p) * log(1.0 - p);
        cr_expect_float_eq(fact(all, point, CLASS_CONFIDENCE, row), fmax(p, 1.0 - p), 1e-12);
        cr_expect_eq(fact(all, point, CLASS_TOP, row), p > 0.5);
        cr_expect_float_eq(fact(all, point, CLASS_BRIER, row), 2.0 * (p - target) * (p - target),
                           1e-12);
        cr_expect_float_eq(fact(all, point, CLASS_NLL, row), nll_of(alone, n, row), 1e-12);
        cr_expect_float_eq(exp(-fact(all, point, CLASS_NLL, row)), target > 0.0 ? p : 1.0 - p,
                           1e-6);
        cr_expect_float_eq(fact(all, point, CLASS_ENTROPY, row), entropy, 1e-12);
        cr_expect_float_eq(fact(all, point, CLASS_EXPECTED, row), expected, 1e-12);
        cr_expect_float_eq(fact(all, point, CLASS_MUTUAL, row), fmax(entropy - expected, 0.0),
                           1e-12);
    }
}

MPI_TEST(classes)
{
    running s;
    predictions alone[MEMBERS];
    open_rows(&s, LOSS_CROSS_ENTROPY, SHARD_GRADIENTS);
    predictions all = run_all(&s, DRAW_SAMPLE, alone);
    cr_assert_eq(all.points, 4); /* 1, 2, 4 and all 5 */
    for (size_t point = 0; point < all.points; point++) check_classes(&all, alone, point);
    if (world.rank == 0) {
        cr_expect_eq(all.members[3], MEMBERS);
        cr_expect_eq(fact(&all, 0, CLASS_MUTUAL, 0), 0.0);
        cr_expect_gt(fact(&all, 3, CLASS_MUTUAL, 0), 0.0);
    }
    close_all(&all, alone);
    running_close(&s);
}

MPI_TEST(values)
{
    running s;
    predictions alone[MEMBERS];
    open_rows(&s, LOSS_GAUSSIAN, SHARD_PARAMETERS);
    predictions all = run_all(&s, DRAW_SAMPLE, alone);
    size_t last = all.points - 1;
    for (size_t row = 0; row < all.rows; row++) {
        double mean = 0.0, square = 0.0;
        for (size_t m = 0; m < MEMBERS; m++) {
            double f = fact(&alone[m], 0, VALUE_OF + VALUE_MEAN, row);
            mean += f / MEMBERS;
            square += f * f / MEMBERS;
            cr_expect_float_eq(fact(&alone[m], 0, VALUE_OF + VALUE_VARIANCE, row), 0.01, 1e-15);
        }
        double off = mean - fact(&all, last, VALUE_OF + VALUE_TARGET, row);
        double spread = square - mean * mean;
        cr_expect_float_eq(fact(&all, last, VALUE_OF + VALUE_MEAN, row), mean, 1e-12);
        cr_expect_float_eq(fact(&all, last, VALUE_OF + VALUE_SPREAD, row), spread, 1e-9);
        cr_expect_float_eq(fact(&all, last, VALUE_OF + VALUE_VARIANCE, row), 0.01 + spread, 1e-9);
        cr_expect_float_eq(fact(&all, last, VALUE_ERROR, row), off * off, 1e-9);
        cr_expect_float_eq(fact(&all, last, VALUE_NLL, row), nll_of(alone, MEMBERS, row), 1e-9);
    }
    close_all(&all, alone);
    running_close(&s);
}

MPI_TEST(dropout)
{
    running s;
    predictions alone[MEMBERS];
    open_rows(&s, LOSS_CROSS_ENTROPY, SHARD_PARAMETERS);
    predictions all = run_all(&s, DRAW_DROPOUT, alone);
    check_classes(&all, alone, all.points - 1);
    member mean = {.r = &s.r};
    predictions whole = run(&s, &mean, 1, false);
    size_t differ[MEMBERS] = {0};
    for (size_t row = 0; row < all.rows; row++)
        for (size_t m = 0; m < MEMBERS; m++)
            differ[m] += of_one(&alone[m], row) != of_one(&whole, row);
    for (size_t m = 0; world.rank == 0 && m < MEMBERS; m++)
        cr_expect_gt(differ[m], COUNT / 2, "one mask in 64 drops none of 6 units");
    predictions_close(&whole);
    close_all(&all, alone);
    running_close(&s);
}

/* Evaluation keeps what weights are drawn from, and nothing for updates. */
MPI_TEST(evaluation_takes_less_memory)
{
    static const size_t read[] = {
        [OPTIMIZER_IVON] = 2, [OPTIMIZER_ADAMW] = 1, [OPTIMIZER_SGD] = 5,  [OPTIMIZER_BBB] = 2,
        [OPTIMIZER_LION] = 1, [OPTIMIZER_EVON] = 3,  [OPTIMIZER_SOAP] = 1, [OPTIMIZER_MUON] = 1};
    saved_array arrays[SAVED_ARRAYS];
    for (shard_stage stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        for (optimizer_kind kind = OPTIMIZER_IVON; kind < OPTIMIZER_KINDS; kind++) {
            trainer r;
            job j = small_job(LOSS_CROSS_ENTROPY, stage);
            j.optimizer.kind = kind;
            if (job_optimizer(&j)->matrix && stage != SHARD_PARAMETERS) continue;
            if (kind == OPTIMIZER_SGD) j.swag.start = j.swag.rank = 2;
            cr_assert_eq(trainer_open(&r, &j, &world, DTYPE_F32, false), STATUS_OK);
            cr_expect_eq(r.rounds.state.arena.used, r.rounds.state.arena.capacity);
            cr_expect_null(r.rounds.state.arrays[job_optimizer(&j)->array_count - 1].values);
            cr_expect_null(r.rounds.state.g_sum.values);
            cr_expect_eq(state_saved_arrays(&r.rounds.state, arrays), read[kind]);
            cr_expect_lt(r.rounds.state.arena.used,
                         state_bytes(&r.rounds.state.settings, &r.rounds.owned, true) +
                             state_shared_bytes(&r.rounds.state.settings, &r.rounds.owned, true));
            trainer_close(&r);
        }
    }
}

/* The mean's loss is a validation's, to the bit; the average's but for rounding. */
MPI_TEST(agrees_with_validation)
{
    running s;
    predictions alone[MEMBERS];
    validation found;
    prediction_scores mean, averaged;
    calibration_bin bins[4];
    open_rows(&s, LOSS_CROSS_ENTROPY, SHARD_NONE);
    member first = {.r = &s.r};
    predictions at_mean = run(&s, &first, 1, false);
    predictions all = run_all(&s, DRAW_SAMPLE, alone);
    cr_assert_eq(trainer_evaluate(&s.r, s.data, 0, MEMBERS, &found), STATUS_OK);
    if (world.rank == 0) {
        cr_assert_eq(predictions_score(&at_mean, 0, bins, 4, &mean), STATUS_OK);
        cr_assert_eq(predictions_score(&all, all.points - 1, bins, 4, &averaged), STATUS_OK);
        cr_expect_eq(mean.nll, found.loss);
        cr_expect_eq(mean.accuracy, found.accuracy);
        cr_expect_float_eq(averaged.nll, found.averaged, 1e-12);
        cr_expect_eq(averaged.accuracy, found.accuracy_averaged);
        cr_expect_eq(bins[0].count + bins[1].count + bins[2].count + bins[3].count, COUNT);
    }
    predictions_close(&at_mean);
    close_all(&all, alone);
    running_close(&s);
}
