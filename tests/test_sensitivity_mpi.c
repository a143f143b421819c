/* Sensitivities against their definition, on any number of ranks, with a Hessian that differs from
 * weight to weight. */
#include "analysis/sensitivity.h"
#include "model_fixture.h"
#include "trainer_fixture.h"

MPI_SUITE(sensitivity, start, stop)

static float hessian_of(size_t index)
{
    return 0.03F + (float)(index * 5 % 13) * 0.01F;
}

static double variance_of(const tensor *t, size_t element)
{
    double decay = t->dimensions == 2 ? 0.01 : 0.0;
    return 1.0 / (100.0 * ((double)hessian_of(t->index + element) + decay));
}

/* A trainer whose Hessian is hessian_of. */
static void look(running *x, job j)
{
    running_look(x, j);
    const state *s = &x->r.rounds.state;
    for (size_t i = 0; i < x->r.rounds.owned.owned_count; i++) {
        const slice *part = &x->r.rounds.owned.owned[i];
        float *h = state_at(s, (s)->arrays[0], part);
        for (size_t k = 0; k < part->count; k++)
            h[k] = hessian_of(slice_index(&x->r.rounds.p, part) + k);
    }
    state_share(&x->r.rounds.state, &world);
}

static sensitivity_table run(running *on, sensitivity_per per, uint64_t first, uint64_t count)
{
    sensitivity *x;
    sensitivity_table found;
    cr_assert_eq(sensitivity_open(&x, &on->r, per), STATUS_OK, "%s", status_message());
    status result = sensitivity_run(x, on->data, first, count, &found);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    sensitivity_close(&x);
    return found;
}

/* Outputs of a row, in double, with means that every rank has whole. */
static void outputs_of(const trainer *r, const double *theta, const float *in, double *out)
{
    const mlp_config *c = &r->job->model.mlp;
    double values[2][16] = {{0}};
    for (size_t i = 0; i < c->inputs; i++) values[0][i] = (double)in[i];
    for (size_t l = 0; l < 3; l++) {
        const tensor *w = &r->rounds.p.tensors[2 * l], *b = &r->rounds.p.tensors[2 * l + 1];
        for (size_t k = 0; k < w->shape[1]; k++) {
            double sum = theta[b->index + k];
            for (size_t i = 0; i < w->shape[0]; i++)
                sum += values[l % 2][i] * theta[w->index + i * w->shape[1] + k];
            values[(l + 1) % 2][k] = l < 2 ? tanh(sum) : sum;
        }
    }
    memcpy(out, values[1], c->outputs * sizeof *out);
}

/* Variances of a row's outputs by central differences. */
static void variances_of(const trainer *r, double *theta, const float *in, double *out)
{
    size_t outputs = r->job->model.mlp.outputs;
    double step = 1e-5, side[2][2] = {{0}};
    for (size_t c = 0; c < outputs; c++) out[c] = 0.0;
    for (size_t i = 0; i < r->rounds.p.tensor_count; i++)
        for (size_t e = 0; e < r->rounds.p.tensors[i].count; e++) {
            double *at = &theta[r->rounds.p.tensors[i].index + e], kept = *at;
            for (int k = 0; k < 2; k++) {
                *at = kept + (k ? -step : step);
                outputs_of(r, theta, in, side[k]);
            }
            *at = kept;
            for (size_t c = 0; c < outputs; c++)
                out[c] += variance_of(&r->rounds.p.tensors[i], e) *
                          pow((side[0][c] - side[1][c]) / (2.0 * step), 2);
        }
}

/* A row's outputs, variances and errors; its losses follow from these (tests/test_sensitivity.c).
 */
