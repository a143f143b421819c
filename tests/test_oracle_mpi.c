/* The dense posterior against normal equations, Newton steps and refits of this file's own, on any
 * number of ranks. */
#include "analysis/oracle.h"
#include "oracle_reference.h"

MPI_SUITE(oracle, start, stop)

/* An effective sample size that is not the number of rows: lambda / N = 1.5. */
static job regression(size_t features)
{
    return (job){.name = "line",
                 .seed = 3,
                 .model = {.kind = MODEL_LINEAR,
                           .mlp = {.inputs = features,
                                   .outputs = 1,
                                   .bias = true,
                                   .loss = LOSS_GAUSSIAN,
                                   .noise_variance = 0.04}},
                 .data = {.train = "curve:0-199",
                          .valid = "curve:1000-1099",
                          .seed = 1,
                          .features = features,
                          .leave_out = 17},
                 .batch = {.sequences = 8, .length = 1, .microbatches = 1},
                 .optimizer = {.kind = OPTIMIZER_IVON,
                               .ess = 298.5,
                               .hessian_init = 1.0,
                               .weight_decay = 1e-2,
                               .mc_samples = 1},
                 .parallel = {.shard = SHARD_GRADIENTS}};
}

static job classification(bool hidden)
{
    job j = regression(2);
    snprintf(j.data.train, sizeof j.data.train, "moons:0-149");
    snprintf(j.data.valid, sizeof j.data.valid, "moons:500-599");
    j.data.features = 0;
    j.model.kind = hidden ? MODEL_MLP : MODEL_LINEAR;
    j.model.mlp.outputs = CLASSES;
    j.model.mlp.loss = LOSS_CROSS_ENTROPY;
    j.model.mlp.hidden_count = hidden;
    j.model.mlp.hidden[0] = 5;
    return j;
}

typedef struct {
    running on;
    oracle o;
    double whole[MOST * MOST]; /* Lambda, both triangles */
} example;

static void example_open(example *x, job j, const oracle_options *options)
{
    running_look(&x->on, j);
    status result = oracle_open(&x->o, &x->on.r, x->on.data, options);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
}

static void example_find(example *x)
{
    size_t n = x->o.unknowns;
    cr_assert(n <= MOST);
    cr_assert_eq(oracle_find(&x->o), STATUS_OK, "%s", status_message());
    exact_get(x->o.precision, x->whole);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) x->whole[i * n + k] = x->whole[k * n + i];
}

static void example_close(example *x)
{
    oracle_close(&x->o);
    running_close(&x->on);
}

static const oracle_options plain = {.ess = NAN, .prior = NAN, .threads = 1, .spectrum = true};

MPI_TEST(of_a_regression)
{
    example x;
    table t;
    double l[MOST * MOST], mode[MOST], variances[MOST], found[MOST], determinant = 0.0;
    example_open(&x, regression(20), &plain);
    example_find(&x);
    read_table(&x.on, &t);
    double evidence = reference_ridge(&t, 1.5, 0.04, 2.985, 17, 17, l, mode);
    cr_expect_eq(x.o.unknowns, 21);
    cr_expect_eq(x.o.count, 199);
    NEAR(x.o.mode, mode, t.n, 1e-10);
    for (size_t i = 0; i < t.n; i++) {
        double column[MOST] = {0};
        column[i] = 1.0;
        reference_solve(l, column, t.n);
        variances[i] = column[i];
        determinant += 2.0 * log(l[i * t.n + i]);
    }
    cr_expect_lt(fabs(x.o.log_determinant - determinant), 1e-10 * fabs(determinant));
    cr_expect_lt(fabs(x.o.log_evidence - evidence), 1e-10 * fabs(evidence), "%.15g %.15g",
                 x.o.log_evidence, evidence);
    cr_assert_eq(oracle_variances(&x.o, found), STATUS_OK);
    NEAR(found, variances, t.n, 1e-10);
    example_close(&x);
}

