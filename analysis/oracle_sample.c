/* Distances from a posterior that is no Gaussian. With phi = F - F(mode), a Gaussian's draws
 * c + S z have
 *
 *     KL = E[phi - |z|^2 / 2] - ln det S - n/2 ln 2 pi + ln of the integral of exp(-phi)
 */
#include "analysis/oracle.h"
#include "analysis/oracle_parts.h"
#include "kernels/noise.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 128 /* draws of one pass over the data */ };

/* Gaussians that are drawn from, in the order of the noise's steps. */
typedef enum { DRAW_CONSTANT, DRAW_RUN, DRAW_GAUSSIAN, DRAW_DIAGONAL } drawn;

typedef struct {
    oracle *o;
    const oracle_posterior *q;
    double *step;   /* (CHUNK, unknowns) theta - start */
    double *losses; /* [CHUNK] */
    double *f, *errors;
    double *halves;  /* [draws] phi - |z|^2 / 2 */
    double *squares; /* [draws] |z|^2 */
} sampling;

/* Two by two with opposite signs, for which what is odd in them is 0. */
static void draw_normals(const sampling *w, drawn from, uint64_t draw, double *z)
{
    size_t n = w->o->unknowns;
    noise_key key = {.seed = w->o->r->job->seed,
                     .stream = STREAM_POSTERIOR,
                     .sample = (uint32_t)(draw / 2),
                     .step = 2 + (uint32_t)from};
    for (size_t i = 0; i < n; i += NOISE_BLOCK) {
        _Alignas(64) float here[NOISE_BLOCK];
        size_t count = n - i < NOISE_BLOCK ? n - i : NOISE_BLOCK;
        noise_normals(here, NULL, key, i, count);
        for (size_t k = 0; k < count; k++) z[i + k] = draw % 2 ? -(double)here[k] : (double)here[k];
    }
}

/* Deviations from the center become steps from where the Jacobian is. */
static void place_draw(const sampling *w, drawn from, double widening, double *step)
{
    const oracle *o = w->o;
    if (from == DRAW_RUN) {
        oracle_posterior_draw(w->q, step);
        return;
    }
    for (size_t i = 0; i < o->unknowns; i++) {
        double deviation =
            from == DRAW_DIAGONAL ? step[i] / sqrt(o->diagonal[i]) : widening * step[i];
        step[i] = o->mode[i] - o->start[i] + deviation;
    }
}

static void add_losses(sampling *w, const jacobian_rows *b, size_t count)
{
    oracle *o = w->o;
    size_t C = o->outputs;
    for (size_t k = 0; k < count; k++) {
        oracle_outputs(o, b, w->step + k * o->unknowns, w->f);
        for (size_t s = 0; s < b->examples; s++)
            if (!dataset_left_out(o->data, b->first + s))
                w->losses[k] += oracle_loss(o, b, s, w->f + s * C, w->errors);
    }
}

/* phi of a chunk's steps: losses of all ranks, and the prior. */
static status find_heights(sampling *w, size_t count)
{
    oracle *o = w->o;
    uint64_t round_count = jacobian_rounds(o->x, dataset_count(o->data));
    status result = STATUS_OK;
    memset(w->losses, 0, count * sizeof *w->losses);
    for (uint64_t round = 0; !result && round < round_count; round++) {
        jacobian_rows b;
        result = jacobian_round(o->x, o->data, round, &b);
        if (!result) add_losses(w, &b, count);
    }
    if (result) return result;
    comm_sum_ordered(o->r->rounds.c, w->losses, count);
    for (size_t k = 0; k < count; k++) {
        double height = o->weight * w->losses[k] - o->objective;
        for (size_t i = 0; i < o->unknowns; i++) {
            double theta = o->start[i] + w->step[k * o->unknowns + i];
            height += 0.5 * o->prior[i] * theta * theta;
        }
        w->losses[k] = height;
    }
    return STATUS_OK;
}

static status draw_chunk(sampling *w, drawn from, double widening, uint64_t first, size_t count)
{
    size_t n = w->o->unknowns;
    for (size_t k = 0; k < count; k++) {
        double *z = w->step + k * n;
        draw_normals(w, from, first + k, z);
        w->squares[first + k] = 0.0;
        for (size_t i = 0; i < n; i++) w->squares[first + k] += z[i] * z[i];
    }
    status result = STATUS_OK;
    if (from == DRAW_CONSTANT || from == DRAW_GAUSSIAN)
        result = exact_spread(w->o->factor, w->step, count);
    for (size_t k = 0; !result && k < count; k++) place_draw(w, from, widening, w->step + k * n);
    if (!result) result = find_heights(w, count);
    for (size_t k = 0; !result && k < count; k++)
        w->halves[first + k] = w->losses[k] - 0.5 * w->squares[first + k];
    return result;
}

