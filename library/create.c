/* Creating and freeing. */
#include "library/optimizer.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static status check_mpi(void)
{
    int begun = 0, ended = 0;
    MPI_Initialized(&begun);
    if (begun) MPI_Finalized(&ended);
    if (begun && !ended) return STATUS_OK;
    return fail(STATUS_PEER,
                "vario_create: MPI %s, MPI_Init before and MPI_Finalize after expected",
                ended ? "has ended" : "has not begun");
}

/* What must be the same on all ranks, lest they wait for each other. The struct's padding is of the
 * memset in library_settings, so equal settings are equal bytes, but for a rank's own address. */
static uint64_t fingerprint(const vario_optimizer *v, const runtime_settings *settings, bool given)
{
    runtime_settings plain;
    memcpy(&plain, settings, sizeof plain);
    plain.row = NULL;
    uint64_t sum = XXH3_64bits(&plain, sizeof plain) + given;
    for (size_t i = 0; i < v->r.p.tensor_count; i++) {
        const tensor *t = &v->r.p.tensors[i];
        sum = XXH3_64bits_withSeed(t->name, strlen(t->name), sum);
        sum = XXH3_64bits_withSeed(t->shape, (size_t)t->dimensions * sizeof *t->shape, sum);
        sum += t->unit * 2 + t->decayed;
    }
    return sum;
}

static status create_open_local(vario_optimizer *v, runtime_settings *with,
                                const vario_tensor *tensors, size_t count, float *const *theta,
                                const vario_settings *settings)
{
    status result = library_settings(with, settings, (size_t)v->c.size);
    if (!result) result = library_parameters(&v->r.p, tensors, count);
    if (!result && theta) result = library_values(&v->r.p, theta, "vario_create");
    return result;
}

/* Each rank sets what it owns; the others get it from there. */
static void set_mean(vario_optimizer *v, float *const *theta)
{
    const state *s = &v->r.state;
    for (size_t i = 0; theta && i < s->owned->owned_count; i++) {
        const slice *part = &s->owned->owned[i];
        memcpy(state_at(s, s->mean, part), theta[part->tensor] + part->first,
               part->count * sizeof(float));
    }
    state_share(&v->r.state, &v->c);
}

static status check_memory(vario_optimizer *v, const runtime_settings *with)
{
    sharding owned = {0};
    rounds_memory m = {0};
    status result = sharding_open(&owned, &v->r.p, (size_t)v->c.size, (size_t)v->c.rank);
    if (!result) result = rounds_plan(with, &owned, &m);
    sharding_close(&owned);
    result = agree(v->c.world, result);
    return result
               ? result
               : free_memory_check(
                     v->c.world, (double)(m.state + m.gradients + m.pieces),
                     "vario_create: rank %d is to take %.4g GB (state %.3g, gradients "
                     "%.3g, pieces %.3g)",
                     v->c.rank, 1e-9 * (double)(m.state + m.gradients + m.pieces),
                     1e-9 * (double)m.state, 1e-9 * (double)m.gradients, 1e-9 * (double)m.pieces);
}

static status open_all(vario_optimizer *v, status here, const runtime_settings *with,
                       float *const *theta)
{
    status result = library_agree(v, here, here ? 0 : fingerprint(v, with, theta),
                                  "vario_create: ranks differ in tensors or settings, the same "
                                  "expected");
    if (!result && theta) result = library_agree_weights(v, theta);
    if (!result) result = check_memory(v, with);
    if (!result) result = agree(v->c.world, rounds_open(&v->r, with, false));
    if (!result) set_mean(v, theta);
    return result;
}

/* Without a rank that could wait for this one. */
static void release(vario_optimizer *v)
{
    rounds_close(&v->r);
    free(v);
}

static status create(vario_optimizer **out, MPI_Comm over, const vario_tensor *tensors,
                     size_t count, float *const *theta, const vario_settings *settings)
{
    comm c;
    status result = comm_join(&c, over, "vario_create");
    if (result) return result;
    vario_optimizer *v = calloc(1, sizeof *v);
    result =
        agree(c.world, v ? STATUS_OK : fail(STATUS_NOMEM, "vario_create: memory for an optimizer"));
    if (!result) {
        v->c = c;
        v->r = (rounds){.c = &v->c, .training = true};
        runtime_settings with;
        status here = out ? create_open_local(v, &with, tensors, count, theta, settings)
                          : library_refuse_null("vario_create", "a pointer to set");
        result = open_all(v, here, &with, theta);
    }
    if (!result) {
        *out = v;
        return STATUS_OK;
    }
    if (v) release(v);
    comm_leave(&c);
    return result;
}

vario_status vario_create(vario_optimizer **out, MPI_Comm over, const vario_tensor *tensors,
                          size_t count, float *const *theta, const vario_settings *settings)
{
    library_begin();
    if (out) *out = NULL;
    status result = check_mpi();
    if (!result) result = create(out, over, tensors, count, theta, settings);
    return library_end(result);
}

vario_status vario_create_fortran(vario_optimizer **out, int over, const vario_tensor *tensors,
                                  size_t count, float *const *theta, const vario_settings *settings)
{
    library_begin();
    if (out) *out = NULL;
    status result = check_mpi();
    if (!result)
        result = create(out, MPI_Comm_f2c((MPI_Fint)over), tensors, count, theta, settings);
    return library_end(result);
}

static void end_mpi(void)
{
    int ended = 1;
    MPI_Finalized(&ended);
    if (!ended) MPI_Finalize();
}

vario_status vario_create_alone(vario_optimizer **out, const vario_tensor *tensors, size_t count,
                                float *const *theta, const vario_settings *settings)
{
    int begun = 0, granted;
    MPI_Initialized(&begun);
    if (!begun && MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &granted) == MPI_SUCCESS)
        atexit(end_mpi);
    return vario_create(out, MPI_COMM_SELF, tensors, count, theta, settings);
}

void vario_free(vario_optimizer **out)
{
    vario_optimizer *v = out ? *out : NULL;
    int ended = 0;
    if (!v) return;
    comm c = v->c;
    MPI_Finalized(&ended);
    if (!ended && v->round > 0) rounds_end(&v->r); /* given up in mid-step */
    release(v);
    if (!ended) comm_leave(&c);
    *out = NULL;
}
