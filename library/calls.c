/* What all calls share: how each begins and ends, whom it may talk to, what ranks must agree in. */
#include "library/optimizer.h"
#include "runtime/agree.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

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

status library_refuse_null(const char *call, const char *what)
{
    return fail(STATUS_INPUT, "%s: %s expected, NULL found", call, what);
}

status library_connected(const vario_optimizer *v, const char *call)
{
    int ended = 0;
    if (!v) return library_refuse_null(call, "an optimizer");
    MPI_Finalized(&ended);
    if (!ended) return STATUS_OK;
    return fail(STATUS_PEER, "%s: MPI has ended, MPI_Finalize after it expected", call);
}

status library_usable(const vario_optimizer *v, const char *call)
{
    if (!v) return library_refuse_null(call, "an optimizer");
    if (!v->broken) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: vario_load has failed, a load that works or vario_free expected",
                call);
}

status library_posterior(const vario_optimizer *v, const char *call)
{
    status result = library_usable(v, call);
    if (result || v->r.state.settings.variational) return result;
    return fail(STATUS_INPUT, "%s: a posterior expected, AdamW has none", call);
}

static bool differ(const vario_optimizer *v, uint64_t hash, uint64_t complement)
{
    const uint64_t mine[] = {hash, complement};
    uint64_t min[2];
    MPI_Allreduce(mine, min, 2, MPI_UINT64_T, MPI_MIN, v->c.world);
    return min[0] != ~min[1];
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
