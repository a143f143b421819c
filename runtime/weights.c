/* One kernel samples, sample_weights, whoever draws: so the bits are the same in every stage. */
#include "runtime/weights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of one outgoing buffer: the largest pieces of a unit that this rank owns, for every rank.
 * They are placed at their addresses modulo 64 in the unit's buffer, so that their tensors are
 * aligned there as they are here. */
static size_t outgoing_piece(const sharding *owned, const layout *compute)
{
    size_t max = 0;
    for (size_t u = 0; u < owned->p->unit_count; u++) {
        size_t bytes = sharding_piece(owned, compute, u, sharding_runs(owned, u));
        if (bytes > max) max = bytes;
    }
    return max;
}

/* A lone rank whose matrices are drawn whole keeps a draw for the way back: turned noise costs more
 * than its memory, which the optimizer's arrays exceed many times. */
static bool is_fetched(const runtime_settings *with, size_t ranks)
{
    bool turns = with->row->matrix && with->row->matrix->sample;
    return with->fetches && !(turns && ranks == 1);
}

static size_t max_runs(const sharding *owned)
{
    size_t max = owned->ranks;
    for (size_t u = 0; u < owned->p->unit_count; u++)
        if (sharding_runs(owned, u) > max) max = sharding_runs(owned, u);
    return max;
}

static size_t arena_bytes(const runtime_settings *with, const sharding *owned,
                          const layout *compute, const slots *theta)
{
    size_t bytes = slots_bytes(theta, owned->p, compute->unit_bytes);
    if (is_fetched(with, owned->ranks)) bytes += 2 * owned->ranks * outgoing_piece(owned, compute);
    return bytes;
}

status weights_bytes(const runtime_settings *with, const sharding *owned, dtype precision,
                     size_t *bytes)
{
    layout compute = {0};
    slots theta = {0};
    status result = layout_open(&compute, owned->p, precision);
    if (!result) result = slots_open(&theta, owned->p, !is_fetched(with, owned->ranks));
    if (!result) *bytes = arena_bytes(with, owned, &compute, &theta);
    slots_close(&theta);
    layout_close(&compute);
    return result;
}

status weights_open(weights *w, comm *c, const state *s, dtype precision)
{
    const parameters *p = s->p;
    size_t ranks = (size_t)c->size, runs = max_runs(s->owned);
    *w = (weights){.c = c, .s = s, .fetched = is_fetched(&s->settings, ranks)};
    status result = layout_open(&w->compute, p, precision);
    if (!result) result = slots_open(&w->theta, p, !w->fetched);
    if (!result)
        result = arena_open(&w->arena, "weights",
                            arena_bytes(&s->settings, s->owned, &w->compute, &w->theta));
    w->ready = calloc(p->unit_count, sizeof *w->ready);
    bool enough = w->ready;
    for (int i = 0; i < 2; i++) {
        w->sends[i] = calloc(ranks * runs, sizeof(MPI_Request));
        w->receives[i] = calloc(runs, sizeof(MPI_Request));
        enough = enough && w->sends[i] && w->receives[i];
    }
    if (!result && !enough)
        result = fail(STATUS_NOMEM, "memory for %zu requests", 2 * (ranks + 1) * runs);
    if (result) {
        weights_close(w);
        return result;
    }
    slots_take(&w->theta, p, w->compute.unit_bytes, &w->arena);
    if (w->fetched)
        for (int i = 0; i < 2; i++)
            w->outgoing[i] = arena_take(&w->arena, ranks * outgoing_piece(s->owned, &w->compute));
    return STATUS_OK;
}

void weights_close(weights *w)
{
    for (int i = 0; i < 2; i++) {
        free(w->sends[i]);
        free(w->receives[i]);
    }
    free(w->ready);
    slots_close(&w->theta);
    arena_close(&w->arena);
    layout_close(&w->compute);
    *w = (weights){0};
}

void weights_changed(weights *w)
{
    w->valid = false;
}

