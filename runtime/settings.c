/* What settings imply. */
#include "runtime/settings.h"

#include <math.h>
#include <stdlib.h>

void settings_decide(runtime_settings *s)
{
    s->items = s->microbatches * s->optimizer.mc_samples;
    s->variational = optimizer_is_variational(s->row);
    s->updates_all = s->shard < SHARD_OPTIMIZER;
    s->sums_locally = s->shard <= SHARD_OPTIMIZER;
    s->fetches = s->shard == SHARD_PARAMETERS;
    s->holds_round = s->clip.scope == SCOPE_MICROBATCH && isfinite(s->clip.norm);
    s->rest = NULL;
    if (s->row->matrix)
        s->rest = optimizer_rest(&s->optimizer, s->peak, &s->rest_optimizer, &s->rest_rate);
    s->joins = s->parts > 1;
    s->takes_pieces = s->row->takes_pieces && s->holds_round && !s->sums_locally && !s->joins;
}

void settings_place(runtime_settings *s, size_t nodes, size_t place)
{
    s->nodes = nodes;
    s->shares = nodes > 0 && !s->fetches && !s->updates_all;
    s->keeps = place == 0;
}

void settings_set_ess(runtime_settings *s, double ess)
{
    s->optimizer.ess = s->rest_optimizer.ess = ess;
}

double settings_decay(const runtime_settings *s, const tensor *t)
{
    return optimizer_decay(settings_row(s, t), settings_optimizer(s, t), t->decayed);
}

status settings_shard(const runtime_settings *s, sharding *owned, const parameters *p, size_t ranks,
                      size_t rank)
{
    if (!s->row->matrix) return sharding_open(owned, p, ranks, rank);
    size_t *owner = calloc(p->tensor_count, sizeof *owner);
    double *costs = calloc(p->tensor_count, sizeof *costs), *work = calloc(ranks, sizeof *work);
    status result = STATUS_OK;
    *owned = (sharding){0};
    if (!owner || !costs || !work)
        result = fail(STATUS_NOMEM, "memory for the sharding of %zu tensors", p->tensor_count);
    for (size_t i = 0; !result && i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        if (t->matrices)
            costs[i] =
                (double)t->matrices * optimizer_matrix_cost(s->row, &s->optimizer, t->shape[0],
                                                            t->shape[1] / t->matrices);
    }
    if (!result) {
        sharding_deal(owner, work, costs, p->tensor_count, ranks);
        result = sharding_open_dealt(owned, p, ranks, rank, owner);
    }
    free(owner);
    free(costs);
    free(work);
    return result;
}
