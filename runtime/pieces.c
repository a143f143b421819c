/* A piece is laid out as its part of the unit's buffer is, at the same address modulo 64. */
#include "runtime/pieces.h"

#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

static size_t piece_stride(const sharding *owned, const layout *wire, size_t u)
{
    return sharding_piece(owned, wire, u, sharding_runs(owned, u));
}

typedef struct {
    layout wire;
    slots received, outgoing;
    size_t *bytes; /* [unit_count] of P pieces */
} sizes;

static void sizes_close(sizes *z)
{
    layout_close(&z->wire);
    slots_close(&z->received);
    slots_close(&z->outgoing);
    free(z->bytes);
    *z = (sizes){0};
}

static status sizes_open(sizes *z, const sharding *owned, dtype wire, bool hold)
{
    const parameters *p = owned->p;
    *z = (sizes){0};
    status result = layout_open(&z->wire, p, wire);
    if (!result) result = slots_open(&z->received, p, hold);
    if (!result) result = slots_open(&z->outgoing, p, false);
    if (!result && !(z->bytes = calloc(p->unit_count, sizeof *z->bytes)))
        result = fail(STATUS_NOMEM, "memory for %zu units", p->unit_count);
    if (result) {
        sizes_close(z);
        return result;
    }
    for (size_t u = 0; u < p->unit_count; u++)
        z->bytes[u] = owned->ranks * piece_stride(owned, &z->wire, u);
    return STATUS_OK;
}

static size_t sizes_sum(const sizes *z, const sharding *owned)
{
    size_t sum = slots_bytes(&z->received, owned->p, z->bytes);
    if (z->wire.matrix_type == DTYPE_BF16)
        sum += slots_bytes(&z->outgoing, owned->p, z->wire.unit_bytes);
    return sum;
}

status pieces_bytes(const sharding *owned, dtype wire, bool hold, size_t *bytes)
{
    sizes z;
    status result = sizes_open(&z, owned, wire, hold);
    if (result) return result;
    *bytes = sizes_sum(&z, owned);
    sizes_close(&z);
    return STATUS_OK;
}

static status open_requests(pieces *x, size_t units)
{
    x->requests = calloc(units, sizeof(MPI_Request *));
    x->request_count = calloc(units, sizeof *x->request_count);
    x->pending = calloc(units, sizeof *x->pending);
    bool enough = x->requests && x->request_count && x->pending;
    for (size_t u = 0; enough && u < units; u++) {
        size_t max = 0, runs = sharding_runs(x->owned, u);
        for (size_t run = 0; run < runs; run++)
            max += sharding_owner(x->owned, u, run) == x->owned->rank ? x->owned->ranks : 1;
        x->requests[u] = calloc(max, sizeof(MPI_Request));
        enough = x->requests[u];
    }
    return enough ? STATUS_OK : fail(STATUS_NOMEM, "memory for the requests of %zu units", units);
}

status pieces_open(pieces *x, comm *c, const sharding *owned, const layout *gradient, dtype wire,
                   bool hold, pieces_consume *consume, void *context)
{
    *x = (pieces){.c = c,
                  .owned = owned,
                  .gradient = gradient,
                  .hold = hold,
                  .consume = consume,
                  .context = context};
    sizes z;
    status result = sizes_open(&z, owned, wire, hold);
    if (result) return result;
    result = arena_open(&x->arena, "gradient pieces", sizes_sum(&z, owned));
    if (!result) result = open_requests(x, owned->p->unit_count);
    if (result) {
        sizes_close(&z);
        pieces_close(x);
        return result;
    }
    slots_take(&z.received, owned->p, z.bytes, &x->arena);
    if (wire == DTYPE_BF16) slots_take(&z.outgoing, owned->p, z.wire.unit_bytes, &x->arena);
    x->wire = z.wire;
    x->received = z.received;
    x->outgoing = z.outgoing;
    free(z.bytes);
    return STATUS_OK;
}

void pieces_close(pieces *x)
{
    if (x->requests)
        for (size_t u = 0; u < x->owned->p->unit_count; u++) free(x->requests[u]);
    free(x->requests);
    free(x->request_count);
    free(x->pending);
    slots_close(&x->received);
    slots_close(&x->outgoing);
    layout_close(&x->wire);
    arena_close(&x->arena);
    *x = (pieces){0};
}

static char *piece_from(const pieces *x, size_t u, size_t from)
{
    return slots_at(&x->received, u) + from * piece_stride(x->owned, &x->wire, u);
}

const void *pieces_slice(const pieces *x, const slice *part, size_t from)
{
    size_t u = x->owned->p->tensors[part->tensor].unit;
    return piece_from(x, u, from) + slice_piece_offset(x->owned, &x->wire, part);
}

bool pieces_are_direct(const sharding *owned, dtype wire)
{
    return owned->ranks == 1 && wire == DTYPE_F32;
}

