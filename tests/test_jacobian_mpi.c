/* Rows of derivatives against differences in double, on any number of ranks. */
#include "analysis/oracle.h"
#include "dense_fixture.h"
#include "gpt2_reference.h"
#include "kernels/noise.h"
#include "trainer_fixture.h"

MPI_SUITE(jacobian, start, stop)

enum { WIDE = 8, VOCABULARY = 97 };

/* Weights of all ranks in double, wherever they lie; larger than initial ones, so that no gradient
 * is near 0. */
static void set_weights(running *on, double *theta)
{
    const state *s = &on->r.rounds.state;
    for (size_t i = 0; i < on->r.rounds.p.count; i++) {
        double z;
        noise_normals_reference(&z, (noise_key){.seed = 8}, i, 1);
        theta[i] = (double)(float)(0.2 * z);
    }
    for (size_t i = 0; i < on->r.rounds.owned.owned_count; i++) {
        const slice *part = &on->r.rounds.owned.owned[i];
        for (size_t k = 0; k < part->count; k++)
            state_at(s, s->mean, part)[k] = (float)theta[slice_index(&on->r.rounds.p, part) + k];
    }
    state_share(&on->r.rounds.state, &world);
    weights_changed(&on->r.weights);
}

/* The window's summed loss, of the reference in double. */
static double loss_of(const running *on, const double *theta, const dataset_batch *b,
                      const uint16_t *targets, double *logits)
{
    return T * reference_gpt2(&on->r.rounds.p, &on->j.model.gpt2, theta, b->tokens, targets, 1, T,
                              logits, NULL);
}

/* A token's target is where its uniform number falls among the probabilities, to what fp32 logits
 * are worth. */
static void check_targets(const double *logits, const uint16_t *targets, uint64_t window)
{
    noise_key key = {.seed = 3, .stream = STREAM_TEXT, .sample = (uint32_t)window};
    for (size_t t = 0; t < T; t++) {
        uint32_t word;
        double below = 0.0, sum = 0.0, own = exp(logits[t * VOCABULARY + targets[t]]);
        noise_uniform_words(&word, key, t, 1);
        for (size_t v = 0; v < VOCABULARY; v++) {
            double p = exp(logits[t * VOCABULARY + v]);
            sum += p;
            if (v < targets[t]) below += p;
        }
        double u = ((double)word + 0.5) / 4294967296.0;
        cr_expect(u > below / sum - 1e-5 && u < (below + own) / sum + 1e-5, "token %zu", t);
    }
}

/* The row of a window, element by element of the unknowns. */
static void check_window(const running *on, const jacobian *x, double *theta, const double *row,
                         const dataset_batch *b, const uint16_t *targets)
{
    size_t n = jacobian_unknowns(x);
    double *expected = calloc(n, sizeof *expected), far;
    for (size_t i = 0; i < n; i++) {
        size_t element;
        const tensor *t = jacobian_tensor(x, i, &element);
        double *at = &theta[t->index + element], kept = *at, side[2], step = 1e-5;
        for (int k = 0; k < 2; k++) {
            *at = kept + (k ? -step : step);
            side[k] = loss_of(on, theta, b, targets, NULL);
        }
        *at = kept;
        expected[i] = (side[0] - side[1]) / (2.0 * step);
    }
    far = difference(row, expected, n);
    cr_expect_lt(far, 1e-5, "%g", far);
    free(expected);
}

/* A norm and a projection of the last block, biases of the first one, the last norm; and the
 * embedding, whose gradient comes from both ends. Every window is some rank's. */
static void check_gpt2(const char *tensors, shard_stage stage)
{
    running on;
    jacobian *x;
    jacobian_rows found;
    dataset_batch b;
    uint64_t seen = 0;
    running_look(&on, tokens_job(stage, WIDE, VOCABULARY));
    double theta[on.r.rounds.p.count], logits[T * VOCABULARY];
    set_weights(&on, theta);
    cr_assert_eq(dataset_batch_open(&b, &on.j), STATUS_OK);
    cr_assert_eq(jacobian_open(&x, &on.r, tensors), STATUS_OK, "%s", status_message());
    for (uint64_t round = 0; round < jacobian_rounds(x, WINDOWS); round++) {
        cr_assert_eq(jacobian_round(x, on.data, round, &found), STATUS_OK);
        seen += found.examples;
        if (found.examples == 0) continue;
        cr_assert_eq(dataset_window(on.data, found.first, &b, 0), STATUS_OK);
        loss_of(&on, theta, &b, found.targets, logits);
        check_targets(logits, found.targets, found.first);
        check_window(&on, x, theta, found.rows, &b, found.targets);
    }
    MPI_Allreduce(MPI_IN_PLACE, &seen, 1, MPI_UINT64_T, MPI_SUM, world.world);
    cr_expect_eq(seen, WINDOWS);
    jacobian_close(&x);
    dataset_batch_close(&b);
    running_close(&on);
}