static bool same_key(noise_key a, noise_key b)
{
    return a.seed == b.seed && a.stream == b.stream && a.sample == b.sample && a.step == b.step &&
           a.mirrored == b.mirrored;
}

void weights_begin(weights *w, const weights_round *round)
{
    bool sampled = round->sampled && (size_t)w->c->rank < round->active;
    noise_key key = sampled ? round->keys[w->c->rank] : (noise_key){0};
    bool averaged = !round->trained && state_is_averaged(w->s);
    bool same =
        w->valid && sampled == w->sampled && averaged == w->averaged && same_key(key, w->key);
    if (!same) memset(w->ready, 0, w->s->p->unit_count * sizeof *w->ready);
    w->valid = true;
    w->sampled = sampled;
    w->averaged = averaged;
    w->key = key;
    w->round = *round;
    w->posted = w->done = 0;
}

static void sample_slice(const weights *w, const slice *part, noise_key key, void *theta)
{
    const state *s = w->s;
    const tensor *t = &s->p->tensors[part->tensor];
    dtype type = tensor_is_matrix(t) ? w->compute.matrix_type : DTYPE_F32;
    if (w->round.sampled)
        state_sample(s, part, key, theta, type);
    else
        sample_weights(theta, type,
                       w->averaged ? state_center(s, part) : state_at(s, s->mean, part), NULL, key,
                       0, part->count);
}

static bool working(const weights *w)
{
    return (size_t)w->c->rank < w->round.active;
}

/* Sample this rank's part of a unit for one rank: into its pieces, or the unit's own buffer. */
static void sample_piece(const weights *w, size_t u, size_t to, char *piece, bool whole)
{
    const sharding *owned = w->s->owned;
    noise_key key = w->round.sampled ? w->round.keys[to] : (noise_key){0};
    for (size_t i = owned->unit_slices[u]; i < owned->unit_slices[u + 1]; i++) {
        const slice *part = &owned->owned[i];
        const tensor *t = &w->s->p->tensors[part->tensor];
        size_t at = whole ? w->compute.tensor_offset[part->tensor] +
                                part->first * layout_element_bytes(&w->compute, t)
                          : slice_piece_offset(owned, &w->compute, part);
        sample_slice(w, part, key, piece + at);
    }
}

static const void *sample_unit(weights *w, size_t u)
{
    char *theta = slots_at(&w->theta, u);
    if (w->ready[u] || !working(w)) return theta;
    w->ready[u] = true;
    if (w->s->settings.fetches) { /* all of it is this rank's */
        sample_piece(w, u, (size_t)w->c->rank, theta, true);
        return theta;
    }
    const sharding *all = &w->s->all;
    noise_key key = w->round.sampled ? w->round.keys[w->c->rank] : (noise_key){0};
    for (size_t i = all->unit_slices[u]; i < all->unit_slices[u + 1]; i++)
        sample_slice(w, &all->owned[i], key, theta + w->compute.tensor_offset[i]);
    return theta;
}

/* Fetches of a pass: 0 .. units - 1, then with a backward those between the first and the last
 * again, back from the last but one. */
static size_t fetch_count(const parameters *p, bool backward)
{
    return p->unit_count + (backward && p->unit_count > 2 ? p->unit_count - 2 : 0);
}

static size_t fetch_unit(const parameters *p, size_t f)
{
    return f < p->unit_count ? f : 2 * p->unit_count - 2 - f;
}

static void send_piece(weights *w, size_t u, size_t to, const char *piece, size_t buffer)
{
    const sharding *owned = w->s->owned;
    for (size_t run = 0; run < sharding_runs(owned, u); run++) {
        size_t begin, end;
        sharding_bytes(owned, &w->compute, u, run, &begin, &end);
        if (begin == end || sharding_owner(owned, u, run) != owned->rank) continue;
        comm_send(w->c, piece + sharding_piece(owned, &w->compute, u, run), end - begin, (int)to,
                  TAG_WEIGHTS, BYTES_WEIGHTS, &w->sends[buffer][w->send_count[buffer]++]);
    }
}