static void claim(pieces *x, size_t u)
{
    size_t *occupant = &x->received.occupant[x->received.of_unit[u]];
    if (*occupant != x->owned->p->unit_count) pieces_finish(x, *occupant);
    *occupant = u;
}

float *pieces_direct(pieces *x, size_t unit_number)
{
    claim(x, unit_number);
    return (float *)(void *)piece_from(x, unit_number, 0);
}

/* The unit's gradient as it travels: the source itself, or rounded. */
static const char *wire_form(pieces *x, size_t u, const float *source)
{
    if (x->wire.matrix_type == DTYPE_F32) return (const char *)source;
    char *out = slots_at(&x->outgoing, u);
    const unit *whole = &x->owned->p->units[u];
    for (size_t i = whole->first; i < whole->first + whole->tensors; i++) {
        const tensor *t = &x->owned->p->tensors[i];
        convert(out + x->wire.tensor_offset[i], tensor_is_matrix(t) ? DTYPE_BF16 : DTYPE_F32,
                (const char *)source + x->gradient->tensor_offset[i], DTYPE_F32, t->count);
    }
    return out;
}

static void expect(pieces *x, size_t u, size_t senders)
{
    size_t begin, end, me = x->owned->rank;
    for (size_t run = 0; run < sharding_runs(x->owned, u); run++) {
        sharding_bytes(x->owned, &x->wire, u, run, &begin, &end);
        if (begin == end || sharding_owner(x->owned, u, run) != me) continue;
        size_t at = sharding_piece(x->owned, &x->wire, u, run);
        for (size_t from = 0; from < senders; from++)
            if (from != me)
                comm_receive(x->c, piece_from(x, u, from) + at, end - begin, (int)from,
                             TAG_GRADIENTS, &x->requests[u][x->request_count[u]++]);
    }
}

/* This rank's own piece, unless it was written where it is kept. */
static void keep_own(pieces *x, size_t u, size_t run, const char *data, size_t bytes)
{
    char *piece = piece_from(x, u, x->owned->rank) + sharding_piece(x->owned, &x->wire, u, run);
    if (data != piece) convert(piece, DTYPE_BF16, data, DTYPE_BF16, bytes / sizeof(bf16));
}

static void send(pieces *x, size_t u, const char *data)
{
    for (size_t run = 0; run < sharding_runs(x->owned, u); run++) {
        size_t begin, end, to = sharding_owner(x->owned, u, run);
        sharding_bytes(x->owned, &x->wire, u, run, &begin, &end);
        if (begin == end) continue;
        if (to == x->owned->rank)
            keep_own(x, u, run, data + begin, end - begin);
        else
            comm_send(x->c, data + begin, end - begin, (int)to, TAG_GRADIENTS, BYTES_GRADIENTS,
                      &x->requests[u][x->request_count[u]++]);
    }
}

void pieces_start(pieces *x, size_t unit_number, const float *source, size_t senders)
{
    claim(x, unit_number);
    if (x->wire.matrix_type == DTYPE_BF16) {
        size_t *leaving = &x->outgoing.occupant[x->outgoing.of_unit[unit_number]];
        if (*leaving != x->owned->p->unit_count) pieces_wait(x, *leaving);
        *leaving = unit_number;
    }
    x->pending[unit_number] = true;
    expect(x, unit_number, senders);
    if (x->owned->rank < senders) send(x, unit_number, wire_form(x, unit_number, source));
}

void pieces_wait(pieces *x, size_t unit_number)
{
    comm_wait(x->c, x->requests[unit_number], x->request_count[unit_number]);
    x->request_count[unit_number] = 0;
}

void pieces_finish(pieces *x, size_t unit_number)
{
    pieces_wait(x, unit_number);
    if (!x->pending[unit_number]) return;
    x->pending[unit_number] = false;
    x->consume(x->context, unit_number);
}

void pieces_take(pieces *x, size_t unit_number)
{
    pieces_wait(x, unit_number);
    x->pending[unit_number] = false;
}

/* One test drives the library's progress for all messages. */
void pieces_poll(pieces *x)
{
    for (size_t u = 0; u < x->owned->p->unit_count; u++) {
        if (x->request_count[u] == 0) continue;
        int done;
        MPI_Testall((int)x->request_count[u], x->requests[u], &done, MPI_STATUSES_IGNORE);
        if (done) x->request_count[u] = 0;
        return;
    }
}

uint64_t pieces_sent(const sharding *owned, const layout *wire)
{
    uint64_t bytes = 0;
    for (size_t u = 0; u < owned->p->unit_count; u++)
        for (size_t run = 0; run < sharding_runs(owned, u); run++) {
            size_t begin, end;
            sharding_bytes(owned, wire, u, run, &begin, &end);
            if (sharding_owner(owned, u, run) != owned->rank) bytes += end - begin;
        }
    return bytes;
}
