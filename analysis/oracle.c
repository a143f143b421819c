/* Newton's method to the mode. Every pass over the data makes the rows anew: they are cheap beside
 * the sum of their products, and would not fit beside it. */
#include "analysis/oracle.h"

#include "analysis/oracle_parts.h"
#include "base/memory.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NEWTON_MAX = 60, HALVINGS = 30 };

/* Newton decrements, in deviations of the posterior. Below the first F is quadratic, and rounding
 * would fool a line search. */
#define DECREMENT_SMALL 1e-3
#define DECREMENT_DONE 1e-10

static const double ln_2_pi = 1.8378770664093454836;

static status settle_prior(oracle *o)
{
    const job *j = o->r->job;
    const oracle_options *want = &o->options;
    bool tokens = job_reads_tokens(j);
    o->count = tokens ? dataset_count(o->data) * j->batch.length : dataset_count(o->data);
    if (!tokens && j->data.leave_out < o->count) o->count--;
    o->ess = want->ess;
    if (isnan(o->ess))
        o->ess =
            job_is_variational(j) ? o->r->rounds.state.settings.optimizer.ess : (double)o->count;
    o->weight = o->ess / (double)o->count;
    if (isnan(want->prior) && !job_is_variational(j))
        return fail(STATUS_INPUT,
                    "%s: --prior P expected, the prior's precision: only jobs of ivon and bbb have "
                    "one",
                    j->name);
    if (job_optimizer(j)->decays_all && !isnan(want->bias_prior))
        return fail(
            STATUS_INPUT,
            "%s: --bias-prior %g found, none expected: 1-D tensors of bbb have the prior of "
            "matrices",
            j->name, want->bias_prior);
    double prior = isnan(want->prior) ? o->ess * j->optimizer.weight_decay : want->prior;
    for (size_t i = 0; i < o->unknowns; i++) {
        size_t element;
        const tensor *t = jacobian_tensor(o->x, i, &element);
        bool as_matrices = t->decayed || job_optimizer(j)->decays_all;
        o->prior[i] = as_matrices ? prior : isnan(want->bias_prior) ? 0.0 : want->bias_prior;
    }
    return STATUS_OK;
}

static status check_memory(oracle *o)
{
    char what[64];
    snprintf(what, sizeof what, "%zu unknowns", o->unknowns);
    return exact_check_memory(o->grid, what, o->unknowns, o->options.spectrum ? 6 : 2,
                              3 * jacobian_bytes(o->x) + oracle_posterior_bytes(o->x, o->r));
}

static status open_vectors(oracle *o)
{
    double **const all[] = {&o->prior, &o->mode, &o->diagonal, &o->step, &o->gradient};
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < sizeof all / sizeof all[0]; i++)
        result = oracle_take(all[i], o->unknowns, 1);
    return result ? result : settle_prior(o);
}

status oracle_open(oracle *o, trainer *r, const dataset *data, const oracle_options *options)
{
    *o = (oracle){.r = r,
                  .data = data,
                  .options = *options,
                  .classes = model_has_classes(&r->config),
                  .fixed = model_reads_tokens(&r->config)};
    status result = jacobian_open(&o->x, r, options->tensors);
    if (result) return result;
    o->unknowns = jacobian_unknowns(o->x);
    o->outputs = jacobian_outputs(o->x);
    o->start = jacobian_mean(o->x);
    result = exact_grid_open(&o->grid, r->rounds.c->world, options->threads);
    if (!result) result = check_memory(o);
    if (!result) result = agree(r->rounds.c->world, open_vectors(o));
    if (!result) result = exact_matrix_open(&o->precision, o->grid, o->unknowns, o->unknowns);
    if (!result) result = exact_matrix_open(&o->factor, o->grid, o->unknowns, o->unknowns);
    if (!result && options->spectrum)
        result = exact_matrix_open(&o->spare, o->grid, o->unknowns, o->unknowns);
    return result;
}