/* Retrained without each: to 1e-8, by either matrix. */
MPI_TEST(regression_without_each_example)
{
    example x;
    table t;
    oracle_left_out by[2][ROWS];
    double l[MOST * MOST], mode[MOST], all[MOST], expected[ROWS], found[ROWS];
    double moved[ROWS], found_moved[ROWS];
    example_open(&x, regression(20), &plain);
    example_find(&x);
    read_table(&x.on, &t);
    for (int k = 0; k < 2; k++)
        cr_assert_eq(oracle_leave_out(&x.o, k, by[k]), STATUS_OK, "%s", status_message());
    reference_ridge(&t, 1.5, 0.04, 2.985, 17, 17, l, all);
    for (size_t r = 0; r < t.rows; r++) {
        double error = -t.y[r];
        moved[r] = 0.0;
        reference_ridge(&t, 1.5, 0.04, 2.985, r, 17, l, mode);
        for (size_t i = 0; i < t.n; i++) error += t.x[r][i] * mode[i];
        for (size_t i = 0; i < t.n; i++) moved[r] += t.x[r][i] * (mode[i] - all[i]);
        moved[r] = fabs(moved[r]);
        expected[r] = 0.5 * (error * error / 0.04 + log(8.0 * atan(1.0) * 0.04));
    }
    for (int k = 0; k < 2; k++) {
        for (size_t r = 0; r < t.rows; r++) {
            found[r] = by[k][r].loo_loss;
            found_moved[r] = by[k][r].moved;
        }
        NEAR(found, expected, t.rows, 1e-8);
        NEAR(found_moved, moved, t.rows, 1e-8);
    }
    example_close(&x);
}

MPI_TEST(largest_evidence_of_a_regression)
{
    example x;
    table t;
    oracle_maximum m;
    double l[MOST * MOST], mode[MOST];
    example_open(&x, regression(12), &plain);
    example_find(&x);
    read_table(&x.on, &t);
    cr_assert_eq(oracle_maximize(&x.o, &m), STATUS_OK, "%s", status_message());
    cr_expect(!m.at_edge);
    double max = reference_ridge(&t, 1.0, m.noise_variance, m.prior, 17, 17, l, mode);
    cr_expect_lt(fabs(m.log_evidence - max), 1e-9 * fabs(max), "%.15g, %.15g", m.log_evidence, max);
    for (int k = 0; k < 4; k++) {
        double factor = k % 2 ? 1.01 : 1.0 / 1.01;
        cr_expect_lt(reference_ridge(&t, 1.0, m.noise_variance * (k < 2 ? factor : 1.0),
                                     m.prior * (k < 2 ? 1.0 : factor), 17, 17, l, mode),
                     max);
    }
    example_close(&x);
}

static const oracle_options with_biases = {
    .ess = NAN, .prior = NAN, .bias_prior = 0.7, .threads = 1};

MPI_TEST(of_a_softmax_regression)
{
    example x;
    table t;
    double g[MOST], h[MOST * MOST];
    example_open(&x, classification(false), &with_biases);
    example_find(&x);
    read_table(&x.on, &t);
    size_t n = x.o.unknowns;
    cr_expect_eq(n, 9);
    cr_expect_eq(x.o.count, 149);
    reference_softmax(&t, x.o.mode, 298.5 / 149.0, x.o.prior, 17, 17, g, h);
    NEAR(x.whole, h, n * n, 1e-10);
    reference_factor(h, n);
    reference_solve(h, g, n);
    for (size_t i = 0; i < n; i++)
        cr_expect_lt(fabs(g[i]), 1e-10 * (1.0 + fabs(x.o.mode[i])), "%g", g[i]);
    example_close(&x);
}

/* One Newton step without the example, by both ways. */
MPI_TEST(softmax_regression_without_each_example)
{
    example x;
    table t;
    oracle_left_out by[2][ROWS];
    double g[MOST], h[MOST * MOST], expected[ROWS], found[ROWS], moved[ROWS], found_moved[ROWS];
    example_open(&x, classification(false), &with_biases);
    example_find(&x);
    read_table(&x.on, &t);
    size_t n = x.o.unknowns;
    for (size_t r = 0; r < t.rows; r++) {
        double p[CLASSES], before[CLASSES];
        reference_softmax(&t, x.o.mode, 298.5 / 149.0, x.o.prior, r, 17, g, h);
        reference_factor(h, n);
        reference_solve(h, g, n);
        for (size_t i = 0; i < n; i++) g[i] = x.o.mode[i] - g[i];
        probabilities(&t, g, r, p);
        probabilities(&t, x.o.mode, r, before);
        expected[r] = -log(p[t.label[r]]);
        moved[r] = 0.0;
        for (size_t c = 0; c < CLASSES; c++) moved[r] += fabs(p[c] - before[c]);
    }
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(oracle_leave_out(&x.o, k, by[k]), STATUS_OK, "%s", status_message());
        for (size_t r = 0; r < t.rows; r++) {
            found[r] = by[k][r].loo_loss;
            found_moved[r] = by[k][r].moved;
        }
        NEAR(found, expected, t.rows, 1e-8);
        NEAR(found_moved, moved, t.rows, 1e-8);
    }
    example_close(&x);
}