MPI_TEST(of_gpt2)
{
    check_gpt2("h.2.ln_1,h.2.attn.c_proj,h.0.mlp.c_fc.bias,ln_f", SHARD_GRADIENTS);
    check_gpt2("wpe,h.1.mlp.c_proj.bias", SHARD_PARAMETERS);
}

/* Lambda is the sum of the rows' outer products, times lambda/N, and the prior. */
MPI_TEST(of_gpt2_makes_its_precision)
{
    enum { UNKNOWNS = 3 * WIDE };
    const oracle_options options = {.tensors = "h.0.attn.c_attn.bias",
                                    .ess = NAN,
                                    .prior = 2.0,
                                    .bias_prior = 0.5,
                                    .threads = 1};
    running on;
    oracle o;
    jacobian_rows b;
    double sum[UNKNOWNS * UNKNOWNS] = {0}, whole[UNKNOWNS * UNKNOWNS];
    running_look(&on, tokens_job(SHARD_GRADIENTS, WIDE, VOCABULARY));
    double theta[on.r.rounds.p.count];
    set_weights(&on, theta);
    cr_assert_eq(oracle_open(&o, &on.r, on.data, &options), STATUS_OK, "%s", status_message());
    cr_assert_eq(o.unknowns, UNKNOWNS);
    cr_assert_eq(oracle_find(&o), STATUS_OK, "%s", status_message());
    exact_get(o.precision, whole);
    for (uint64_t round = 0; round < jacobian_rounds(o.x, WINDOWS); round++) {
        cr_assert_eq(jacobian_round(o.x, on.data, round, &b), STATUS_OK);
        for (size_t i = 0; b.examples && i < UNKNOWNS; i++)
            for (size_t k = 0; k < UNKNOWNS; k++)
                sum[i * UNKNOWNS + k] += 100.0 / (T * WINDOWS) * b.rows[i] * b.rows[k];
    }
    comm_sum_ordered(&world, sum, UNKNOWNS * UNKNOWNS);
    for (size_t i = 0; i < UNKNOWNS; i++) {
        sum[i * UNKNOWNS + i] += 0.5;
        for (size_t k = i + 1; k < UNKNOWNS; k++)
            sum[k * UNKNOWNS + i] = 0.0; /* lower, by column */
    }
    NEAR(whole, sum, UNKNOWNS * UNKNOWNS, 1e-12);
    for (size_t i = 0; i < UNKNOWNS; i++) {
        size_t element;
        const tensor *t = jacobian_tensor(o.x, i, &element);
        cr_expect_float_eq(o.mode[i], theta[t->index + element], 0.0); /* the run's mean */
    }
    oracle_close(&o);
    running_close(&on);
}

/* A first layer of tanh's by the chain rule, and a last layer that outputs are linear in. */
MPI_TEST(of_a_sub_network)
{
    enum { CLASSES = 2 };
    running on;
    jacobian *first, *last;
    jacobian_rows b;
    dataset_batch in;
    job j = small_job(LOSS_CROSS_ENTROPY, SHARD_GRADIENTS);
    strcpy(j.data.train, rows_of(LOSS_CROSS_ENTROPY));
    running_look(&on, j);
    cr_assert_eq(dataset_batch_open(&in, &on.j), STATUS_OK);
    cr_assert_eq(jacobian_open(&first, &on.r, "layers.0"), STATUS_OK);
    cr_assert_eq(jacobian_open(&last, &on.r, "layers.1.bias,layers.1.weight"), STATUS_OK);
    cr_expect_eq(jacobian_unknowns(first), 3 * WIDTH);
    cr_expect(!jacobian_is_linear(first) && jacobian_is_linear(last));
    const double *w = jacobian_mean(first), *v = jacobian_mean(last);
    cr_assert_eq(jacobian_round(first, on.data, 0, &b), STATUS_OK);
    for (size_t s = 0; s < b.examples; s++) {
        cr_assert_eq(dataset_window(on.data, b.first + s, &in, 0), STATUS_OK);
        double x = (double)in.inputs[0], y = (double)in.inputs[1], row[3 * WIDTH];
        for (size_t c = 0; c < CLASSES; c++) {
            for (size_t k = 0; k < WIDTH; k++) {
                double hidden = tanh(w[2 * WIDTH + k] + x * w[k] + y * w[WIDTH + k]);
                double slope = (1.0 - hidden * hidden) * v[k * CLASSES + c];
                row[k] = x * slope;
                row[WIDTH + k] = y * slope;
                row[2 * WIDTH + k] = slope;
            }
            double far = difference(b.rows + (s * CLASSES + c) * 3 * WIDTH, row, 3 * WIDTH);
            cr_expect_lt(far, 1e-5, "%g", far);
        }
    }
    dataset_batch_close(&in);
    jacobian_close(&first);
    jacobian_close(&last);
    running_close(&on);
}