static void check_row(const trainer *r, double *theta, const dataset_batch *b,
                      const sensitivity_row *row, const float *details)
{
    size_t outputs = r->job->model.mlp.outputs;
    double f[2], v[2], p[2] = {0}, errors[2];
    outputs_of(r, theta, b->inputs, f);
    variances_of(r, theta, b->inputs, v);
    if (outputs == 2) p[1] = 1.0 / (1.0 + exp(f[0] - f[1]));
    p[0] = 1.0 - p[1];
    for (size_t c = 0; c < outputs; c++) {
        errors[c] = outputs == 2 ? p[c] - (b->targets[0] == c) : f[0] - (double)b->values[0];
        cr_expect_float_eq((double)details[c], errors[c], 1e-5);
        cr_expect_lt(fabs((double)details[outputs + c] - v[c]), 1e-4 * v[c]);
    }
    size_t shown = outputs == 2 ? b->targets[0] : 0;
    cr_expect_float_eq(row->error, errors[shown], 1e-5);
    cr_expect_float_eq(row->variance, v[shown], 1e-4 * v[shown]);
    if (outputs == 2) cr_expect_float_eq(row->loss, -log(p[shown]), 1e-5);
    if (outputs == 2) cr_expect_eq(row->label, shown);
    cr_expect_eq(row->left_out, row->index == 11);
}

static void check(loss_kind loss)
{
    running on;
    dataset_batch b;
    look(&on, deep_job(loss, SHARD_GRADIENTS));
    cr_assert_eq(dataset_batch_open(&b, &on.j), STATUS_OK);
    sensitivity_table found = run(&on, PER_EXAMPLE, 2, COUNT - 2);
    double *theta = widened(on.r.rounds.state.mean.values, on.r.rounds.p.count), sums[2] = {0};
    cr_expect_eq(found.rows != NULL, world.rank == 0);
    for (size_t i = 0; found.rows && i < COUNT - 2; i++) {
        const sensitivity_row *row = &found.rows[i];
        cr_expect_eq(row->index, i + 2);
        cr_assert_eq(dataset_window(on.data, row->index, &b, 0), STATUS_OK);
        check_row(&on.r, theta, &b, row, found.details + i * 2 * found.outputs);
        if (row->left_out) continue;
        sums[0] += row->loss / (COUNT - 3);
        sums[1] += row->loo_loss / (COUNT - 3);
    }
    MPI_Bcast(sums, 2, MPI_DOUBLE, 0, world.world);
    cr_expect_float_eq(found.loss, sums[0], 1e-9);
    cr_expect_float_eq(found.loo_loss, sums[1], 1e-9);
    free(theta);
    sensitivity_table_close(&found);
    dataset_batch_close(&b);
    running_close(&on);
}

enum { GROUPS = 3, NONE = 1000 /* a row in no group */ };

/* Summed loss of a group's rows, in double: row i is in group i mod GROUPS, but for the one that is
 * left out. */
static double group_loss(const trainer *r, const dataset *data, dataset_batch *b, size_t group,
                         const double *theta)
{
    const mlp_config *c = &r->job->model.mlp;
    double sum = 0.0, f[2];
    for (size_t i = group; i < COUNT; i += GROUPS) {
        if (dataset_left_out(data, i)) continue;
        cr_assert_eq(dataset_window(data, i, b, 0), STATUS_OK);
        outputs_of(r, theta, b->inputs, f);
        if (c->outputs == 2)
            sum += log1p(exp(b->targets[0] ? f[0] - f[1] : f[1] - f[0]));
        else
            sum += pow(f[0] - (double)b->values[0], 2) / (2.0 * c->noise_variance) +
                   0.5 * log(2.0 * M_PI * c->noise_variance);
    }
    return sum;
}

/* The Newton step for a whole group, its gradient by central differences. */
static double added_by(const trainer *r, const dataset *data, dataset_batch *b, size_t group,
                       double *theta)
{
    double moved[r->rounds.p.count], step = 1e-5, before = group_loss(r, data, b, group, theta);
    for (size_t i = 0; i < r->rounds.p.tensor_count; i++)
        for (size_t e = 0; e < r->rounds.p.tensors[i].count; e++) {
            double *at = &theta[r->rounds.p.tensors[i].index + e], kept = *at, side[2];
            for (int k = 0; k < 2; k++) {
                *at = kept + (k ? -step : step);
                side[k] = group_loss(r, data, b, group, theta);
            }
            *at = kept;
            moved[r->rounds.p.tensors[i].index + e] =
                kept + variance_of(&r->rounds.p.tensors[i], e) * (side[0] - side[1]) / (2.0 * step);
        }
    return group_loss(r, data, b, group, moved) - before;
}