/* A softmax regression is blind to a number that is added to all biases. */
MPI_TEST(names_what_nothing_is_known_of)
{
    example x;
    example_open(&x, classification(false), &plain);
    status result = oracle_find(&x.o);
    cr_expect(everywhere(result == STATUS_INPUT && strstr(status_message(), "'layers.0.bias'") &&
                         strstr(status_message(), "--bias-prior P")),
              "%d: %s", (int)result, status_message());
    status_clear();
    example_close(&x);
}

/* Inputs so large that probabilities are 0 or 1: there the curvature vanishes, and a step by the
 * prior alone is much too long. */
MPI_TEST(refuses_where_no_step_helps)
{
    static const char rows[] = "x,y,class\n1e20,1e20,0\n1e20,1e20,1\n1e20,1e20,2\n";
    example x;
    job j = classification(false);
    if (world.rank == 0) write_file("large.csv", rows, sizeof rows - 1);
    MPI_Barrier(world.world);
    snprintf(j.data.train, sizeof j.data.train, "csv:%s", path_of("large.csv"));
    j.data.leave_out = UINT64_MAX;
    example_open(&x, j, &with_biases);
    status result = oracle_find(&x.o);
    cr_expect(everywhere(result == STATUS_NUMERIC && strstr(status_message(), "no mode was found")),
              "%d: %s", (int)result, status_message());
    cr_expect(everywhere(x.o.newton_steps < 60), "%zu steps", x.o.newton_steps);
    status_clear();
    example_close(&x);
}

/* The last layer of a perceptron is a softmax regression on its hidden units. */
MPI_TEST(of_a_last_layer)
{
    example x;
    table t;
    double g[MOST], h[MOST * MOST], ways[MOST], biases[MOST];
    example_open(&x, classification(true), &with_biases);
    example_find(&x);
    read_table(&x.on, &t);
    cr_expect_eq(x.o.unknowns, 6 * CLASSES);
    jacobian *first;
    cr_assert_eq(jacobian_open(&first, &x.on.r, "layers.0.weight"), STATUS_OK);
    memcpy(ways, jacobian_mean(first), jacobian_unknowns(first) * sizeof *ways);
    jacobian_close(&first);
    cr_assert_eq(jacobian_open(&first, &x.on.r, "layers.0.bias"), STATUS_OK);
    memcpy(biases, jacobian_mean(first), jacobian_unknowns(first) * sizeof *biases);
    jacobian_close(&first);
    for (size_t r = 0; r < t.rows; r++) {
        double hidden[5];
        for (size_t k = 0; k < 5; k++)
            hidden[k] = tanh(biases[k] + t.x[r][0] * ways[k] + t.x[r][1] * ways[5 + k]);
        memcpy(t.x[r], hidden, sizeof hidden);
        t.x[r][5] = 1.0;
    }
    t.n = 6;
    reference_softmax(&t, x.o.mode, 298.5 / 149.0, x.o.prior, 17, 17, g, h);
    NEAR(x.whole, h, x.o.unknowns * x.o.unknowns, 1e-5); /* hidden units are fp32 */
    example_close(&x);
}

