/* What settings imply. */
#include "runtime/settings.h"

#include <math.h>

void settings_decide(runtime_settings *s)
{
    s->items = s->microbatches * s->optimizer.mc_samples;
    s->variational = optimizer_is_variational(s->row);
    s->updates_all = s->shard < SHARD_OPTIMIZER;
    s->sums_locally = s->shard <= SHARD_OPTIMIZER;
    s->fetches = s->shard == SHARD_PARAMETERS;
    s->holds_round = s->clip.scope == SCOPE_MICROBATCH && isfinite(s->clip.norm);
    s->takes_pieces = s->row->takes_pieces && s->holds_round && !s->sums_locally;
}

double settings_decay(const runtime_settings *s, const tensor *t)
{
    return optimizer_decay(s->row, &s->optimizer, t->decayed);
}
