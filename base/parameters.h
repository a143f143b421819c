/** The logical parameter vector: which tensors it holds, in which order, and which unit each
 * belongs to. Plain data, shared by the model (which makes it), the runtime (which shards it) and
 * io (which writes it). */
#ifndef VARIO_BASE_PARAMETERS_H
#define VARIO_BASE_PARAMETERS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum { DTYPE_F32, DTYPE_BF16 } dtype;

/** bfloat16: the upper half of a float's bits. */
typedef unsigned short bf16;

enum {
    PARAMETER_BLOCK = 256, /**< chunks begin at multiples of this, counted from the unit */
    PARAMETER_DIMENSIONS = 8,
};

typedef struct {
    char name[64];                      /**< Hugging Face's name, without "transformer." */
    size_t unit;                        /**< the unit it travels with */
    size_t index;                       /**< of its first element in the logical parameter vector */
    size_t count;                       /**< elements */
    int dimensions;                     /**< 1 or 2; of a program's own tensors more */
    size_t shape[PARAMETER_DIMENSIONS]; /**< row-major */
    size_t matrices;  /**< layers' matrices that stand side by side in its columns; 0: none do */
    bool decayed;     /**< weight decay applies: to matrices */
    double init_mean; /**< initial weights are normal(init_mean, init_deviation) ... */
    double init_deviation; /**< ... or constant init_mean when this is 0 */
} tensor;

/** Consecutive tensors that travel at once. */
typedef struct {
    size_t first;   /**< tensor */
    size_t tensors; /**< how many */
    size_t index;   /**< of its first element in the logical parameter vector */
    size_t count;   /**< elements */
} unit;

typedef struct {
    size_t tensor_count, unit_count;
    size_t count; /**< elements of all tensors */
    tensor *tensors;
    unit *units;
} parameters;

/** Room for the tensors and units of a model, all zero. @return STATUS_OK or STATUS_NOMEM (p is
 * then empty) */
status parameters_open(parameters *p, size_t units, size_t tensors);

/** Append a tensor to its unit; units are filled one after the other. Its index and count are made
 * here. */
void parameters_append(parameters *p, const tensor *like);

/** The same of a model's tensor, whose matrices are decayed.
 * @param columns  0: a vector of `rows` elements
 * @param mean, deviation  of the initial weights */
void parameters_add(parameters *p, size_t unit_number, const char *name, size_t rows,
                    size_t columns, double mean, double deviation);

/** A tensor's number by its name, tensor_count where there is none. */
size_t parameters_find(const parameters *p, const char *name);

/** Whether a tensor travels and is computed with as matrices are, in bf16 where they are. */
static inline bool tensor_is_matrix(const tensor *t)
{
    return t->dimensions > 1;
}

/** Part of a tensor: what one rank owns of it. */
typedef struct {
    size_t tensor; /**< which */
    size_t first;  /**< element in the tensor */
    size_t count;  /**< elements, never 0 */
    size_t offset; /**< of its first element in the owner's state arrays */
} slice;

/** Where tensors lie in a buffer of one unit: matrices in one type, vectors always fp32, each
 * tensor at a multiple of 64 bytes. Compute buffers and pieces share this layout, so that a piece
 * is received where it is used. */
typedef struct {
    dtype matrix_type;
    size_t *tensor_offset; /**< [tensor_count] bytes from the start of the tensor's unit */
    size_t *unit_bytes;    /**< [unit_count] multiples of 64 */
} layout;

status layout_open(layout *l, const parameters *p, dtype matrix_type);
void layout_close(layout *l);

/** Bytes of one element of a tensor under a layout: 4 or 2. */
size_t layout_element_bytes(const layout *l, const tensor *t);

/** Byte offset of an element of a unit; element = unit's count gives unit_bytes. */
size_t layout_offset(const layout *l, const parameters *p, size_t unit_number, size_t element);

void parameters_close(parameters *p);

#endif
