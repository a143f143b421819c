/** All-gather of what owners have. */
#ifndef VARIO_RUNTIME_GATHER_H
#define VARIO_RUNTIME_GATHER_H

#include "runtime/comm.h"
#include "runtime/sharding.h"

/** Bring the runs of a unit from their owners to all ranks; collective.
 * @param data   the unit's values: in, those of this rank's runs; out, all
 * @param first  [runs + 1] value with which each run begins, and their number */
void gather_runs(comm *c, const sharding *s, size_t unit_number, void *data, const size_t *first,
                 size_t value_bytes, bytes_kind kind);

/** Bring the runs of all units from their owners to all nodes, where they are once and an owner has
 * its own already; collective. @param values  of the whole logical vector */
void gather_nodes(comm *c, const sharding *s, float *values, bytes_kind kind);

#endif
