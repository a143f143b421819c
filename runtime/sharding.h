/** Who owns what. A unit is cut into runs, each with one owner: one chunk a rank, at 256-element
 * boundaries; or where matrices stay whole, one run a matrix with the vectors that follow it, dealt
 * out so that the ranks' work is even (longest processing time first; Graham, SIAM J. Appl. Math.
 * 1969). */
#ifndef VARIO_RUNTIME_SHARDING_H
#define VARIO_RUNTIME_SHARDING_H

#include "base/parameters.h"

typedef struct {
    const parameters *p;
    size_t ranks, rank;
    size_t *unit_runs;   /**< [unit_count + 1] first entry of each unit in the next two */
    size_t *first;       /**< element of the unit where runs begin, and after them its count */
    size_t *owner;       /**< of runs */
    slice *owned;        /**< [owned_count] this rank's, in logical order, offsets packed */
    size_t *unit_slices; /**< [unit_count + 1] first slice of each unit */
    size_t owned_count;
    size_t elements; /**< owned by this rank */
} sharding;

/** One chunk a rank; not collective. @return STATUS_OK or STATUS_NOMEM (s is then empty) */
status sharding_open(sharding *s, const parameters *p, size_t ranks, size_t rank);

/** Deal tensors out, the dearest first, each to the rank with the least work so far.
 * @param owner  [count] out: the rank of each; `ranks` where it costs nothing
 * @param work   [ranks] out: the costs of what each owns
 * @param costs  [count] */
void sharding_deal(size_t *owner, double *work, const double *costs, size_t count, size_t ranks);

/** Tensors that were dealt out stay whole, with the vectors of their units; units without any are
 * cut into chunks. As sharding_open.
 * @param owner  [tensor_count] as sharding_deal has it */
status sharding_open_dealt(sharding *s, const parameters *p, size_t ranks, size_t rank,
                           const size_t *owner);
void sharding_close(sharding *s);

/** How many runs a unit has. */
size_t sharding_runs(const sharding *s, size_t unit_number);

/** First element of a unit's run; run = sharding_runs gives the unit's count. */
size_t sharding_first(const sharding *s, size_t unit_number, size_t run);

/** The rank that owns a run. */
size_t sharding_owner(const sharding *s, size_t unit_number, size_t run);

/** Byte range [*begin, *end) of a run in a buffer of the unit under a layout. */
void sharding_bytes(const sharding *s, const layout *l, size_t unit_number, size_t run,
                    size_t *begin, size_t *end);

/** A rank's pieces of a unit lie one after the other, each at the same address modulo 64 as in the
 * unit's buffer: where a run that this rank owns is among them; run = sharding_runs gives the bytes
 * of all. */
size_t sharding_piece(const sharding *s, const layout *l, size_t unit_number, size_t run);

/** Logical index of a slice's first element. */
size_t slice_index(const parameters *p, const slice *s);

/** Byte offset of a slice of this rank's in its pieces of the unit. */
size_t slice_piece_offset(const sharding *s, const layout *l, const slice *part);

#endif
