/* Factors are dealt out by the work of their eigenvectors, the widest first. */
#include "analysis/kfac_parts.h"
#include "kernels/dense.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>

/* On one rank pdsyevd takes 1.4 times the processor's time of dsyevd, and pdsyrk with the rows' way
 * to its blocks 3 times that of dsyrk. */
enum { GRID_COST = 3 };

static bool is_mine(const kfac *k, const kfac_factor *f)
{
    return f->owner == k->m.r->rounds.c->rank;
}

static status list_layers(kfac *k)
{
    const parameters *p = &k->m.r->rounds.p;
    k->parts = calloc(p->tensor_count, sizeof *k->parts);
    if (!k->parts) return fail(STATUS_NOMEM, "memory for %zu layers", p->tensor_count);
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        if (!model_is_layer(&k->m.config, t)) continue;
        kfac_part *part = &k->parts[k->layers++];
        part->weight = i;
        part->bias = model_has_bias(&k->m.config);
        part->factors[KFAC_INPUTS].n = t->shape[0] + part->bias;
        part->factors[KFAC_GRADIENTS].n = t->shape[1];
        part->count = t->count + part->bias * t->shape[1];
    }
    return STATUS_OK;
}

static status check_widths(kfac *k)
{
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            size_t n = k->parts[l].factors[side].n;
            if (n > k->q->widest) k->q->widest = n;
            if (n > DENSE_WIDEST)
                return fail(STATUS_INPUT,
                            "%s: tensor '%s': a K-FAC factor of %zu rows and columns found, %.3g "
                            "GB; at most %d expected",
                            k->m.job.name, k->m.r->rounds.p.tensors[k->parts[l].weight].name, n,
                            8e-9 * (double)n * (double)n, DENSE_WIDEST);
        }
    return STATUS_OK;
}

static double cube(const kfac_factor *f)
{
    return pow((double)f->n, 3.0);
}

/* Those that would keep their owner busy for longer than the grid keeps all ranks. */
static void choose_grid(kfac *k)
{
    double all = 0.0;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) all += cube(&k->parts[l].factors[side]);
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            kfac_factor *f = &k->parts[l].factors[side];
            bool large = f->n >= KFAC_WIDE && cube(f) * k->m.r->rounds.c->size > GRID_COST * all;
            f->on_grid = k->o->grid_from ? f->n >= k->o->grid_from : large;
            if (f->on_grid) k->q->on_grid++;
        }
}

/* The widest factor that has no owner yet. */
static kfac_factor *next_factor(kfac *k)
{
    kfac_factor *next = NULL;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            kfac_factor *f = &k->parts[l].factors[side];
            if (f->owner < 0 && (!next || f->n > next->n)) next = f;
        }
    return next;
}

static void deal_out(kfac *k)
{
    int ranks = k->m.r->rounds.c->size;
    double load[ranks];
    for (int rank = 0; rank < ranks; rank++) load[rank] = 0.0;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) k->parts[l].factors[side].owner = -1;
    for (kfac_factor *f = next_factor(k); f; f = next_factor(k)) {
        f->owner = 0;
        for (int rank = 1; rank < ranks; rank++)
            if (load[rank] < load[f->owner]) f->owner = rank;
        load[f->owner] += cube(f); /* of one on the grid, too: its owner keeps it */
    }
    for (size_t l = 0; l < k->layers; l++) {
        kfac_part *part = &k->parts[l];
        const kfac_factor *a = &part->factors[KFAC_INPUTS], *b = &part->factors[KFAC_GRADIENTS];
        part->home = a->n >= b->n ? a->owner : b->owner;
    }
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_part(kfac *k, kfac_part *part, arena_rows *take)
{
    arena *a = &k->arena;
    bool home = part->home == k->m.r->rounds.c->rank;
    for (int side = 0; side < KFAC_SIDES; side++) {
        kfac_factor *f = &part->factors[side];
        size_t width = f->n - (side == KFAC_INPUTS ? part->bias : 0);
        f->rows = take(a, k->max, width * sizeof(float));
        if (home || is_mine(k, f) || f->on_grid) f->values = take(a, f->n, sizeof(double));
        if (home || is_mine(k, f)) f->matrix = take(a, f->n, f->n * sizeof(double));
    }
    if (home) part->drawn = take(a, part->count, sizeof(float));
}