/* A Gaussian of the best variances at the mode: what is left is what any diagonal lacks. */
MPI_TEST(distances_of_a_diagonal)
{
    example x;
    oracle_comparison c;
    double sigma[MOST], mean[MOST], variances[MOST], sum = 0.0;
    oracle_posterior q = {.sigma = sigma, .spread = sigma};
    example_open(&x, regression(12), &plain);
    example_find(&x);
    size_t n = x.o.unknowns;
    cr_assert_eq(oracle_variances(&x.o, variances), STATUS_OK);
    for (size_t i = 0; i < n; i++) sigma[i] = 1.0 / sqrt(x.o.diagonal[i]);
    cr_assert_eq(oracle_compare(&x.o, x.o.mode, &q, variances, &c), STATUS_OK);
    for (size_t i = 0; i < n; i++) sum += 0.5 * log(x.o.diagonal[i]);
    cr_expect_lt(fabs(c.kl - (sum - 0.5 * x.o.log_determinant)), 1e-10 * c.kl);
    cr_expect_lt(c.kl_mean + c.kl_variance + c.kl_best + c.mean_error, 1e-12);
    cr_expect_float_eq(c.quantiles[2], 1.0, 1e-12);
    for (size_t i = 0; i < n; i++) {
        mean[i] = x.o.mode[i] + (i == 3 ? 0.5 : 0.0);
        sigma[i] *= sqrt(2.0);
    }
    cr_assert_eq(oracle_compare(&x.o, mean, &q, variances, &c), STATUS_OK);
    cr_expect_float_eq(c.kl_mean, 0.125 * x.o.diagonal[3], 1e-9 * x.o.diagonal[3]);
    cr_expect_float_eq(c.kl_variance, 0.5 * (double)n * (1.0 - log(2.0)), 1e-10);
    cr_expect_float_eq(c.kl_best, c.kl_mean + c.kl_variance, 1e-9 * c.kl_mean);
    cr_expect_float_eq(c.quantiles[0], 2.0, 1e-10);
    example_close(&x);
}

/* Rotations, left and right, of a (2, 3) matrix. */
static const double left_basis[] = {0.8, -0.6, 0.6, 0.8};
static const double right_basis[] = {2.0 / 3,  -1.0 / 3, 2.0 / 3, 2.0 / 3, 2.0 / 3,
                                     -1.0 / 3, -1.0 / 3, 2.0 / 3, 2.0 / 3};

/* A softmax regression's posterior in bases of its matrix, against its covariance written down. */
MPI_TEST(distances_of_a_posterior_in_bases)
{
    enum { ROWS_OF = 2, OF_BLOCK = ROWS_OF * CLASSES, ALL = OF_BLOCK + CLASSES };
    example x;
    oracle_comparison c;
    double spread[ALL], sigma[ALL], work[ALL], variances[ALL], mean[ALL];
    double directions[ALL * ALL] = {0}, covariance[ALL * ALL] = {0}, trace = 0.0, expected = 0.0;
    oracle_block block = {0, ROWS_OF, CLASSES, CLASSES, left_basis, right_basis};
    oracle_posterior q = {ALL, sigma, spread, &block, 1, NULL, work};
    example_open(&x, classification(false), &with_biases);
    example_find(&x);
    cr_assert_eq(x.o.unknowns, ALL);
    cr_assert_eq(oracle_variances(&x.o, variances), STATUS_OK);
    for (size_t j = 0; j < ALL; j++) {
        spread[j] = 0.05 * (double)(j + 1);
        mean[j] = x.o.mode[j] + 0.01 * (double)j;
        for (size_t i = 0; i < ALL; i++)
            directions[i * ALL + j] = i < OF_BLOCK && j < OF_BLOCK
                                          ? left_basis[i / CLASSES * 2 + j / CLASSES] *
                                                right_basis[i % CLASSES * CLASSES + j % CLASSES]
                                      : i == j ? 1.0
                                               : 0.0;
    }
    for (size_t i = 0; i < ALL; i++)
        for (size_t k = 0; k < ALL; k++)
            for (size_t j = 0; j < ALL; j++)
                covariance[i * ALL + k] +=
                    spread[j] * spread[j] * directions[i * ALL + j] * directions[k * ALL + j];
    for (size_t i = 0; i < ALL; i++) {
        sigma[i] = sqrt(covariance[i * (ALL + 1)]);
        expected -= 0.5 + log(spread[i]);
        for (size_t k = 0; k < ALL; k++) {
            trace += x.whole[i * ALL + k] * covariance[k * ALL + i];
            expected +=
                0.5 * x.whole[i * ALL + k] * (mean[i] - x.o.mode[i]) * (mean[k] - x.o.mode[k]);
        }
    }
    expected += 0.5 * (trace - x.o.log_determinant);
    cr_assert_eq(oracle_compare(&x.o, mean, &q, variances, &c), STATUS_OK);
    cr_expect_float_eq(c.kl, expected, 1e-10 * expected);
    cr_expect_float_eq(c.kl, c.kl_mean + c.kl_variance + c.kl_basis, 1e-10 * expected);
    for (size_t j = 0; j < ALL; j++) {
        double row[ALL], square = 0.0, drawn[ALL] = {0};
        drawn[j] = 1.0;
        oracle_posterior_draw(&q, drawn);
        for (size_t i = 0; i < ALL; i++)
            cr_expect_float_eq(drawn[i], spread[j] * directions[i * ALL + j], 1e-14);
        memcpy(row, x.whole + j * ALL, sizeof row);
        oracle_posterior_project(&q, row);
        for (size_t i = 0; i < ALL; i++) {
            square += row[i] * row[i];
            for (size_t k = 0; k < ALL; k++)
                square -= x.whole[j * ALL + i] * covariance[i * ALL + k] * x.whole[j * ALL + k];
        }
        cr_expect_lt(fabs(square), 1e-10 * trace * trace);
    }
    example_close(&x);
}