/* leave: what sensitivity_leave adds, on rank 0; rows are those of run. */
static void leave(running *on, sensitivity_per per, uint64_t first, uint64_t count,
                  const uint32_t *group, size_t groups, double *added)
{
    sensitivity *x;
    sensitivity_table found;
    bool root = world.rank == 0;
    cr_assert_eq(sensitivity_open(&x, &on->r, per), STATUS_OK, "%s", status_message());
    cr_assert_eq(sensitivity_run(x, on->data, first, count, &found), STATUS_OK);
    status result = sensitivity_leave(x, on->data, first, count, root ? group : NULL,
                                      root ? groups : 0, root ? added : NULL);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    sensitivity_table_close(&found);
    sensitivity_close(&x);
}

static void check_groups(loss_kind loss, shard_stage stage)
{
    running on;
    dataset_batch b;
    uint32_t group[COUNT];
    double added[GROUPS];
    look(&on, deep_job(loss, stage));
    const state *s = &on.r.rounds.state;
    cr_assert_eq(dataset_batch_open(&b, &on.j), STATUS_OK);
    float mean[on.r.rounds.owned.elements + 1];
    const slice *mine = on.r.rounds.owned.owned; /* a rank may own nothing of so small a model */
    size_t bytes = on.r.rounds.owned.owned_count ? mine->count * sizeof *mean : 0;
    if (bytes) memcpy(mean, state_at(s, s->mean, mine), bytes);
    for (size_t i = 0; i < COUNT; i++)
        group[i] = dataset_left_out(on.data, i) ? NONE : (uint32_t)(i % GROUPS);
    leave(&on, PER_EXAMPLE, 0, COUNT, group, GROUPS, added);
    if (bytes) cr_expect_arr_eq(mean, state_at(s, s->mean, mine), bytes, "the mean is back");
    for (size_t g = 0; world.rank == 0 && s->mean.whole && g < GROUPS; g++) {
        double *theta = widened(s->mean.values, on.r.rounds.p.count);
        double expected = added_by(&on.r, on.data, &b, g, theta);
        cr_expect_lt(fabs(added[g] - expected), 2e-4 * fabs(expected), "group %zu: %g, %g expected",
                     g, added[g], expected);
        free(theta);
    }
    dataset_batch_close(&b);
    running_close(&on);
}

MPI_TEST(groups_leave_together)
{
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        world.count_max = stage % 2 ? 64 : 1 << 30; /* messages of several parts, or whole */
        check_groups(LOSS_CROSS_ENTROPY, (shard_stage)stage);
        check_groups(LOSS_GAUSSIAN, (shard_stage)stage);
    }
}

MPI_TEST(classes)
{
    check(LOSS_CROSS_ENTROPY);
}

MPI_TEST(values)
{
    world.count_max = 64; /* messages of several parts */
    check(LOSS_GAUSSIAN);
}

/* A GPT-2 of one sequence a batch with plain buffers, at the weights that every rank has whole. */
typedef struct {
    buffers w;
    gpt2 *model;
    dataset_batch batch;
} twin;

static void open_twin(twin *t, const running *on)
{
    job one = on->j;
    one.batch.sequences = 1;
    one.model.gpt2.dropout = 0.0;
    const model_shape shape = {.sequences = 1, .length = T, .training = true};
    *t = (twin){0};
    cr_assert_eq(gpt2_parameters(&t->w.p, &one.model.gpt2), STATUS_OK);
    buffers_open(&t->w, DTYPE_F32);
    memcpy(t->w.theta, on->r.rounds.state.mean.values, t->w.p.count * sizeof *t->w.theta);
    load_weights(&t->w);
    cr_assert_eq(gpt2_open(&t->model, &one.model.gpt2, &shape), STATUS_OK);
    cr_assert_eq(dataset_batch_open(&t->batch, &one), STATUS_OK);
}

