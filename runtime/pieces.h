/** Gradient pieces: each rank cuts a unit's gradient by owner and sends the pieces there; owners
 * keep them apart, so that they can be added in the order of work items. */
#ifndef VARIO_RUNTIME_PIECES_H
#define VARIO_RUNTIME_PIECES_H

#include "runtime/comm.h"
#include "runtime/sharding.h"
#include "runtime/slots.h"

/** Add up a unit whose pieces are all here: called once for every pieces_start. */
typedef void pieces_consume(void *context, size_t unit_number);

typedef struct {
    comm *c;
    const sharding *owned;
    const layout *gradient; /**< fp32, of the sources */
    layout wire;
    bool hold; /**< units stay until the round's end */
    arena arena;
    slots received;         /**< P pieces each */
    slots outgoing;         /**< wire bf16 only: rounded gradients */
    MPI_Request **requests; /**< [unit_count] of the runs that come and go */
    size_t *request_count;  /**< [unit_count] */
    bool *pending;          /**< [unit_count] started, not consumed */
    pieces_consume *consume;
    void *context;
} pieces;

/** Bytes of the arena, to the byte. */
status pieces_bytes(const sharding *owned, dtype wire, bool hold, size_t *bytes);

status pieces_open(pieces *x, comm *c, const sharding *owned, const layout *gradient, dtype wire,
                   bool hold, pieces_consume *consume, void *context);
void pieces_close(pieces *x);

/** Whether a rank's gradients are its own pieces, byte by byte: one rank, fp32 wire. */
bool pieces_are_direct(const sharding *owned, dtype wire);

/** Then a unit's gradient is written where its piece is kept; what was there is consumed first. */
float *pieces_direct(pieces *x, size_t unit_number);

/** Send a unit's gradient to its owners and expect this rank's pieces of it; every rank calls it
 * for every unit, in the same order. Consumes the unit that held the buffer before.
 * @param source   the unit's gradient, fp32 in the gradient layout; stays as it is until
 *                 pieces_wait; NULL on ranks that are no senders
 * @param senders  ranks 0 .. senders - 1 send */
void pieces_start(pieces *x, size_t unit_number, const float *source, size_t senders);

/** Wait until a unit's source may be overwritten and its pieces are here; idempotent. */
void pieces_wait(pieces *x, size_t unit_number);

/** Wait, and consume if that is still to be done. */
void pieces_finish(pieces *x, size_t unit_number);

/** Wait, and leave the unit to the caller until its buffer is claimed: where pieces are held. */
void pieces_take(pieces *x, size_t unit_number);

/** Let messages proceed; never waits. */
void pieces_poll(pieces *x);

/** The elements of one of this rank's slices in the piece that came from a rank. */
const void *pieces_slice(const pieces *x, const slice *part, size_t from);

/** Bytes that a rank sends for one exchange of all units. */
uint64_t pieces_sent(const sharding *owned, const layout *wire);

#endif