/* Of a regression draws find what the formulas say; of classes, that the Gaussian is not all. */
MPI_TEST(distances_by_draws)
{
    example x;
    oracle_distances d;
    oracle_comparison c;
    double sigma[MOST], variances[MOST];
    oracle_posterior q = {.unknowns = 13, .sigma = sigma, .spread = sigma};
    example_open(&x, regression(12), &plain);
    example_find(&x);
    for (size_t i = 0; i < 13; i++) sigma[i] = 1.2 / sqrt(x.o.diagonal[i]);
    cr_assert_eq(oracle_sample(&x.o, &q, 3000, &d), STATUS_OK, "%s", status_message());
    cr_assert_eq(oracle_variances(&x.o, variances), STATUS_OK);
    cr_assert_eq(oracle_compare(&x.o, x.o.start, &q, variances, &c), STATUS_OK);
    cr_expect_lt(d.error, 1e-6);
    cr_expect_float_eq(d.gaussian, 0.0, 1e-6, "%g", d.gaussian);
    cr_expect_float_eq(d.diagonal, c.kl_diagonal, 0.1 * c.kl_diagonal, "%g", d.diagonal);
    cr_expect_float_eq(d.run, c.kl, 0.02 * c.kl, "%g and %g", d.run, c.kl);
    example_close(&x);

    example_open(&x, classification(false), &with_biases);
    example_find(&x);
    cr_assert_eq(oracle_sample(&x.o, NULL, 3000, &d), STATUS_OK, "%s", status_message());
    cr_expect(isnan(d.run) && d.gaussian > 0.0 && d.diagonal > d.gaussian, "%g %g", d.gaussian,
              d.diagonal);
    example_close(&x);
}

/* What owners have of three matrices side by side reaches every rank: deviations in directions add
 * up to those of single weights. */