/* Whether two ranks compute with the same weights: parts of an item, or all without noise. */
static bool same_weights(const weights *w, size_t a, size_t b)
{
    return !w->round.sampled || same_key(w->round.keys[a], w->round.keys[b]);
}

/* Ranks with the same weights follow each other: they are drawn once for these. */
static void post_sends(weights *w, size_t u, size_t buffer)
{
    const sharding *owned = w->s->owned;
    size_t stride = outgoing_piece(owned, &w->compute), me = (size_t)w->c->rank;
    comm_wait(w->c, w->sends[buffer], w->send_count[buffer]);
    w->send_count[buffer] = 0;
    size_t drawn = me;
    for (size_t to = 0; to < w->round.active; to++) {
        if (to == me) {
            sample_piece(w, u, to, slots_at(&w->theta, u), true);
            continue;
        }
        bool draws = drawn == me || !same_weights(w, drawn, to);
        if (draws) drawn = to;
        char *piece = w->outgoing[buffer] + drawn * stride;
        if (draws) sample_piece(w, u, to, piece, false);
        send_piece(w, u, to, piece, buffer);
    }
}

static void post_receives(weights *w, size_t u, size_t buffer)
{
    const sharding *owned = w->s->owned;
    assert(w->receive_count[buffer] == 0);
    if (!working(w)) return;
    for (size_t run = 0; run < sharding_runs(owned, u); run++) {
        size_t begin, end, from = sharding_owner(owned, u, run);
        sharding_bytes(owned, &w->compute, u, run, &begin, &end);
        if (from == owned->rank || begin == end) continue;
        comm_receive(w->c, slots_at(&w->theta, u) + begin, end - begin, (int)from, TAG_WEIGHTS,
                     &w->receives[buffer][w->receive_count[buffer]++]);
    }
}

static void post(weights *w)
{
    size_t u = fetch_unit(w->s->p, w->posted), buffer = w->posted % 2;
    post_receives(w, u, buffer);
    post_sends(w, u, buffer);
    w->posted++;
}

/* Fetch f + 1 is posted before fetch f is waited for: its slot is free, since the hooks release a
 * block before they ask for the next but one. */
static const void *fetch(weights *w, size_t u)
{
    const parameters *p = w->s->p;
    size_t count = fetch_count(p, w->round.backward);
    assert(w->done < count && fetch_unit(p, w->done) == u);
    while (w->posted < count && w->posted <= w->done + 1) post(w);
    size_t buffer = w->done++ % 2;
    comm_wait(w->c, w->receives[buffer], w->receive_count[buffer]);
    w->receive_count[buffer] = 0;
    return slots_at(&w->theta, u);
}

const void *weights_get(weights *w, size_t unit_number)
{
    return w->fetched ? fetch(w, unit_number) : sample_unit(w, unit_number);
}

void weights_idle(weights *w, bool backward)
{
    size_t units = w->s->p->unit_count;
    for (size_t u = 0; u < units; u++) weights_get(w, u);
    for (size_t u = units - 1; backward && u-- > 1;) weights_get(w, u);
}

void weights_end(weights *w)
{
    for (int i = 0; i < 2; i++) {
        comm_wait(w->c, w->sends[i], w->send_count[i]);
        w->send_count[i] = 0;
    }
}

uint64_t weights_sent(const runtime_settings *with, const sharding *owned, const layout *compute,
                      size_t active, bool backward)
{
    if (!with->fetches) return 0;
    uint64_t bytes = 0, others = active - (owned->rank < active ? 1 : 0);
    for (size_t f = 0; f < fetch_count(owned->p, backward); f++) {
        size_t u = fetch_unit(owned->p, f), begin, end;
        for (size_t run = 0; run < sharding_runs(owned, u); run++) {
            sharding_bytes(owned, compute, u, run, &begin, &end);
            if (sharding_owner(owned, u, run) == owned->rank) bytes += others * (end - begin);
        }
    }
    return bytes;
}