/* Doubles of `work`, floats of `received`. */
static void count_shared(const kfac *k, size_t *work, size_t *received)
{
    *work = *received = 0;
    for (size_t l = 0; l < k->layers; l++) {
        const kfac_part *part = &k->parts[l];
        *received = larger(*received, part->count);
        if (part->home == k->m.r->rounds.c->rank) *work = larger(*work, 2 * part->count);
        for (int side = 0; side < KFAC_SIDES; side++) {
            const kfac_factor *f = &part->factors[side];
            if (is_mine(k, f) || f->on_grid) *work = larger(*work, k->max * f->n);
            if (!is_mine(k, f) || f->on_grid) continue;
            *work = larger(*work, dense_eigen_work(f->n));
            *received = larger(*received, k->max * f->n);
        }
    }
}

/* Hand out all buffers; with arena_count_rows only adds up what they take. */
static void kfac_place(kfac *k, arena_rows *take)
{
    size_t work, received;
    count_shared(k, &work, &received);
    for (size_t l = 0; l < k->layers; l++) place_part(k, &k->parts[l], take);
    k->work = take(&k->arena, work, sizeof(double));
    k->received = take(&k->arena, received, sizeof(float));
    k->roots = take(&k->arena, (size_t)k->m.r->rounds.c->size, k->max * sizeof(double));
    if (k->exact)
        k->outputs = take(&k->arena, k->max, model_outputs(&k->m.config) * sizeof(double));
}

static double factor_bytes(const kfac *k)
{
    double bytes = 0.0;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            const kfac_factor *f = &k->parts[l].factors[side];
            if (is_mine(k, f)) bytes += 8.0 * (double)f->n * (double)f->n;
        }
    return bytes;
}

/* A rank's part of the factors on the grid; of the widest also its vectors and what pdsyevd works
 * with, and the rows that are added to it. */
static double grid_bytes(const kfac *k)
{
    double numbers = 0.0, widest = 0.0;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            const kfac_factor *f = &k->parts[l].factors[side];
            if (!f->on_grid) continue;
            numbers += (double)f->n * (double)f->n;
            widest = fmax(widest, (double)f->n);
        }
    return 8.0 * ((numbers + 4.0 * widest * widest) / k->m.r->rounds.c->size +
                  2.0 * (double)k->max * widest);
}

static status check_memory(const kfac *k, double bytes)
{
    double samples = (double)k->o->samples * 4.0 *
                     (double)(k->m.r->rounds.state.mean.whole ? k->m.r->rounds.p.count
                                                              : k->m.r->rounds.owned.elements);
    bytes += grid_bytes(k);
    return free_memory_check(
        k->m.r->rounds.c->world, bytes + samples,
        "%s: K-FAC of %zu layers: rank %d wants %.3g GB for its factors, %.3g GB to "
        "decompose and draw them, and %.3g GB for %zu samples",
        k->m.job.name, k->layers, k->m.r->rounds.c->rank, 1e-9 * factor_bytes(k),
        1e-9 * (bytes - factor_bytes(k)), 1e-9 * samples, k->o->samples);
}

static status open_draws(kfac *k)
{
    kfac_posterior *q = k->q;
    bool whole = k->m.r->rounds.state.mean.whole;
    size_t bytes = memory_round((whole ? k->m.r->rounds.p.count : k->m.r->rounds.owned.elements) *
                                sizeof(float)),
           all;
    q->draws = calloc(k->o->samples, sizeof *q->draws);
    if (!q->draws || !memory_product(&all, bytes, k->o->samples))
        return fail(STATUS_NOMEM, "memory for %zu samples", k->o->samples);
    status result = arena_open(&q->arena, "samples", all);
    for (size_t s = 0; !result && s < k->o->samples; s++)
        q->draws[s] = (state_array){.values = arena_take(&q->arena, bytes), .whole = whole};
    return result;
}

static status open_grid(kfac *k)
{
    if (k->q->on_grid == 0) return STATUS_OK;
    status result = exact_grid_open(&k->grid, k->m.r->rounds.c->world, omp_get_max_threads());
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++) {
            kfac_factor *f = &k->parts[l].factors[side];
            if (!result && f->on_grid) result = exact_matrix_open(&f->grid, k->grid, f->n, f->n);
        }
    return result;
}

static void close_grid(kfac *k)
{
    for (size_t l = 0; k->parts && l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++)
            exact_matrix_close(&k->parts[l].factors[side].grid);
    exact_grid_close(&k->grid);
}

