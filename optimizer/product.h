/** Products of whole matrices, row-major and contiguous, by gemm (kernels/gemm_here.h), in the
 * precision that the caller has its operands in; sums are fp32. The bits of a result depend on the
 * shapes and the number of threads alone. */
#ifndef VARIO_OPTIMIZER_PRODUCT_H
#define VARIO_OPTIMIZER_PRODUCT_H

#include "base/parameters.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const void *values;
    bool transposed; /**< stored the other way round */
} product_operand;

typedef struct {
    dtype in, out; /**< of both operands, of the result */
} product_types;

/** out(m, n) = A(m, k) B(k, n) */
void product(void *out, product_operand a, product_operand b, product_types types, size_t m,
             size_t n, size_t k);

/** out(n, n) = x x' of x(n, k), or a power of a symmetric matrix, x being symmetric and k = n: the
 * half above the diagonal is computed and mirrored, in blocks, for little more than half of the
 * operations.
 * @param right    x' (k, n)
 * @param scratch  [product_scratch_floats(n)] */
void product_symmetric(void *out, const void *x, product_operand right, product_types types,
                       size_t n, size_t k, float *scratch);
size_t product_scratch_floats(size_t n);

/** out(columns, rows) = x(rows, columns)' */
void product_transpose(void *out, const void *x, dtype type, size_t rows, size_t columns);

#endif