MPI_TEST(posterior_of_matrices)
{
    running on;
    jacobian *x;
    oracle_posterior q;
    job j = tokens_job(SHARD_PARAMETERS, 8, 32);
    j.optimizer.kind = OPTIMIZER_EVON;
    j.optimizer.basis_every = 10;
    j.optimizer.basis_limit = 8;
    running_look(&on, j);
    state *s = &on.r.rounds.state;
    for (size_t i = 0; i < on.r.rounds.owned.owned_count; i++) {
        const slice *part = &on.r.rounds.owned.owned[i];
        const tensor *t = &on.r.rounds.p.tensors[part->tensor];
        if (!t->matrices) continue;
        float *h = state_at(s, s->arrays[0], part), *basis = state_at(s, s->bases, part);
        for (size_t e = 0; e < t->count; e++) h[e] = 0.01F * (float)(1 + e % 13);
        for (size_t at = 0; at < state_basis_elements(&s->settings, t); at += 64) {
            double v[8], square = 0.0; /* 1 - 2 v v' / v'v */
            for (size_t r = 0; r < 8; r++) {
                v[r] = 1.0 + (double)((at / 64 + r * r) % 5);
                square += v[r] * v[r];
            }
            for (size_t r = 0; r < 64; r++)
                basis[at + r] = (float)((r / 8 == r % 8) - 2.0 * v[r / 8] * v[r % 8] / square);
        }
    }
    cr_assert_eq(jacobian_open(&x, &on.r, "h.1.attn"), STATUS_OK);
    cr_assert_eq(oracle_posterior_open(&q, x, &on.r), STATUS_OK);
    cr_expect_eq(q.block_count, 4); /* of c_attn three */
    cr_expect_eq(oracle_posterior_bytes(x, &on.r), 8 * 64 * sizeof(double));
    double *way = calloc(q.unknowns, sizeof *way), *sums = calloc(q.unknowns, sizeof *sums);
    for (size_t i = 0; i < q.unknowns; i++) {
        const oracle_block *block = oracle_posterior_block(&q, i);
        if (!block) sums[i] += q.spread[i] * q.spread[i];
        if (!block) continue;
        oracle_posterior_direction(&q, block, i, way);
        for (size_t k = 0; k < q.unknowns; k++)
            sums[k] += way[k] * way[k] * q.spread[i] * q.spread[i];
    }
    size_t bad = 0;
    for (size_t i = 0; i < q.unknowns; i++)
        bad += fabs(sums[i] - q.sigma[i] * q.sigma[i]) <= 1e-5 * sums[i] ? 0 : 1;
    cr_expect_eq(bad, 0);
    free(way);
    free(sums);
    oracle_posterior_close(&q);
    jacobian_close(&x);
    running_close(&on);
}

/* The curvature's trace is that of its diagonal. */
MPI_TEST(spectrum)
{
    example x;
    double values[MOST], sum = 0.0, trace = 0.0;
    example_open(&x, regression(12), &plain);
    example_find(&x);
    for (size_t i = 0; i < x.o.unknowns; i++) trace += (x.o.diagonal[i] - x.o.prior[i]) / x.o.ess;
    cr_assert_eq(oracle_spectrum(&x.o, values), STATUS_OK);
    for (size_t i = 0; i < x.o.unknowns; i++) sum += values[i];
    cr_expect_lt(fabs(sum - trace), 1e-10 * trace);
    cr_expect(values[0] > -1e-10 * trace);
    example_close(&x);
}

/* Variances of predictions by the factor. */
MPI_TEST(predictions)
{
    example x;
    dataset *test;
    oracle_score scores[PREDICTIONS];
    double sigma[MOST];
    oracle_posterior q = {.unknowns = 13, .sigma = sigma, .spread = sigma};
    example_open(&x, regression(12), &plain);
    example_find(&x);
    cr_assert_eq(dataset_open(&test, &x.on.j, DATASET_VALID, NULL), STATUS_OK);
    for (size_t i = 0; i < x.o.unknowns; i++) sigma[i] = 1e-6;
    cr_assert_eq(oracle_predict(&x.o, test, &q, 8, scores), STATUS_OK, "%s", status_message());
    table t;
    double l[MOST * MOST], mode[MOST], nll = 0.0;
    read_table(&x.on, &t);
    reference_ridge(&t, 1.5, 0.04, 2.985, 17, 17, l, mode);
    dataset_batch b;
    cr_assert_eq(dataset_batch_open(&b, &x.on.j), STATUS_OK);
    for (uint64_t v = 0; v < 100; v++) {
        double z[MOST], row[MOST], variance = 0.04, error;
        cr_assert_eq(dataset_window(test, v, &b, 0), STATUS_OK);
        for (size_t i = 0; i < 12; i++) row[i] = (double)b.inputs[i];
        row[12] = 1.0;
        memcpy(z, row, sizeof z);
        reference_solve(l, z, 13);
        error = -(double)b.values[0];
        for (size_t i = 0; i < 13; i++) {
            variance += z[i] * row[i];
            error += mode[i] * row[i];
        }
        nll += 0.005 * (error * error / variance + log(8.0 * atan(1.0) * variance));
    }
    cr_expect_lt(fabs(scores[PREDICT_EXACT].nll - nll), 1e-10 * fabs(nll));
    cr_expect(scores[PREDICT_EXACT].rmse == scores[PREDICT_MODE].rmse);
    cr_expect(isnan(scores[PREDICT_RUN].ece) && scores[PREDICT_RUN].rmse > 0.0);
    dataset_batch_close(&b);
    dataset_close(&test);
    example_close(&x);
}