status oracle_check(const oracle *o, bool leave_out, bool maximize, bool draws)
{
    if (leave_out && o->fixed)
        return fail(STATUS_INPUT, "--leave-out: examples expected, gpt2's sequences found");
    if (draws && o->fixed)
        return fail(STATUS_INPUT, "--draws: examples expected, gpt2's sequences found");
    if (maximize && (o->classes || !jacobian_is_linear(o->x)))
        return fail(STATUS_INPUT, "--maximize: a regression whose last layer alone is unknown "
                                  "expected, another problem found");
    return STATUS_OK;
}

void oracle_close(oracle *o)
{
    exact_matrix_close(&o->precision);
    exact_matrix_close(&o->factor);
    exact_matrix_close(&o->spare);
    exact_grid_close(&o->grid);
    jacobian_close(&o->x);
    free(o->prior);
    free(o->mode);
    free(o->diagonal);
    free(o->step);
    free(o->gradient);
    *o = (oracle){0};
}

void oracle_outputs(const oracle *o, const jacobian_rows *b, const double *step, double *f)
{
    size_t n = o->unknowns;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < b->examples * o->outputs; row++) {
        double sum = 0.0;
        for (size_t i = 0; step && i < n; i++) sum += b->rows[row * n + i] * step[i];
        f[row] = b->f[row] + sum;
    }
}

static double class_loss(double *f, double *errors, size_t classes, size_t target)
{
    double max = -INFINITY, sum = 0.0, own = f[target];
    for (size_t c = 0; c < classes; c++) max = fmax(max, f[c]);
    for (size_t c = 0; c < classes; c++) sum += f[c] = exp(f[c] - max);
    for (size_t c = 0; c < classes; c++) errors[c] = (f[c] /= sum) - (c == target ? 1.0 : 0.0);
    return log(sum) + max - own;
}

double oracle_loss(const oracle *o, const jacobian_rows *b, size_t example, double *f,
                   double *errors)
{
    if (o->classes) return class_loss(f, errors, o->outputs, b->targets[example]);
    double variance = o->r->config.mlp.noise_variance, loss = 0.0;
    for (size_t c = 0; c < o->outputs; c++) {
        double error = f[c] - (double)b->values[example * o->outputs + c];
        errors[c] = error / variance;
        loss += 0.5 * (error * errors[c] + ln_2_pi + log(variance));
    }
    return loss;
}

/* H = diag(p) - p p' is R R' with R = (1 - p 1') diag(sqrt p), so row c of R' J is
 * sqrt(p_c) (J_c - sum of p_k J_k). */
void oracle_weigh(const oracle *o, const double *p, double *rows, double *scratch)
{
    size_t n = o->unknowns;
    double *middle = scratch, weight = o->weight;
    if (!o->classes) weight /= o->r->config.mlp.noise_variance;
    memset(middle, 0, n * sizeof *middle);
    for (size_t c = 0; o->classes && c < o->outputs; c++)
        for (size_t i = 0; i < n; i++) middle[i] += p[c] * rows[c * n + i];
    for (size_t c = 0; c < o->outputs; c++) {
        double factor = sqrt(o->classes ? weight * p[c] : weight);
        for (size_t i = 0; i < n; i++) rows[c * n + i] = factor * (rows[c * n + i] - middle[i]);
    }
}

/* One look at all of the data. */
typedef struct {
    double *f, *errors; /* (examples, outputs) of a round */
    double *scratch;    /* [unknowns] */
    double loss;        /* sum */
} pass;

static status open_pass(pass *w, const oracle *o)
{
    status result = oracle_take(&w->scratch, o->unknowns, 1);
    if (!result) result = oracle_take(&w->f, jacobian_batch(o->x), o->outputs);
    return result ? result : oracle_take(&w->errors, jacobian_batch(o->x), o->outputs);
}

