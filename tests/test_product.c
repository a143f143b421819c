/* Products of whole matrices, in blocks that are mirrored, against sums in double. */
#include "kernels/kernels.h"
#include "kernels/transpose.h"
#include "matrix_fixture.h"
#include "optimizer/product.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPES = 4, MOST = 300 * 300 };

/* Less than a block, one, some with one that is not whole. */
static const size_t shapes[SHAPES][2] = {{5, 3}, {128, 64}, {130, 70}, {300, 41}};

static void start(void)
{
    omp_set_num_threads(2);
    kernels_open();
}

TestSuite(product, .init = start, .fini = kernels_close);

/* Numbers of the type, and what they are. */
static void draw_in(void *out, float *exact, dtype type, size_t count, uint64_t seed)
{
    draw(exact, count, seed);
    convert(out, type, exact, DTYPE_F32, count);
    convert(exact, DTYPE_F32, out, type, count);
}

static void square(double *out, const float *x, size_t n, size_t k)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < k; l++) sum += (double)x[i * k + l] * (double)x[j * k + l];
            out[i * n + j] = sum;
        }
}

static void expect_square(product_types types, size_t n, size_t k, double limit)
{
    static float x[MOST], exact[MOST], turned[MOST], out[MOST], found[MOST];
    static double expected[MOST];
    size_t floats = product_scratch_floats(n);
    float *scratch = malloc((floats + 1) * sizeof *scratch);
    scratch[floats] = 12345.0F;
    draw_in(x, exact, types.in, n * k, 3);
    square(expected, exact, n, k);
    product_transpose(turned, x, types.in, n, k);
    for (int way = 0; way < 2; way++) {
        product_operand right = {way ? turned : x, !way};
        memset(out, 0xff, sizeof out);
        product_symmetric(out, x, right, types, n, k, scratch);
        convert(found, DTYPE_F32, out, types.out, n * n);
        NEAR(found, expected, n * n, limit);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j / 128 < i / 128; j++)
                cr_assert(found[i * n + j] == found[j * n + i], "(%zu, %zu) of %zu", i, j, n);
    }
    cr_expect(scratch[floats] == 12345.0F);
    free(scratch);
}

Test(product, is_symmetric)
{
    for (size_t s = 0; s < SHAPES; s++) {
        size_t n = shapes[s][0], k = shapes[s][1];
        expect_square((product_types){DTYPE_F32, DTYPE_F32}, n, k, 1e-6);
        expect_square((product_types){DTYPE_BF16, DTYPE_F32}, n, k, 1e-6);
        expect_square((product_types){DTYPE_BF16, DTYPE_BF16}, n, k, 4e-3);
    }
}

Test(product, transposes_all)
{
    static float x[MOST], exact[MOST], out[MOST], found[MOST];
    for (size_t s = 0; s < SHAPES; s++)
        for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
            size_t rows = shapes[s][0], columns = shapes[s][1];
            draw_in(x, exact, (dtype)type, rows * columns, 4);
            product_transpose(out, x, (dtype)type, rows, columns);
            convert(found, DTYPE_F32, out, (dtype)type, rows * columns);
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < columns; j++)
                    cr_assert(found[j * rows + i] == exact[i * columns + j]);
        }
}
