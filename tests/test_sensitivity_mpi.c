/* Sensitivities against their definition, on any number of ranks, with a Hessian that differs from
 * weight to weight. */
#include "folder_fixture.h"
#include "io/agree.h"
#include "kernels/kernels.h"
#include "mpi_fixture.h"
#include "runtime/sensitivity.h"

#include <math.h>
#include <string.h>

enum { COUNT = 43, S = 8, WIDTH = 6, T = 16, WINDOWS = 7, TOKENS = T * WINDOWS + 1 };

static void start(void)
{
    world_open();
    kernels_open();
    if (world.rank == 0) open_folder();
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, world.world);
}

static void stop(void)
{
    MPI_Barrier(world.world);
    if (world.rank == 0) close_folder();
    kernels_close();
    world_close();
}

TestSuite(sensitivity, .init = start, .fini = stop, .timeout = 60);

static job job_of(loss_kind loss, shard_stage stage)
{
    bool values = loss == LOSS_GAUSSIAN;
    return (job){.seed = 3,
                 .model = {.kind = MODEL_MLP,
                           .gpt2 = {.n_layer = 3,
                                    .n_head = 2,
                                    .n_embd = 20,
                                    .block_size = T,
                                    .vocab_size = 97,
                                    .bias = true,
                                    .dropout = 0.3},
                           .mlp = {.inputs = values ? 1 : 2,
                                   .outputs = values ? 1 : 2,
                                   .hidden_count = 2,
                                   .hidden = {WIDTH, WIDTH + 1},
                                   .bias = true,
                                   .dropout = 0.3,
                                   .loss = loss,
                                   .noise_variance = 0.01}},
                 .data = {.seed = 1, .leave_out = 11},
                 .batch = {.sequences = S, .length = 1, .microbatches = 4},
                 .optimizer = {.kind = OPTIMIZER_IVON,
                               .ess = 100.0,
                               .hessian_init = 0.05,
                               .weight_decay = 0.01,
                               .mc_samples = 1},
                 .parallel = {.shard = stage}};
}

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
static void open_trainer(trainer *r, const job *j)
{
    cr_assert_eq(trainer_open(r, j, &world, DTYPE_F32, false), STATUS_OK, "%s", status_message());
    const sharding *owned = &r->owned;
    for (size_t i = 0; i < owned->owned_count; i++) {
        const slice *part = &owned->owned[i];
        float *h = state_at(&r->state, r->state.second, part);
        for (size_t k = 0; k < part->count; k++) h[k] = hessian_of(slice_index(&r->p, part) + k);
    }
    state_share(&r->state, &world);
}

