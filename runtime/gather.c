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

/* The messages of a unit: this rank's runs to a rank of every other node, and what it takes for its
 * own node; runs that are empty travel as none. */
static size_t post_unit(comm *c, const sharding *s, size_t u, float *values, bytes_kind kind,
                        MPI_Request *requests)
{
    const node_map *n = &c->nodes;
    size_t posted = 0;
    for (size_t run = 0; run < sharding_runs(s, u); run++) {
        size_t first = sharding_first(s, u, run), count = sharding_first(s, u, run + 1) - first;
        int owner = (int)sharding_owner(s, u, run);
        float *at = values + s->p->units[u].index + first;
        if (count == 0) continue;
        if (owner == c->rank) {
            for (int node = 0; node < n->count; node++)
                if (node != n->here)
                    comm_send(c, at, count * sizeof *at, nodes_receiver(n, owner, node),
                              TAG_PARAMETERS, kind, &requests[posted++]);
        } else if (n->of[owner] != n->here && nodes_receiver(n, owner, n->here) == c->rank) {
            comm_receive(c, at, count * sizeof *at, owner, TAG_PARAMETERS, &requests[posted++]);
        }
    }
    return posted;
}

void gather_nodes(comm *c, const sharding *s, float *values, bytes_kind kind)
{
    size_t most = 0;
    for (size_t u = 0; u < s->p->unit_count; u++)
        if (sharding_runs(s, u) > most) most = sharding_runs(s, u);
    MPI_Request requests[most + (size_t)c->nodes.count]; /* a rank owns one run of a unit at most */
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    for (size_t u = 0; u < s->p->unit_count; u++)
        comm_wait(c, requests, post_unit(c, s, u, values, kind, requests));
    nodes_meet(&c->nodes);
    timing_switch(&c->timing, before);
}