static void close_twin(twin *t)
{
    gpt2_close(&t->model);
    dataset_batch_close(&t->batch);
    buffers_close(&t->w);
    kernels_open(); /* as it was before the buffers */
}

/* Sum of variance * (d loss / d weight)^2 of a window's summed loss, from its whole gradient. */
static double form_of(twin *t, double *loss)
{
    double form = 0.0;
    *loss = gpt2_backward(t->model, &t->w.hooks, &t->batch.view, (noise_key){0});
    for (size_t i = 0; i < t->w.p.tensor_count; i++) {
        const tensor *of = &t->w.p.tensors[i];
        const float *gradient = gradient_of(&t->w, i);
        for (size_t e = 0; e < of->count; e++)
            form += variance_of(of, e) * pow(T * (double)gradient[e], 2);
    }
    return form;
}

MPI_TEST(sequences)
{
    running on;
    twin t;
    look(&on, tokens_job(SHARD_GRADIENTS, 20, 97));
    sensitivity_table found = run(&on, PER_SEQUENCE, 0, WINDOWS);
    open_twin(&t, &on);
    for (size_t i = 0; found.rows && i < WINDOWS; i++) {
        double loss;
        cr_assert_eq(dataset_window(on.data, i, &t.batch, 0), STATUS_OK);
        double form = form_of(&t, &loss);
        cr_expect_float_eq(found.rows[i].variance, form, 1e-5 * form);
        cr_expect_float_eq(found.rows[i].loss, loss, 1e-6);
        cr_expect_float_eq(found.rows[i].loo_loss, loss + form / T, 1e-5 * form);
    }
    close_twin(&t);
    sensitivity_table_close(&found);
    running_close(&on);
}

/* A window's tokens: their losses make up the window's, and a single one of a window of which only
 * its loss counts has that form. Fetched weights give the same bits. */
MPI_TEST(tokens)
{
    running on, other;
    look(&on, tokens_job(SHARD_GRADIENTS, 20, 97));
    look(&other, tokens_job(SHARD_PARAMETERS, 20, 97));
    sensitivity_table sequences = run(&on, PER_SEQUENCE, 1, 2);
    sensitivity_table tokens = run(&on, PER_TOKEN, T, 2 * T);
    sensitivity_table again = run(&other, PER_TOKEN, T, 2 * T);
    cr_expect_eq(tokens.loss, again.loss);
    cr_expect_eq(tokens.loo_loss, again.loo_loss);
    cr_expect_float_eq(tokens.loss, sequences.loss, 1e-6);
    for (size_t i = 0; tokens.rows && i < 2 * T; i++) {
        const sensitivity_row *row = &tokens.rows[i];
        cr_expect_eq(row->index, T + i);
        cr_expect_eq(row->label, (T + i + 1) * (T + i + 1) % 97);
        cr_expect_float_eq(row->p, exp(-row->loss), 1e-12);
        cr_expect_float_eq(row->loo_loss, row->loss + row->variance, 1e-12);
        cr_expect_gt(row->variance, 0.0);
        cr_expect_eq(row->variance, again.rows[i].variance);
    }
    sensitivity_table_close(&sequences);
    sensitivity_table_close(&tokens);
    sensitivity_table_close(&again);
    running_close(&on);
    running_close(&other);
}

