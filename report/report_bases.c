/* How many directions the gradients of a layer's matrices take: of a factor L of n sides with
 * eigenvalues l_i, (sum l_i)^2 / sum l_i^2 = tr(L)^2 / |L|_F^2, from 1 to n. No vectors are needed.
 */
#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "report/report.h"
#include "runtime/state_arrays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 18 /* elements: a megabyte */ };

typedef struct {
    sharding owned;
    array_list list;
    size_t first, end; /* arrays of the optimizer's file */
    size_t factors;    /* of these */
    safetensors_header header;
    char path[4096];
    int descriptor; /* -1: not open */
    float *buffer;  /* [PIECE] */
} reading;

static status open_file(reading *x, const char *checkpoint, const parameters *p)
{
    snprintf(x->path, sizeof x->path, "%.4000s/%s", checkpoint, x->list.arrays[x->first].file);
    status result = safetensors_make(&x->header, p, x->list.arrays, x->first, x->end);
    return result ? result : file_open(&x->descriptor, NULL, x->path, "a checkpoint's file");
}

/* Verified whole, before anything is made of it. */
static status open_reading(reading *x, const char *checkpoint, const runtime_settings *with,
                           const parameters *p)
{
    checkpoint_facts facts;
    char used[4096];
    x->buffer = malloc(PIECE * sizeof *x->buffer);
    if (!x->buffer) return fail(STATUS_NOMEM, "memory to read factors");
    status result = settings_shard(with, &x->owned, p, 1, 0);
    if (!result) result = array_list_open(&x->list, with, &x->owned, true);
    if (result) return result;
    const saved_array *arrays = x->list.arrays;
    while (strcmp(arrays[x->first].file, "optimizer.safetensors") != 0) x->first++;
    x->end = safetensors_group(arrays, x->list.count, x->first);
    x->factors = x->first;
    while (strcmp(arrays[x->factors].prefix, "factor.") != 0) x->factors++;
    result = checkpoint_read(MPI_COMM_SELF, checkpoint, p, arrays + x->first, x->end - x->first,
                             x->owned.owned, x->owned.owned_count, &facts, used, sizeof used);
    return result ? result : open_file(x, checkpoint, p);
}

/* Of one factor, over its sides. */
static status read_share(reading *x, const parameters *p, const tensor *t, double *share)
{
    size_t side = t->shape[0];
    double trace = 0.0, squares = 0.0;
    for (size_t at = 0; at < t->count; at += PIECE) {
        size_t count = t->count - at < PIECE ? t->count - at : PIECE;
        uint64_t from =
            safetensors_offset(&x->header, p, x->list.arrays, x->first, x->factors, t->index + at);
        status result = data_file_read(x->descriptor, x->path, t->name, from, x->buffer,
                                       count * sizeof *x->buffer);
        if (result) return result;
        for (size_t e = 0; e < count; e++) {
            double value = (double)x->buffer[e];
            squares += value * value;
            if ((at + e) % (side + 1) == 0) trace += value;
        }
    }
    *share = trace * trace / squares / (double)side;
    return STATUS_OK;
}

static spread spread_of(double *shares, size_t count)
{
    if (count == 0) return (spread){NAN, NAN, NAN};
    qsort(shares, count, sizeof *shares, report_ascending);
    return (spread){shares[0], shares[count / 2], shares[count - 1]};
}

/* Units as their tensors are, in the model's order. */
static status read_units(reading *x, const parameters *p, spread *to)
{
    const parameters *own = &x->list.arrays[x->factors].set->p;
    double *shares = calloc(own->tensor_count + 1, sizeof *shares);
    status result = shares ? STATUS_OK : fail(STATUS_NOMEM, "memory for factors");
    size_t i = 0;
    for (size_t u = 0; !result && u < p->unit_count; u++) {
        size_t count = 0;
        for (; !result && i < own->tensor_count && own->tensors[i].unit == u; i++) {
            result = read_share(x, p, &own->tensors[i], &shares[count]);
            if (isfinite(shares[count])) count++; /* nothing is known before the first update */
        }
        to[u] = spread_of(shares, count);
    }
    free(shares);
    return result;
}

status report_read_bases(spread **directions, const char *checkpoint, const runtime_settings *with,
                         const parameters *p)
{
    reading x = {.descriptor = -1};
    *directions = NULL;
    if (!with->row->matrix || !with->row->matrix->bases) return STATUS_OK;
    status result = open_reading(&x, checkpoint, with, p);
    spread *found = calloc(p->unit_count, sizeof *found);
    if (!result && !found) result = fail(STATUS_NOMEM, "memory for layers");
    if (!result) result = read_units(&x, p, found);
    data_file_close(&x.descriptor, false);
    free(x.header.bytes);
    free(x.buffer);
    array_list_close(&x.list);
    sharding_close(&x.owned);
    if (result)
        free(found);
    else
        *directions = found;
    return result;
}