/* gradient += J' errors, by pieces of the unknowns. */
static void add_gradient(oracle *o, const jacobian_rows *b, const double *errors)
{
    enum { PIECE = 256 };
    size_t n = o->unknowns, cells = oracle_cells(o, b);
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < n; first += PIECE) {
        size_t end = first + PIECE < n ? first + PIECE : n;
        for (size_t row = 0; row < cells; row++)
            for (size_t i = first; i < end; i++)
                o->gradient[i] += errors[row] * b->rows[row * n + i];
    }
}

static void look(oracle *o, pass *w, jacobian_rows *b, const double *step, bool weigh)
{
    size_t C = o->outputs, n = o->unknowns;
    oracle_outputs(o, b, step, w->f);
    for (size_t s = 0; s < b->examples; s++) {
        double *errors = w->errors + s * C;
        double loss = oracle_loss(o, b, s, w->f + s * C, errors);
        if (dataset_left_out(o->data, b->first + s)) {
            memset(errors, 0, C * sizeof *errors);
            memset(b->rows + s * C * n, 0, C * n * sizeof *b->rows);
        } else {
            w->loss += loss;
        }
    }
    add_gradient(o, b, w->errors);
    for (size_t s = 0; weigh && s < b->examples; s++)
        oracle_weigh(o, w->f + s * C, b->rows + s * C * n, w->scratch);
}

/* Of gpt2 rows are made for the sum as they are. */
static void weigh_windows(const oracle *o, jacobian_rows *b)
{
    double factor = sqrt(o->weight);
    for (size_t i = 0; i < oracle_cells(o, b) * o->unknowns; i++) b->rows[i] *= factor;
}

static status run_round(oracle *o, pass *w, uint64_t round, const double *step, bool assemble)
{
    jacobian_rows b;
    status result = jacobian_round(o->x, o->data, round, &b);
    if (result) return result;
    if (o->fixed)
        weigh_windows(o, &b);
    else
        look(o, w, &b, step, assemble);
    return assemble ? exact_add_products(o->precision, b.rows, oracle_cells(o, &b)) : STATUS_OK;
}

/* F, its gradient and, where wanted, Lambda at start + step. */
static status evaluate(oracle *o, const double *step, bool assemble, double *objective)
{
    pass w = {0};
    uint64_t round_count = jacobian_rounds(o->x, dataset_count(o->data));
    status result = agree(o->r->rounds.c->world, open_pass(&w, o));
    memset(o->gradient, 0, o->unknowns * sizeof *o->gradient);
    if (assemble) exact_scale(o->precision, 0.0);
    for (uint64_t round = 0; !result && round < round_count; round++)
        result = run_round(o, &w, round, step, assemble);
    free(w.f);
    free(w.errors);
    free(w.scratch);
    if (result) return result;
    if (assemble) exact_add_diagonal(o->precision, o->prior);
    comm_sum_ordered(o->r->rounds.c, &w.loss, 1);
    comm_sum_ordered(o->r->rounds.c, o->gradient, o->unknowns);
    o->loss = w.loss / (double)o->count;
    *objective = o->weight * w.loss;
    for (size_t i = 0; i < o->unknowns; i++) {
        double theta = o->start[i] + step[i];
        o->gradient[i] = o->weight * o->gradient[i] + o->prior[i] * theta;
        *objective += 0.5 * o->prior[i] * theta * theta;
    }
    return STATUS_OK;
}

static status refuse(const oracle *o, size_t bad)
{
    size_t element;
    const tensor *t = jacobian_tensor(o->x, bad, &element);
    status_clear();
    return fail(STATUS_INPUT,
                "the posterior's precision is singular: data and prior leave element %zu of '%s' "
                "free (prior precision %g); --%s P gives it a prior",
                element, t->name, o->prior[bad], t->decayed ? "prior" : "bias-prior");
}

static status factor(oracle *o)
{
    size_t bad;
    exact_copy(o->factor, o->precision);
    status result = exact_factor(o->factor, &bad);
    return result == STATUS_NUMERIC ? refuse(o, bad) : result;
}

