/* A validation's numbers against their definition, in double, on any number of ranks. */
#include "trainer_fixture.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 5 };

MPI_SUITE(evaluate, start, stop)

/* Weights that every rank can see whole: a sample's, or the mean. */
static void draw(const trainer *r, const noise_key *key, float *theta)
{
    const state *s = &r->rounds.state;
    for (size_t i = 0; i < s->all.owned_count; i++) {
        const slice *part = &s->all.owned[i];
        float *out = theta + slice_index(&r->rounds.p, part);
        if (key)
            state_sample(s, part, *key, out, DTYPE_F32);
        else
            memcpy(out, state_at(s, s->mean, part), part->count * sizeof *out);
    }
}

/* outputs of a row: layers.0.weight (in, WIDTH), its bias, layers.1.weight (WIDTH, out), its bias.
 */
static void outputs_of(const mlp_config *c, const float *theta, const float *in, double *out)
{
    const float *w0 = theta, *b0 = w0 + c->inputs * WIDTH, *w1 = b0 + WIDTH,
                *b1 = w1 + WIDTH * c->outputs;
    double hidden[WIDTH];
    for (size_t k = 0; k < WIDTH; k++) {
        double sum = (double)b0[k];
        for (size_t i = 0; i < c->inputs; i++) sum += (double)in[i] * (double)w0[i * WIDTH + k];
        hidden[k] = tanh(sum);
    }
    for (size_t o = 0; o < c->outputs; o++) {
        out[o] = (double)b1[o];
        for (size_t k = 0; k < WIDTH; k++) out[o] += hidden[k] * (double)w1[k * c->outputs + o];
    }
}

/* The probability of class 1, or the density of the value. */
static double likelihood(const mlp_config *c, const double *out, double value)
{
    if (c->loss == LOSS_CROSS_ENTROPY) return 1.0 / (1.0 + exp(out[0] - out[1]));
    double z = (out[0] - value) * (out[0] - value) / c->noise_variance;
    return exp(-0.5 * z) / sqrt(2.0 * 3.14159265358979323846 * c->noise_variance);
}

/* Likelihoods of all rows with one draw of the weights. */
static void pass(const mlp_config *c, const dataset *data, dataset_batch *b, const float *theta,
                 double *found)
{
    for (uint64_t i = 0; i < COUNT; i++) {
        double out[2];
        cr_assert_eq(dataset_window(data, i, b, 0), STATUS_OK);
        outputs_of(c, theta, b->inputs, out);
        found[i] = likelihood(c, out, b->values ? (double)b->values[0] : 0.0);
    }
}

typedef struct {
    double loss, accuracy;
} summary;

/* Of likelihoods: for classes those of class 1. */
static summary summarize(const dataset *data, dataset_batch *b, const double *likelihoods)
{
    summary s = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        double p = likelihoods[i];
        cr_assert_eq(dataset_window(data, i, b, 0), STATUS_OK);
        bool other = b->targets && b->targets[0] == 0;
        s.loss -= log(other ? 1.0 - p : p) / COUNT;
        s.accuracy += (b->targets && (p > 0.5) == !other) / (double)COUNT;
    }
    return s;
}

static void check(loss_kind loss, bool antithetic)
{
    running x;
    dataset_batch b;
    validation found;
    double likelihoods[COUNT], averaged[COUNT] = {0};
    job j = small_job(loss, SHARD_GRADIENTS);
    j.eval.antithetic = antithetic;
    running_open(&x, j, rows_of(loss), false);
    cr_assert_eq(dataset_batch_open(&b, &x.j), STATUS_OK);
    cr_assert_eq(trainer_evaluate(&x.r, x.data, 0, SAMPLES, &found), STATUS_OK);
    float theta[x.r.rounds.p.count];
    draw(&x.r, NULL, theta);
    pass(&x.j.model.mlp, x.data, &b, theta, likelihoods);
    summary mean = summarize(x.data, &b, likelihoods);
    for (uint32_t s = 0; s < SAMPLES; s++) {
        noise_key key = {.seed = x.j.seed, .stream = STREAM_POSTERIOR, .sample = s};
        if (antithetic) key.sample = s / 2, key.mirrored = s % 2 == 1;
        draw(&x.r, &key, theta);
        pass(&x.j.model.mlp, x.data, &b, theta, likelihoods);
        for (size_t i = 0; i < COUNT; i++) averaged[i] += likelihoods[i] / SAMPLES;
    }
    summary samples = summarize(x.data, &b, averaged);
    cr_expect_float_eq(found.loss, mean.loss, 1e-5 * fabs(mean.loss));
    cr_expect_float_eq(found.averaged, samples.loss, 1e-4 * fabs(samples.loss));
    cr_expect_neq(found.loss, found.averaged);
    if (loss == LOSS_CROSS_ENTROPY) {
        cr_expect_float_eq(found.accuracy, mean.accuracy, 1e-12);
        cr_expect_float_eq(found.accuracy_averaged, samples.accuracy, 1e-12);
    } else {
        cr_expect(isnan(found.accuracy) && isnan(found.accuracy_averaged));
    }
    dataset_batch_close(&b);
    running_close(&x);
}

MPI_TEST(classes)
{
    check(LOSS_CROSS_ENTROPY, false);
}

MPI_TEST(values)
{
    check(LOSS_GAUSSIAN, false);
}

/* Five samples: two pairs and one alone. */
MPI_TEST(pairs)
{
    check(LOSS_CROSS_ENTROPY, true);
    check(LOSS_GAUSSIAN, true);
}

/* Seven windows in batches of one to nine: the same loss, but for rounding. */
MPI_TEST(windows_whatever_the_batch)
{
    double loss = NAN, averaged = NAN;
    job j = tokens_job(SHARD_PARAMETERS, 8, 50);
    for (size_t sequences = 1; sequences <= WINDOWS + 2; sequences += 2) {
        running x;
        validation found;
        j.batch.sequences = sequences;
        running_open(&x, j, j.data.train, false);
        cr_expect_eq(trainer_evaluate(&x.r, x.data, 0, 2, &found), STATUS_OK);
        if (sequences == 1) loss = found.loss, averaged = found.averaged;
        cr_expect_float_eq(found.loss, loss, 1e-6 * loss, "%zu: %.9g, %.9g", sequences, found.loss,
                           loss);
        cr_expect_float_eq(found.averaged, averaged, 1e-6 * averaged);
        running_close(&x);
    }
}

/* A prediction that no sample comes near has a density below any double: its logarithm has not. */
MPI_TEST(far_values_have_finite_losses)
{
    running x;
    validation found;
    job j = small_job(LOSS_GAUSSIAN, SHARD_PARAMETERS);
    j.model.mlp.noise_variance = 1e-6;
    running_open(&x, j, "curve:0-20", false);
    cr_assert_eq(trainer_evaluate(&x.r, x.data, 2, SAMPLES, &found), STATUS_OK);
    cr_expect(isfinite(found.loss) && isfinite(found.averaged));
    cr_expect_gt(found.averaged, 1000.0);
    running_close(&x);
}