static status draw(sampling *w, drawn from, double widening, uint64_t draws)
{
    status result = STATUS_OK;
    for (uint64_t first = 0; !result && first < draws; first += CHUNK)
        result = draw_chunk(w, from, widening, first,
                            draws - first < CHUNK ? (size_t)(draws - first) : CHUNK);
    return result;
}

/* ln of the integral of exp(-phi), but for n/2 ln 2 pi. Weights are of draws T z: w = exp(|z|^2 / 2
 * - phi), and beside them w_0, what they were if phi were T^2 |z|^2 / 2, whose mean 1 / T^n is
 * known. */
static status find_constant(sampling *w, uint64_t draws, double *constant, double *error)
{
    double n = (double)w->o->unknowns, pairs = 0.5 * (double)draws, widening = 1.0 + 0.8 / sqrt(n);
    double known = -n * log(widening), shrink = 0.5 * (1.0 - widening * widening);
    double max = known, mean[2] = {0.0}, square[3] = {0.0};
    status result = draw(w, DRAW_CONSTANT, widening, draws);
    if (result) return result;
    for (uint64_t i = 0; i < draws; i++)
        max = fmax(max, fmax(-w->halves[i], shrink * w->squares[i]));
    for (uint64_t i = 0; i < draws / 2; i++) {
        double one = exp(-w->halves[2 * i] - max), other = exp(-w->halves[2 * i + 1] - max);
        w->squares[i] = exp(shrink * w->squares[2 * i] - max);
        w->halves[i] = 0.5 * (one + other);
        mean[0] += w->halves[i] / pairs;
        mean[1] += w->squares[i] / pairs;
    }
    for (uint64_t i = 0; i < draws / 2; i++) {
        double x = w->halves[i] - mean[0], y = w->squares[i] - mean[1];
        square[0] += x * x;
        square[1] += x * y;
        square[2] += y * y;
    }
    double slope = square[2] > 0.0 ? square[1] / square[2] : 0.0;
    double found = mean[0] - slope * (mean[1] - exp(known - max));
    *error = sqrt(fmax(square[0] - slope * square[1], 0.0)) / pairs / found;
    *constant = log(found) + max - known - 0.5 * w->o->log_determinant;
    return STATUS_OK;
}

static status find_distance(sampling *w, drawn from, uint64_t draws, double constant,
                            double log_spread, double *distance)
{
    double sum = 0.0;
    status result = draw(w, from, 1.0, draws);
    for (uint64_t i = 0; !result && i < draws; i++) sum += w->halves[i];
    *distance = sum / (double)draws - log_spread + constant;
    return result;
}

static status open_sampling(sampling *w, uint64_t draws)
{
    const oracle *o = w->o;
    status result = oracle_take(&w->step, CHUNK, o->unknowns);
    if (!result) result = oracle_take(&w->losses, CHUNK, 1);
    if (!result) result = oracle_take(&w->f, jacobian_batch(o->x), o->outputs);
    if (!result) result = oracle_take(&w->errors, o->outputs, 1);
    if (!result) result = oracle_take(&w->halves, (size_t)draws, 1);
    return result ? result : oracle_take(&w->squares, (size_t)draws, 1);
}

status oracle_sample(oracle *o, const oracle_posterior *q, uint64_t draws, oracle_distances *out)
{
    sampling w = {.o = o, .q = q};
    double constant = NAN, run = 0.0, diagonal = 0.0;
    draws += draws % 2;
    *out = (oracle_distances){.run = NAN};
    for (size_t i = 0; i < o->unknowns; i++) {
        run += q ? log(q->spread[i]) : 0.0;
        diagonal -= 0.5 * log(o->diagonal[i]);
    }
    status result = agree(o->r->rounds.c->world, open_sampling(&w, draws));
    if (!result) result = find_constant(&w, draws, &constant, &out->error);
    if (!result && q) result = find_distance(&w, DRAW_RUN, draws, constant, run, &out->run);
    if (!result)
        result = find_distance(&w, DRAW_GAUSSIAN, draws, constant, -0.5 * o->log_determinant,
                               &out->gaussian);
    if (!result)
        result = find_distance(&w, DRAW_DIAGONAL, draws, constant, diagonal, &out->diagonal);
    free(w.step);
    free(w.losses);
    free(w.f);
    free(w.errors);
    free(w.halves);
    free(w.squares);
    return result;
}
