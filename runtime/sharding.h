/** Who owns what: every unit is cut into P chunks at 256-element boundaries. */
#ifndef VARIO_RUNTIME_SHARDING_H
#define VARIO_RUNTIME_SHARDING_H

#include "base/parameters.h"

typedef struct {
    const parameters *p;
    size_t ranks, rank;
    size_t *first;       /**< [unit_count * (ranks + 1)] element of the unit where chunks begin */
    slice *owned;        /**< [owned_count] this rank's, in logical order, offsets packed */
    size_t *unit_slices; /**< [unit_count + 1] first slice of each unit */
    size_t owned_count;
    size_t elements; /**< owned by this rank */
} sharding;

/** Not collective. @return STATUS_OK or STATUS_NOMEM (s is then empty) */
status sharding_open(sharding *s, const parameters *p, size_t ranks, size_t rank);
void sharding_close(sharding *s);

/** First element of rank's chunk of a unit; rank = ranks gives the unit's count. */
size_t sharding_first(const sharding *s, size_t unit_number, size_t rank);

/** Byte range [*begin, *end) of rank's chunk in a buffer of the unit under a layout. */
void sharding_bytes(const sharding *s, const layout *l, size_t unit_number, size_t rank,
                    size_t *begin, size_t *end);

/** Logical index of a slice's first element. */
size_t slice_index(const parameters *p, const slice *s);

/** Byte offset of a slice in a piece: a buffer that begins where its owner's chunk begins. */
size_t slice_piece_offset(const sharding *s, const layout *l, const slice *part);

#endif
