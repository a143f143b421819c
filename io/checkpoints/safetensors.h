/** The safetensors format: an 8-byte length, a JSON header, then the data. Headers are made from
 * the model alone, so they can be compared byte for byte. */
#ifndef VARIO_IO_CHECKPOINTS_SAFETENSORS_H
#define VARIO_IO_CHECKPOINTS_SAFETENSORS_H

#include "base/status.h"
#include "runtime/state_arrays.h"

typedef struct {
    char *bytes; /**< length and JSON, padded with spaces to a multiple of 8 */
    size_t size;
} safetensors_header;

/** Header of the file that arrays [first, end) share; the caller frees bytes.
 * @return STATUS_OK or STATUS_NOMEM */
status safetensors_make(safetensors_header *h, const parameters *p, const saved_array *arrays,
                        size_t first, size_t end);

/** End of the run of arrays that share the file of arrays[first]. */
size_t safetensors_group(const saved_array *arrays, size_t count, size_t first);

/** The tensors of an array: its set's, or the model's. */
static inline const parameters *safetensors_tensors(const saved_array *array, const parameters *p)
{
    return array->set ? &array->set->p : p;
}

/** Byte offset of an element of an array's logical vector in its file; at = end, index = 0 gives
 * the file's size.
 * @param arrays  [first] is the first of the file */
uint64_t safetensors_offset(const safetensors_header *h, const parameters *p,
                            const saved_array *arrays, size_t first, size_t at, uint64_t index);

/** The part of a slice that begins at its element `at` and ends where a block of checksums does, or
 * with the slice; its offset is 0.
 * @param max   elements, a multiple of 256 */
slice safetensors_part(const parameters *p, const slice *whole, size_t at, size_t max);

/** Where a slice's values stand in an array. */
float *safetensors_values(const saved_array *array, const parameters *p, const slice *part);

/** Checksum of part of a tensor: the wrapping sum of XXH3 (64 bits, seeded with the element's
 * number) over its intersections with the unit's 256-element blocks. Sums over slices add up to
 * the tensor's. */
uint64_t safetensors_checksum(const parameters *p, const slice *part, const float *values);

#endif