static status kfac_open_local(kfac *k)
{
    size_t bytes = k->arena.used, ranks = (size_t)k->m.r->rounds.c->size;
    k->arena = (arena){0};
    status result = arena_open(&k->arena, "K-FAC", bytes);
    if (result) return result;
    kfac_place(k, arena_take_rows);
    k->rows = calloc(ranks, sizeof *k->rows);
    k->sends = calloc(KFAC_SIDES * k->layers, sizeof(MPI_Request));
    if (!k->rows || !k->sends) return fail(STATUS_NOMEM, "memory for %zu layers", k->layers);
    result = mean_pass_open(&k->m, k->m.r);
    return result ? result : open_draws(k);
}

static status plan(kfac *k, const job *j)
{
    trainer *r = k->m.r;
    status result =
        mean_pass_plan(&k->m, j, &r->rounds.p, r->precision, job_sequences(j), MEAN_PASS_TRAINING);
    if (result) return result;
    k->max = job_sequences(j) * j->batch.length;
    k->exact = model_outputs(&k->m.config) <= KFAC_EXACT;
    k->passes = k->exact ? model_outputs(&k->m.config) : 1;
    result = list_layers(k);
    if (!result) result = check_widths(k);
    if (result) return result;
    if (k->max * k->q->widest > INT_MAX)
        return fail(STATUS_INPUT,
                    "%s: K-FAC: batches of %zu rows by %zu found, at most %d numbers expected "
                    "(fewer --sequences)",
                    j->name, k->max, k->q->widest, INT_MAX);
    choose_grid(k);
    deal_out(k);
    kfac_place(k, arena_count_rows);
    return STATUS_OK;
}

static status choose_prior(kfac *k, uint64_t rows)
{
    const kfac_options *o = k->o;
    double ess =
        job_is_variational(&k->m.job) ? k->m.r->rounds.state.settings.optimizer.ess : (double)rows;
    double decay = k->m.job.optimizer.weight_decay;
    k->q->lambda = isnan(o->ess) ? ess : o->ess;
    k->q->tau = isnan(o->precision) ? k->q->lambda * decay : o->precision;
    if (k->q->tau > 0.0) return STATUS_OK;
    return fail(
        STATUS_INPUT,
        "%s: optimizer.weight_decay is 0, which is no prior; --prior-precision TAU expected",
        k->m.job.name);
}

status kfac_begin(kfac *k, trainer *r, const kfac_options *o, kfac_posterior *q, uint64_t rows)
{
    *k = (kfac){.m = {.r = r}, .o = o, .q = q};
    status result = dense_open(omp_get_max_threads());
    if (!result) result = plan(k, r->job);
    if (!result) result = choose_prior(k, rows);
    result = agree(r->rounds.c->world, result);
    if (result) return result;
    q->layers = k->layers;
    result = check_memory(k, (double)(k->arena.used + mean_pass_bytes(&k->m, &r->rounds.p)));
    if (!result) result = agree(r->rounds.c->world, kfac_open_local(k));
    return result ? result : open_grid(k);
}

void kfac_end(kfac *k)
{
    close_grid(k);
    mean_pass_close(&k->m);
    arena_close(&k->arena);
    free(k->parts);
    free(k->rows);
    free(k->sends);
}

static uint64_t rows_there(const job *j, const dataset *data)
{
    uint64_t left_out = j->data.leave_out < dataset_count(data) ? 1 : 0;
    return (dataset_count(data) - left_out) * j->batch.length;
}

/* Sample key.sample was drawn before any prediction. */
static void sample_drawn(const state_posterior *posterior, const state *s, const slice *part,
                         noise_key key, void *theta, dtype type)
{
    const kfac_posterior *q = (const kfac_posterior *)(const void *)posterior;
    sample_weights(theta, type, state_at(s, q->draws[key.sample], part), NULL, key,
                   slice_index(s->p, part), part->count);
}

status kfac_draw(kfac_posterior *q, trainer *r, const kfac_options *o)
{
    kfac k = {0};
    dataset *data = NULL;
    *q = (kfac_posterior){0};
    status result = agree(r->rounds.c->world, dataset_open(&data, r->job, DATASET_TRAIN, NULL));
    if (result) {
        dataset_close(&data);
        return result;
    }
    result = kfac_begin(&k, r, o, q, rows_there(r->job, data));
    if (!result) result = kfac_accumulate(&k, data);
    if (!result) result = kfac_decompose(&k);
    if (!result) kfac_sample(&k);
    kfac_end(&k);
    dataset_close(&data);
    if (result) return result;
    q->posterior.sample = sample_drawn;
    r->rounds.state.posterior = &q->posterior;
    weights_changed(&r->weights);
    return STATUS_OK;
}

void kfac_close(kfac_posterior *q)
{
    arena_close(&q->arena);
    free(q->draws);
    *q = (kfac_posterior){0};
}
