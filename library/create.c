/* Creating and freeing; what all calls share. */
#include "library/optimizer.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static locale_t plain;
static _Thread_local locale_t outside; /* the program's, while a call is in progress */
static _Thread_local char warning[STATUS_MESSAGE_SIZE];

static void keep_warning(const char *sentence)
{
    snprintf(warning, sizeof warning, "%s", sentence);
}

/* A library never prints, and in some locales 0.5 is no number. */
__attribute__((constructor)) static void prepare(void)
{
    status_listen(keep_warning);
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void library_begin(void)
{
    outside = uselocale(plain);
    status_clear();
    warning[0] = '\0';
}

vario_status library_end(status result)
{
    _Static_assert((int)VARIO_INPUT == (int)STATUS_INPUT && (int)VARIO_IO == (int)STATUS_IO &&
                       (int)VARIO_NOMEM == (int)STATUS_NOMEM && (int)VARIO_PEER == (int)STATUS_PEER,
                   "statuses are those of base");
    if (!result) status_clear();
    uselocale(outside);
    return (vario_status)result;
}

const char *vario_error(void)
{
    return *status_message() ? status_message() : warning;
}

const char *vario_version(void)
{
    return VARIO_VERSION;
}

static status refuse_null(const char *call, const char *what)
{
    return fail(STATUS_INPUT, "%s: %s expected, NULL found", call, what);
}

status library_connected(const vario_optimizer *v, const char *call)
{
    int ended = 0;
    if (!v) return refuse_null(call, "an optimizer");
    MPI_Finalized(&ended);
    if (!ended) return STATUS_OK;
    return fail(STATUS_PEER, "%s: MPI has ended, MPI_Finalize after it expected", call);
}

status library_usable(const vario_optimizer *v, const char *call)
{
    if (!v) return refuse_null(call, "an optimizer");
    if (!v->broken) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: vario_load has failed, a load that works or vario_free expected",
                call);
}

status library_posterior(const vario_optimizer *v, const char *call)
{
    status result = library_usable(v, call);
    if (result || job_has_posterior(&v->job)) return result;
    return fail(STATUS_INPUT, "%s: a posterior expected, AdamW has none", call);
}

static bool differ(const vario_optimizer *v, uint64_t hash, uint64_t complement)
{
    const uint64_t mine[] = {hash, complement};
    uint64_t least[2];
    MPI_Allreduce(mine, least, 2, MPI_UINT64_T, MPI_MIN, v->c.world);
    return least[0] != ~least[1];
}

bool library_differ(const vario_optimizer *v, uint64_t hash)
{
    return differ(v, hash, ~hash);
}

/* One message where all is well: a hash and its complement have the same least values only there.
 */
status library_agree(const vario_optimizer *v, status here, uint64_t arguments,
                     const char *sentence)
{
    if (!differ(v, here ? 0 : arguments, here ? 0 : ~arguments)) return STATUS_OK;
    status result = agree(v->c.world, here);
    return result ? result : fail(STATUS_INPUT, "%s", sentence);
}

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
 * memset in library_job, so equal jobs are equal bytes. */
static uint64_t fingerprint(const vario_optimizer *v, bool given)
{
    uint64_t sum = XXH3_64bits(&v->job, sizeof v->job) + given;
    for (size_t i = 0; i < v->r.p.tensor_count; i++) {
        const tensor *t = &v->r.p.tensors[i];
        sum = XXH3_64bits_withSeed(t->name, strlen(t->name), sum);
        sum = XXH3_64bits_withSeed(t->shape, (size_t)t->dimensions * sizeof *t->shape, sum);
        sum += t->unit * 2 + t->decayed;
    }
    return sum;
}

static status create_open_local(vario_optimizer *v, const vario_tensor *tensors, size_t count,
                                float *const *theta, const vario_settings *settings)
{
    status result = library_job(&v->job, settings, (size_t)v->c.size);
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

static status open_all(vario_optimizer *v, status here, float *const *theta)
{
    status result = library_agree(v, here, here ? 0 : fingerprint(v, theta),
                                  "vario_create: ranks differ in tensors or settings, the same "
                                  "expected");
    const runtime_settings with = job_settings(&v->job);
    if (!result && theta) result = library_agree_weights(v, theta);
    if (!result) result = check_memory(v, &with);
    if (!result) result = agree(v->c.world, rounds_open(&v->r, &with, false));
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
        status here = out ? create_open_local(v, tensors, count, theta, settings)
                          : refuse_null("vario_create", "a pointer to set");
        result = open_all(v, here, theta);
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