/* A group of one row adds what the row does, all tokens of a window what the window does. */
MPI_TEST(groups_of_text)
{
    running on;
    uint32_t windows[] = {0, 1, 1}, tokens[2 * T];
    double of_windows[2], of_tokens[3];
    look(&on, tokens_job(SHARD_GRADIENTS, 20, 97));
    for (size_t i = 0; i < 2 * T; i++) tokens[i] = i < T ? 2 : i == T + 3 ? 0 : i % 2 ? 1 : NONE;
    sensitivity_table alone = run(&on, PER_SEQUENCE, 1, 3);
    sensitivity_table token = run(&on, PER_TOKEN, 2 * T + 3, 1);
    leave(&on, PER_SEQUENCE, 1, 3, windows, 2, of_windows);
    leave(&on, PER_TOKEN, T, 2 * T, tokens, 3, of_tokens);
    if (world.rank == 0) {
        double first = alone.rows[0].variance;
        cr_expect_float_eq(of_windows[0], first, 1e-6 * first);
        cr_expect_float_eq(of_tokens[2], first, 1e-5 * first);
        cr_expect_float_eq(of_tokens[0], token.rows[0].variance, 1e-5 * of_tokens[0]);
        cr_expect_gt(of_tokens[1], 0.0);
        /* |a + b|^2 <= 2 (|a|^2 + |b|^2), and two windows are not orthogonal. */
        double parts = alone.rows[1].variance + alone.rows[2].variance;
        cr_expect(of_windows[1] < 2.0 * parts && fabs(of_windows[1] - parts) > 1e-3 * parts);
    }
    sensitivity_table_close(&alone);
    sensitivity_table_close(&token);
    running_close(&on);
}

/* Every stage gives the same bits. */
MPI_TEST(fetched_examples)
{
    running on, other;
    look(&on, deep_job(LOSS_CROSS_ENTROPY, SHARD_GRADIENTS));
    look(&other, deep_job(LOSS_CROSS_ENTROPY, SHARD_PARAMETERS));
    sensitivity_table a = run(&on, PER_EXAMPLE, 0, COUNT);
    sensitivity_table b = run(&other, PER_EXAMPLE, 0, COUNT);
    cr_expect_eq(a.loo_loss, b.loo_loss);
    cr_expect_eq(a.loss, b.loss);
    sensitivity_table_close(&a);
    sensitivity_table_close(&b);
    running_close(&on);
    running_close(&other);
}

enum { LIMIT = 40 /* longest side that has a basis */ };

/* The same model, whose matrices are drawn in bases; what is none has ivon's posterior. */
static job in_bases(job j)
{
    j.optimizer.kind = OPTIMIZER_EVON;
    j.optimizer.rest = REST_IVON;
    j.optimizer.basis_every = 10;
    j.optimizer.basis_limit = LIMIT;
    j.optimizer.estimate_clip = INFINITY;
    j.parallel.shard = SHARD_PARAMETERS;
    return j;
}

/* A basis is a reflection, I - 2 v v' / v' v: its own inverse. */
static double reflection(const tensor *t, size_t part, bool right, size_t side, size_t i, size_t j)
{
    double square = 0.0, at[2] = {0};
    for (size_t k = 0; k < side; k++) {
        double v = 1.0 + (double)((t->index + 3 * part + right + 5 * k) % 7);
        square += v * v;
        if (k == i) at[0] = v;
        if (k == j) at[1] = v;
    }
    return (double)(i == j) - (side <= LIMIT ? 2.0 * at[0] * at[1] / square : 0.0);
}

static void set_basis(float *q, const tensor *t, size_t part, bool right, size_t side)
{
    for (size_t i = 0; i < side; i++)
        for (size_t j = 0; j < side; j++)
            q[i * side + j] = (float)reflection(t, part, right, side, i, j);
}

/* A trainer whose h is hessian_of, of directions, and whose bases are reflections. */
static void look_in_bases(running *x, job j)
{
    running_look(x, in_bases(j));
    const state *s = &x->r.rounds.state;
    for (size_t i = 0; i < x->r.rounds.owned.owned_count; i++) {
        const slice *part = &x->r.rounds.owned.owned[i];
        const tensor *t = &x->r.rounds.p.tensors[part->tensor];
        float *h = state_at(s, t->matrices ? s->arrays[0] : s->rest_arrays[0], part);
        for (size_t k = 0; k < part->count; k++) h[k] = hessian_of(t->index + part->first + k);
        if (!t->matrices) continue;
        float *q = state_at(s, s->bases, part);
        for (size_t k = 0; k < t->matrices; k++)
            for (int side = 0; side < 2; side++) {
                size_t n = side ? t->shape[1] / t->matrices : t->shape[0];
                if (n > LIMIT) continue;
                set_basis(q, t, k, side, n);
                q += n * n;
            }
    }
    state_share(&x->r.rounds.state, &world);
}

