/* Products of whole matrices. oneDNN takes its reference code where rows of a left operand or of a
 * result are padded, so a panel of columns is made apart. */
#include "optimizer/product.h"

#include "kernels/gemm_here.h"
#include "kernels/transpose.h"

#include <string.h>

enum {
    PANEL = 128, /* columns: of 768 x 768 seven blocks in twelve are computed */
    STRIP = 64   /* rows of a thread's turn */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t bytes_of(dtype type)
{
    return type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
}

void product(void *out, product_operand a, product_operand b, product_types types, size_t m,
             size_t n, size_t k)
{
    gemm_here(m, n, k, a.values, a.transposed ? m : k, a.transposed, b.values, b.transposed ? k : n,
              b.transposed, out, n, types.in, types.out, NULL, false);
}

static void transpose(char *out, size_t ldo, const char *in, size_t ldi, dtype type, size_t rows,
                      size_t columns)
{
    if (type == DTYPE_BF16)
        transpose_halves((uint16_t *)(void *)out, ldo, (const uint16_t *)(const void *)in, ldi,
                         rows, columns);
    else
        transpose_words((uint32_t *)(void *)out, ldo, (const uint32_t *)(const void *)in, ldi, rows,
                        columns);
}

void product_transpose(void *out, const void *x, dtype type, size_t rows, size_t columns)
{
    size_t bytes = bytes_of(type);
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < rows; at += STRIP)
        transpose((char *)out + at * bytes, rows, (const char *)x + at * columns * bytes, columns,
                  type, smaller(STRIP, rows - at), columns);
}

size_t product_scratch_floats(size_t n)
{
    return n * smaller(PANEL, n);
}

/* Columns at .. at + width - 1 of the rows down to the diagonal's block, and what mirrors them. */
static void place_panel(char *out, const char *panel, dtype type, size_t n, size_t at, size_t width)
{
    size_t bytes = bytes_of(type);
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < at + width; row += STRIP) {
        size_t rows = smaller(STRIP, at + width - row);
        const char *from = panel + row * width * bytes;
        for (size_t i = 0; i < rows; i++)
            memcpy(out + ((row + i) * n + at) * bytes, from + i * width * bytes, width * bytes);
        if (row < at)
            transpose(out + (at * n + row) * bytes, n, from, width, type, smaller(rows, at - row),
                      width);
    }
}

void product_symmetric(void *out, const void *x, product_operand right, product_types types,
                       size_t n, size_t k, float *scratch)
{
    size_t ldb = right.transposed ? k : n, step = (right.transposed ? k : 1) * bytes_of(types.in);
    for (size_t at = 0; at < n; at += PANEL) {
        size_t width = smaller(PANEL, n - at);
        gemm_here(at + width, width, k, x, k, false, (const char *)right.values + at * step, ldb,
                  right.transposed, scratch, width, types.in, types.out, NULL, false);
        place_panel(out, (const char *)scratch, types.out, n, at, width);
    }
}
