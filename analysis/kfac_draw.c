/* A sample's noise is that of the elements themselves, so it is the same wherever it is drawn. */
#include "analysis/kfac_parts.h"
#include "kernels/dense.h"
#include "runtime/agree.h"

#include <string.h>

/* Its owner's work; nobody else's. */
static status decompose(kfac *k, size_t l, kfac_factor *f)
{
    if (f->on_grid || f->owner != k->m.r->rounds.c->rank ||
        dense_eigen(f->matrix, f->values, k->work, f->n))
        return STATUS_OK;
    return fail(STATUS_NUMERIC,
                "%s: tensor '%s': the eigenvectors of a factor of %zu did not converge",
                k->m.job.name, k->m.r->rounds.p.tensors[k->parts[l].weight].name, f->n);
}

/* All ranks' work, which gives the owner what it would have found. */
static status decompose_on_grid(kfac *k, kfac_factor *f)
{
    exact_matrix *vectors;
    status result = exact_matrix_open(&vectors, k->grid, f->n, f->n);
    if (result) return result;
    result = exact_eigen(f->grid, f->values, vectors);
    if (!result) exact_collect(vectors, f->owner, f->matrix);
    exact_matrix_close(&vectors);
    exact_matrix_close(&f->grid);
    return result;
}

static void move(kfac *k, kfac_factor *f, int home)
{
    comm *c = k->m.r->rounds.c;
    double *const parts[] = {f->matrix, f->values};
    const size_t bytes[] = {f->n * f->n * sizeof(double), f->n * sizeof(double)};
    MPI_Request requests[2];
    if (f->owner == home || (c->rank != f->owner && c->rank != home)) return;
    for (int i = 0; i < 2; i++)
        if (c->rank == home)
            comm_receive(c, parts[i], bytes[i], f->owner, TAG_FACTORS, &requests[i]);
        else
            comm_send(c, parts[i], bytes[i], home, TAG_FACTORS, BYTES_CONTROL, &requests[i]);
    comm_wait(c, requests, 2);
}

status kfac_decompose(kfac *k)
{
    status result = STATUS_OK;
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; !result && side < KFAC_SIDES; side++)
            result = decompose(k, l, &k->parts[l].factors[side]);
    result = agree(k->m.r->rounds.c->world, result);
    for (size_t l = 0; l < k->layers; l++)
        for (int side = 0; !result && side < KFAC_SIDES; side++) {
            kfac_factor *f = &k->parts[l].factors[side];
            if (f->on_grid) result = decompose_on_grid(k, f);
        }
    for (size_t l = 0; !result && l < k->layers; l++)
        for (int side = 0; side < KFAC_SIDES; side++)
            move(k, &k->parts[l].factors[side], k->parts[l].home);
    return result;
}

kfac_layer kfac_layer_of(const kfac *k, size_t l)
{
    const kfac_factor *in = &k->parts[l].factors[KFAC_INPUTS];
    const kfac_factor *out = &k->parts[l].factors[KFAC_GRADIENTS];
    return (kfac_layer){.u = in->matrix,
                        .a = in->values,
                        .v = out->matrix,
                        .b = out->values,
                        .in = in->n,
                        .out = out->n,
                        .lambda = k->q->lambda,
                        .tau = k->q->tau};
}

/* At home: a layer's deviations from its mean. */
static void draw_part(kfac *k, size_t l, noise_key key)
{
    kfac_part *part = &k->parts[l];
    const kfac_layer layer = kfac_layer_of(k, l);
    double *z = k->work;
    kfac_noise(z, key, k->m.r->rounds.p.tensors[part->weight].index, part->count);
    kfac_spread(z, z + part->count, &layer);
    for (size_t i = 0; i < part->count; i++) part->drawn[i] = (float)z[i];
}

/* The slices that this rank keeps of a sample. */
static const sharding *kept(const kfac *k)
{
    return k->m.r->rounds.state.mean.whole ? &k->m.r->rounds.state.all : &k->m.r->rounds.owned;
}

static void put_mean(const kfac *k, state_array draw)
{
    const state *s = &k->m.r->rounds.state;
    for (size_t i = 0; i < kept(k)->owned_count; i++) {
        const slice *part = &kept(k)->owned[i];
        memcpy(state_at(s, draw, part), state_center(s, part), part->count * sizeof(float));
    }
}

/* Add a layer's deviations [count] to what this rank keeps of it. */
static void put_part(const kfac *k, const kfac_part *layer, state_array draw, const float *drawn)
{
    const state *s = &k->m.r->rounds.state;
    size_t first = k->m.r->rounds.p.tensors[layer->weight].index;
    for (size_t i = 0; i < kept(k)->owned_count; i++) {
        const slice *part = &kept(k)->owned[i];
        size_t index = slice_index(&k->m.r->rounds.p, part);
        if (index < first || index >= first + layer->count) continue;
        float *to = state_at(s, draw, part);
        for (size_t e = 0; e < part->count; e++) to[e] += drawn[index - first + e];
    }
}

void kfac_sample(kfac *k)
{
    comm *c = k->m.r->rounds.c;
    for (size_t s = 0; s < k->o->samples; s++) {
        noise_key key = noise_key_of_sample(k->m.job.seed, (uint32_t)s, k->o->antithetic);
        for (size_t l = 0; l < k->layers; l++)
            if (k->parts[l].home == c->rank) draw_part(k, l, key);
        put_mean(k, k->q->draws[s]);
        for (size_t l = 0; l < k->layers; l++) {
            const kfac_part *part = &k->parts[l];
            float *drawn = part->home == c->rank ? part->drawn : k->received;
            comm_broadcast(c, drawn, part->count * sizeof *drawn, part->home);
            put_part(k, part, k->q->draws[s], drawn);
        }
    }
}
