/** Event files as TensorBoard reads them: records of length, data and their masked CRC-32C
 * (TensorFlow's record_writer.h), the data being protocol buffers of the message Event
 * (event.proto, summary.proto). */
#ifndef VARIO_IO_RUNS_TENSORBOARD_H
#define VARIO_IO_RUNS_TENSORBOARD_H

#include "base/status.h"
#include "io/runs/metrics.h"

typedef struct tensorboard tensorboard;

/** Begin a file of its own in directory, which is made where it is absent:
 * events.out.tfevents.SECONDS.HOST.PROCESS.
 * @param steps  finished: where above 0, the reader is told to forget later ones of older files
 * @return STATUS_OK, STATUS_IO or STATUS_NOMEM; *t is NULL on failure */
status tensorboard_open(tensorboard **t, const char *directory, uint64_t steps);

/** Append a row: a scalar of every field that is not empty, under its column's name.
 * @return STATUS_OK, STATUS_IO or STATUS_NOMEM */
status tensorboard_append(tensorboard *t, const metrics *row);
void tensorboard_close(tensorboard **t);

#endif