/* Into the bases, part after part; back is the same, but for where elements lie. */
static void reflect(const tensor *t, double *out, const double *in, bool into)
{
    size_t a = t->shape[0], all = t->shape[1], b = all / t->matrices;
    double half[a * b];
    for (size_t k = 0; k < t->matrices; k++) {
        const double *from = into ? in + k * b : in + k * a * b;
        double *to = into ? out + k * a * b : out + k * b;
        size_t stride = into ? all : b, wide = into ? b : all;
        for (size_t i = 0; i < a; i++)
            for (size_t j = 0; j < b; j++) {
                half[i * b + j] = 0.0;
                for (size_t l = 0; l < b; l++)
                    half[i * b + j] += from[i * stride + l] * reflection(t, k, true, b, l, j);
            }
        for (size_t i = 0; i < a; i++)
            for (size_t j = 0; j < b; j++) {
                to[i * wide + j] = 0.0;
                for (size_t l = 0; l < a; l++)
                    to[i * wide + j] += reflection(t, k, false, a, i, l) * half[l * b + j];
            }
    }
}

/* Sigma g, of a tensor. */
static void spread_step(const tensor *t, double *out, const double *g)
{
    double *turned = calloc(t->count, sizeof *turned);
    if (t->matrices)
        reflect(t, turned, g, true);
    else
        memcpy(turned, g, t->count * sizeof *g);
    for (size_t e = 0; e < t->count; e++) turned[e] *= variance_of(t, e);
    if (t->matrices)
        reflect(t, out, turned, false);
    else
        memcpy(out, turned, t->count * sizeof *out);
    free(turned);
}

static double quadratic(const tensor *t, const double *g)
{
    double *step = calloc(t->count, sizeof *step), form = 0.0;
    spread_step(t, step, g);
    for (size_t e = 0; e < t->count; e++) form += g[e] * step[e];
    free(step);
    return form;
}

/* Weights are those of `plain`, which begins alike and has them whole. */
MPI_TEST(sequences_in_bases)
{
    running plain, on;
    twin t;
    look(&plain, tokens_job(SHARD_GRADIENTS, 20, 97));
    look_in_bases(&on, tokens_job(SHARD_PARAMETERS, 20, 97));
    sensitivity_table found = run(&on, PER_SEQUENCE, 0, WINDOWS);
    open_twin(&t, &plain);
    for (size_t i = 0; found.rows && i < WINDOWS; i++) {
        cr_assert_eq(dataset_window(on.data, i, &t.batch, 0), STATUS_OK);
        gpt2_backward(t.model, &t.w.hooks, &t.batch.view, (noise_key){0});
        double form = 0.0;
        for (size_t k = 0; k < t.w.p.tensor_count; k++) {
            const tensor *of = &t.w.p.tensors[k];
            double *g = widened(gradient_of(&t.w, k), of->count);
            form += T * T * quadratic(of, g);
            free(g);
        }
        cr_expect_float_eq(found.rows[i].variance, form, 1e-5 * form, "%g, %g expected",
                           found.rows[i].variance, form);
    }
    close_twin(&t);
    sensitivity_table_close(&found);
    uint32_t windows[] = {0, 1, 1};
    double added[2];
    sensitivity_table alone = run(&on, PER_SEQUENCE, 1, 3);
    leave(&on, PER_SEQUENCE, 1, 3, windows, 2, added);
    if (world.rank == 0) cr_expect_float_eq(added[0], alone.rows[0].variance, 1e-6 * added[0]);
    sensitivity_table_close(&alone);
    running_close(&plain);
    running_close(&on);
}