/* How far along the way F falls as it should. */
static status search(oracle *o, double *step, const double *way, double slope, double objective)
{
    double *tried, found = INFINITY;
    status result = agree(o->r->rounds.c->world, oracle_take(&tried, o->unknowns, 1));
    double length = 1.0;
    bool falls = false;
    for (int i = 0; !result && !falls && i < HALVINGS; i++, length *= 0.5) {
        for (size_t k = 0; k < o->unknowns; k++) tried[k] = step[k] - length * way[k];
        result = evaluate(o, tried, false, &found);
        falls = found <= objective - 1e-4 * length * slope;
    }
    if (!result && !falls)
        result = fail(STATUS_NUMERIC,
                      "no mode was found: after %zu Newton steps none of %g deviations, nor 2^-%d "
                      "of it, takes F below %.17g",
                      o->newton_steps, sqrt(slope), HALVINGS - 1, objective);
    if (!result) memcpy(step, tried, o->unknowns * sizeof *step);
    free(tried);
    return result;
}

/* The next step from start + o->step; *decrement is its length. */
static status advance(oracle *o, double *way, double *decrement)
{
    double objective, square = 0.0;
    bool assemble = o->classes || o->newton_steps == 0;
    status result = evaluate(o, o->step, assemble, &objective);
    if (!result && assemble) result = factor(o);
    if (result) return result;
    memcpy(way, o->gradient, o->unknowns * sizeof *way);
    result = exact_solve(o->factor, way, 1);
    if (result) return result;
    for (size_t i = 0; i < o->unknowns; i++) square += way[i] * o->gradient[i];
    *decrement = sqrt(fmax(square, 0.0));
    o->objective = objective - 0.5 * square;
    o->newton_steps++;
    if (o->classes && !(*decrement < DECREMENT_SMALL))
        return search(o, o->step, way, square, objective);
    for (size_t i = 0; i < o->unknowns; i++) o->step[i] -= way[i];
    return STATUS_OK;
}

/* Rounding ends what is already small. */
static bool is_done(double decrement, double before)
{
    return decrement < DECREMENT_DONE || (decrement < 1e-6 && decrement > 0.5 * before);
}

static status find_mode(oracle *o)
{
    double *way, decrement = INFINITY, before;
    status result = agree(o->r->rounds.c->world, oracle_take(&way, o->unknowns, 1));
    while (!result) {
        before = decrement;
        result = advance(o, way, &decrement);
        if (result || is_done(decrement, before)) break;
        if (!isfinite(decrement) || o->newton_steps == NEWTON_MAX)
            result = fail(STATUS_NUMERIC,
                          "no mode was found in %zu Newton steps: the last one is %g deviations "
                          "long",
                          o->newton_steps, decrement);
    }
    free(way);
    return result;
}

static void find_evidence(oracle *o)
{
    o->log_determinant = exact_log_determinant(o->factor);
    o->log_evidence = -o->objective - 0.5 * o->log_determinant;
    for (size_t i = 0; i < o->unknowns; i++)
        o->log_evidence += 0.5 * (o->prior[i] > 0.0 ? log(o->prior[i]) : ln_2_pi);
    if (o->fixed) o->log_evidence = o->loss = NAN;
}

status oracle_find(oracle *o)
{
    double objective;
    memset(o->step, 0, o->unknowns * sizeof *o->step);
    status result = o->fixed ? evaluate(o, o->step, true, &objective) : find_mode(o);
    if (!result && o->fixed) result = factor(o);
    if (result) return result;
    for (size_t i = 0; i < o->unknowns; i++) o->mode[i] = o->start[i] + o->step[i];
    exact_diagonal(o->precision, o->diagonal);
    find_evidence(o);
    return STATUS_OK;
}

status oracle_variances(oracle *o, double *variances)
{
    return exact_inverse_diagonal(o->factor, variances);
}