static sensitivity_table run(trainer *r, const dataset *data, sensitivity_per per, uint64_t first,
                             uint64_t count)
{
    sensitivity *x;
    sensitivity_table found;
    cr_assert_eq(sensitivity_open(&x, r, per), STATUS_OK, "%s", status_message());
    cr_assert_eq(sensitivity_run(x, data, first, count, &found), STATUS_OK, "%s", status_message());
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
        const tensor *w = &r->p.tensors[2 * l], *b = &r->p.tensors[2 * l + 1];
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
    for (size_t i = 0; i < r->p.tensor_count; i++)
        for (size_t e = 0; e < r->p.tensors[i].count; e++) {
            double *at = &theta[r->p.tensors[i].index + e], kept = *at;
            for (int k = 0; k < 2; k++) {
                *at = kept + (k ? -step : step);
                outputs_of(r, theta, in, side[k]);
            }
            *at = kept;
            for (size_t c = 0; c < outputs; c++)
                out[c] += variance_of(&r->p.tensors[i], e) *
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
    job j = job_of(loss, SHARD_GRADIENTS);
    const char *text = loss == LOSS_GAUSSIAN ? "curve:7-49" : "moons:7-49";
    dataset *data;
    dataset_batch b;
    trainer r;
    status result = dataset_open(&data, &j, DATASET_TRAIN, text);
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    cr_assert_eq(dataset_batch_open(&b, &j), STATUS_OK);
    open_trainer(&r, &j);
    sensitivity_table found = run(&r, data, PER_EXAMPLE, 2, COUNT - 2);
    double theta[r.p.count], sums[2] = {0};
    for (size_t i = 0; i < r.p.count; i++) theta[i] = (double)r.state.mean.values[i];
    cr_expect_eq(found.rows != NULL, world.rank == 0);
    for (size_t i = 0; found.rows && i < COUNT - 2; i++) {
        const sensitivity_row *row = &found.rows[i];
        cr_expect_eq(row->index, i + 2);
        cr_assert_eq(dataset_window(data, row->index, &b, 0), STATUS_OK);
        check_row(&r, theta, &b, row, found.details + i * 2 * found.outputs);
        if (row->left_out) continue;
        sums[0] += row->loss / (COUNT - 3);
        sums[1] += row->loo_loss / (COUNT - 3);
    }
    MPI_Bcast(sums, 2, MPI_DOUBLE, 0, world.world);
    cr_expect_float_eq(found.loss, sums[0], 1e-9);
    cr_expect_float_eq(found.loo_loss, sums[1], 1e-9);
    sensitivity_table_close(&found);
    trainer_close(&r);
    dataset_batch_close(&b);
    dataset_close(&data);
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
    double moved[r->p.count], step = 1e-5, before = group_loss(r, data, b, group, theta);
    for (size_t i = 0; i < r->p.tensor_count; i++)
        for (size_t e = 0; e < r->p.tensors[i].count; e++) {
            double *at = &theta[r->p.tensors[i].index + e], kept = *at, side[2];
            for (int k = 0; k < 2; k++) {
                *at = kept + (k ? -step : step);
                side[k] = group_loss(r, data, b, group, theta);
            }
            *at = kept;
            moved[r->p.tensors[i].index + e] =
                kept + variance_of(&r->p.tensors[i], e) * (side[0] - side[1]) / (2.0 * step);
        }
    return group_loss(r, data, b, group, moved) - before;
}

/* leave: what sensitivity_leave adds, on rank 0; rows are those of run. */
static void leave(trainer *r, const dataset *data, sensitivity_per per, uint64_t first,
                  uint64_t count, const uint32_t *group, size_t groups, double *added)
{
    sensitivity *x;
    sensitivity_table found;
    bool root = world.rank == 0;
    cr_assert_eq(sensitivity_open(&x, r, per), STATUS_OK, "%s", status_message());
    cr_assert_eq(sensitivity_run(x, data, first, count, &found), STATUS_OK);
    status result = sensitivity_leave(x, data, first, count, root ? group : NULL, root ? groups : 0,
                                      root ? added : NULL);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    sensitivity_table_close(&found);
    sensitivity_close(&x);
}

static void check_groups(loss_kind loss, shard_stage stage)
{
    job j = job_of(loss, stage);
    dataset *data;
    dataset_batch b;
    trainer r;
    uint32_t group[COUNT];
    double added[GROUPS];
    status result =
        dataset_open(&data, &j, DATASET_TRAIN, loss == LOSS_GAUSSIAN ? "curve:7-49" : "moons:7-49");
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    cr_assert_eq(dataset_batch_open(&b, &j), STATUS_OK);
    open_trainer(&r, &j);
    float mean[r.owned.elements + 1];
    const slice *mine = r.owned.owned; /* a rank may own nothing of so small a model */
    size_t bytes = r.owned.owned_count ? mine->count * sizeof *mean : 0;
    if (bytes) memcpy(mean, state_at(&r.state, r.state.mean, mine), bytes);
    for (size_t i = 0; i < COUNT; i++)
        group[i] = dataset_left_out(data, i) ? NONE : (uint32_t)(i % GROUPS);
    leave(&r, data, PER_EXAMPLE, 0, COUNT, group, GROUPS, added);
    if (bytes)
        cr_expect_arr_eq(mean, state_at(&r.state, r.state.mean, mine), bytes, "the mean is back");
    for (size_t g = 0; world.rank == 0 && r.state.mean.whole && g < GROUPS; g++) {
        double theta[r.p.count];
        for (size_t i = 0; i < r.p.count; i++) theta[i] = (double)r.state.mean.values[i];
        double expected = added_by(&r, data, &b, g, theta);
        cr_expect_lt(fabs(added[g] - expected), 2e-4 * fabs(expected), "group %zu: %g, %g expected",
                     g, added[g], expected);
    }
    trainer_close(&r);
    dataset_batch_close(&b);
    dataset_close(&data);
}

Test(sensitivity, groups_leave_together)
{
    for (int stage = SHARD_NONE; stage <= SHARD_PARAMETERS; stage++) {
        check_groups(LOSS_CROSS_ENTROPY, (shard_stage)stage);
        check_groups(LOSS_GAUSSIAN, (shard_stage)stage);
    }
}

Test(sensitivity, classes)
{
    check(LOSS_CROSS_ENTROPY);
}

Test(sensitivity, values)
{
    check(LOSS_GAUSSIAN);
}

/* Weights and gradients of a GPT-2 as plain buffers. */
typedef struct {
    const trainer *r;
    char *weights[5];
    float *gradients[5];
} plain;

static const void *give_weights(void *context, size_t u)
{
    return ((plain *)context)->weights[u];
}

static float *give_gradients(void *context, size_t u)
{
    return ((plain *)context)->gradients[u];
}

static void nothing(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static void open_plain(plain *x, const trainer *r)
{
    *x = (plain){.r = r};
    for (size_t u = 0; u < r->p.unit_count; u++) {
        x->weights[u] = aligned_alloc(64, r->state.gradient.unit_bytes[u]);
        x->gradients[u] = aligned_alloc(64, r->state.gradient.unit_bytes[u]);
    }
    for (size_t i = 0; i < r->p.tensor_count; i++)
        memcpy(x->weights[r->p.tensors[i].unit] + r->state.gradient.tensor_offset[i],
               r->state.mean.values + r->p.tensors[i].index, r->p.tensors[i].count * sizeof(float));
}

static void close_plain(plain *x)
{
    for (size_t u = 0; u < x->r->p.unit_count; u++) {
        free(x->weights[u]);
        free(x->gradients[u]);
    }
}

/* Sum of variance * (d loss / d weight)^2 of a window's summed loss, from its whole gradient. */
static double form_of(plain *x, gpt2 *g, const dataset_batch *b, double *loss)
{
    model_hooks hooks = {x, give_weights, nothing, give_gradients, nothing, NULL, NULL};
    double form = 0.0;
    *loss = gpt2_backward(g, &hooks, &b->view, (noise_key){0});
    for (size_t i = 0; i < x->r->p.tensor_count; i++) {
        const tensor *t = &x->r->p.tensors[i];
        const float *gradient =
            x->gradients[t->unit] + x->r->state.gradient.tensor_offset[i] / sizeof(float);
        for (size_t e = 0; e < t->count; e++)
            form += variance_of(t, e) * pow(T * (double)gradient[e], 2);
    }
    return form;
}

static dataset *open_tokens(const job *j)
{
    uint16_t tokens[TOKENS];
    dataset *data;
    for (unsigned i = 0; i < TOKENS; i++) tokens[i] = (uint16_t)(i * i % 97);
    if (world.rank == 0) write_file("tokens.bin", tokens, sizeof tokens);
    MPI_Barrier(world.world);
    status result = dataset_open(&data, j, DATASET_TRAIN, path_of("tokens.bin"));
    cr_assert_eq(agree(world.world, result), STATUS_OK, "%s", status_message());
    return data;
}

static job tokens_job(shard_stage stage)
{
    job j = job_of(LOSS_CROSS_ENTROPY, stage);
    j.model.kind = MODEL_GPT2;
    j.batch.sequences = 2;
    j.batch.length = T;
    return j;
}

Test(sensitivity, sequences)
{
    job j = tokens_job(SHARD_GRADIENTS), one = j;
    dataset *data = open_tokens(&j);
    dataset_batch b;
    trainer r;
    plain x;
    gpt2 *g;
    one.batch.sequences = 1;
    one.model.gpt2.dropout = 0.0;
    model_shape shape = {.sequences = 1, .length = T, .training = true};
    open_trainer(&r, &j);
    cr_assert_eq(dataset_batch_open(&b, &one), STATUS_OK);
    cr_assert_eq(gpt2_open(&g, &one.model.gpt2, &shape), STATUS_OK);
    open_plain(&x, &r);
    sensitivity_table found = run(&r, data, PER_SEQUENCE, 0, WINDOWS);
    for (size_t i = 0; found.rows && i < WINDOWS; i++) {
        double loss;
        cr_assert_eq(dataset_window(data, i, &b, 0), STATUS_OK);
        double form = form_of(&x, g, &b, &loss);
        cr_expect_float_eq(found.rows[i].variance, form, 1e-5 * form);
        cr_expect_float_eq(found.rows[i].loss, loss, 1e-6);
        cr_expect_float_eq(found.rows[i].loo_loss, loss + form / T, 1e-5 * form);
    }
    sensitivity_table_close(&found);
    close_plain(&x);
    gpt2_close(&g);
    trainer_close(&r);
    dataset_batch_close(&b);
    dataset_close(&data);
}

/* A window's tokens: their losses make up the window's, and a single one of a window of which only
 * its loss counts has that form. Fetched weights give the same bits. */
Test(sensitivity, tokens)
{
    job j = tokens_job(SHARD_GRADIENTS), fetched = tokens_job(SHARD_PARAMETERS);
    dataset *data = open_tokens(&j);
    trainer r, other;
    open_trainer(&r, &j);
    open_trainer(&other, &fetched);
    sensitivity_table sequences = run(&r, data, PER_SEQUENCE, 1, 2);
    sensitivity_table tokens = run(&r, data, PER_TOKEN, T, 2 * T);
    sensitivity_table again = run(&other, data, PER_TOKEN, T, 2 * T);
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
    trainer_close(&r);
    trainer_close(&other);
    dataset_close(&data);
}

/* A group of one row adds what the row does, all tokens of a window what the window does. */
Test(sensitivity, groups_of_text)
{
    job j = tokens_job(SHARD_GRADIENTS);
    dataset *data = open_tokens(&j);
    trainer r;
    uint32_t windows[] = {0, 1, 1}, tokens[2 * T];
    double of_windows[2], of_tokens[3];
    open_trainer(&r, &j);
    for (size_t i = 0; i < 2 * T; i++) tokens[i] = i < T ? 2 : i == T + 3 ? 0 : i % 2 ? 1 : NONE;
    sensitivity_table alone = run(&r, data, PER_SEQUENCE, 1, 3);
    sensitivity_table token = run(&r, data, PER_TOKEN, 2 * T + 3, 1);
    leave(&r, data, PER_SEQUENCE, 1, 3, windows, 2, of_windows);
    leave(&r, data, PER_TOKEN, T, 2 * T, tokens, 3, of_tokens);
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
    trainer_close(&r);
    dataset_close(&data);
}

/* Every stage gives the same bits. */
Test(sensitivity, fetched_examples)
{
    job j = job_of(LOSS_CROSS_ENTROPY, SHARD_GRADIENTS), fetched = j;
    fetched.parallel.shard = SHARD_PARAMETERS;
    dataset *data;
    trainer r, other;
    status result = dataset_open(&data, &j, DATASET_TRAIN, "moons:0-42");
    cr_assert_eq(agree(world.world, result), STATUS_OK);
    open_trainer(&r, &j);
    open_trainer(&other, &fetched);
    sensitivity_table a = run(&r, data, PER_EXAMPLE, 0, COUNT);
    sensitivity_table b = run(&other, data, PER_EXAMPLE, 0, COUNT);
    cr_expect_eq(a.loo_loss, b.loo_loss);
    cr_expect_eq(a.loss, b.loss);
    sensitivity_table_close(&a);
    sensitivity_table_close(&b);
    trainer_close(&r);
    trainer_close(&other);
    dataset_close(&data);
}