/* d output / d weights of a row, (outputs, weights), by central differences. */
static void jacobian_of(const trainer *r, double *theta, const float *in, double *out)
{
    size_t outputs = r->job->model.mlp.outputs, count = r->rounds.p.count;
    double step = 1e-5, side[2][2];
    for (size_t e = 0; e < count; e++) {
        double kept = theta[e];
        for (int k = 0; k < 2; k++) {
            theta[e] = kept + (k ? -step : step);
            outputs_of(r, theta, in, side[k]);
        }
        theta[e] = kept;
        for (size_t c = 0; c < outputs; c++)
            out[c * count + e] = (side[0][c] - side[1][c]) / (2.0 * step);
    }
}

/* What the Newton step in bases adds to a group's loss. */
static double added_in_bases(const trainer *r, const dataset *data, dataset_batch *b, size_t group,
                             double *theta)
{
    size_t count = r->rounds.p.count;
    double moved[count], g[count], step = 1e-5, before = group_loss(r, data, b, group, theta);
    for (size_t e = 0; e < count; e++) {
        double kept = theta[e], side[2];
        for (int k = 0; k < 2; k++) {
            theta[e] = kept + (k ? -step : step);
            side[k] = group_loss(r, data, b, group, theta);
        }
        theta[e] = kept;
        g[e] = (side[0] - side[1]) / (2.0 * step);
    }
    for (size_t i = 0; i < r->rounds.p.tensor_count; i++) {
        const tensor *t = &r->rounds.p.tensors[i];
        spread_step(t, moved + t->index, g + t->index);
    }
    for (size_t e = 0; e < count; e++) moved[e] += theta[e];
    return group_loss(r, data, b, group, moved) - before;
}

static void check_in_bases(loss_kind loss)
{
    running plain, on;
    dataset_batch b;
    uint32_t group[COUNT];
    double added[GROUPS];
    look(&plain, deep_job(loss, SHARD_GRADIENTS));
    look_in_bases(&on, deep_job(loss, SHARD_PARAMETERS));
    const trainer *r = &plain.r;
    cr_assert_eq(dataset_batch_open(&b, &on.j), STATUS_OK);
    double *theta = widened(r->rounds.state.mean.values, r->rounds.p.count);
    sensitivity_table found = run(&on, PER_EXAMPLE, 0, COUNT);
    double jacobian[2 * r->rounds.p.count];
    for (size_t i = 0; found.rows && i < COUNT; i++) {
        cr_assert_eq(dataset_window(on.data, i, &b, 0), STATUS_OK);
        jacobian_of(r, theta, b.inputs, jacobian);
        for (size_t c = 0; c < found.outputs; c++) {
            double v = 0.0, here = (double)found.details[(2 * i + 1) * found.outputs + c];
            for (size_t k = 0; k < r->rounds.p.tensor_count; k++) {
                const tensor *t = &r->rounds.p.tensors[k];
                v += quadratic(t, jacobian + c * r->rounds.p.count + t->index);
            }
            cr_expect_lt(fabs(here - v), 1e-4 * v, "%g, %g expected", here, v);
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        group[i] = dataset_left_out(on.data, i) ? NONE : (uint32_t)(i % GROUPS);
    leave(&on, PER_EXAMPLE, 0, COUNT, group, GROUPS, added);
    for (size_t g = 0; world.rank == 0 && g < GROUPS; g++) {
        double expected = added_in_bases(r, on.data, &b, g, theta);
        cr_expect_lt(fabs(added[g] - expected), 2e-4 * fabs(expected), "group %zu: %g, %g expected",
                     g, added[g], expected);
    }
    sensitivity_table_close(&found);
    free(theta);
    dataset_batch_close(&b);
    running_close(&plain);
    running_close(&on);
}

MPI_TEST(examples_in_bases)
{
    check_in_bases(LOSS_CROSS_ENTROPY);
    check_in_bases(LOSS_GAUSSIAN);
}
