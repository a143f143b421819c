/* One message pattern for chunks, which lie in the order of ranks; broadcasts for what was dealt.
 */
#include "runtime/gather.h"

static bool is_in_order(const sharding *s, size_t u)
{
    if (sharding_runs(s, u) != s->ranks) return false;
    for (size_t run = 0; run < s->ranks; run++)
        if (sharding_owner(s, u, run) != run) return false;
    return true;
}

void gather_runs(comm *c, const sharding *s, size_t unit_number, void *data, const size_t *first,
                 size_t value_bytes, bytes_kind kind)
{
    if (c->size == 1) return;
    if (is_in_order(s, unit_number)) {
        comm_all_gather(c, data, first, value_bytes, kind);
        return;
    }
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    for (size_t run = 0; run < sharding_runs(s, unit_number); run++) {
        size_t owner = sharding_owner(s, unit_number, run);
        size_t bytes = (first[run + 1] - first[run]) * value_bytes;
        comm_broadcast(c, (char *)data + first[run] * value_bytes, bytes, (int)owner);
        if (owner == s->rank) c->sent[kind] += (uint64_t)(c->size - 1) * bytes;
    }
    timing_switch(&c->timing, before);
}
