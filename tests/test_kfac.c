/* A layer's posterior against the dense algebra of its Kronecker product. */
#include "kernels/dense.h"
#include "kfac_root.h"

#include <criterion/criterion.h>

enum { ROWS = 9, IN = 5, OUT = 4, ALL = IN * OUT };

static void start(void)
{
    cr_assert_eq(dense_open(1), STATUS_OK, "%s", status_message());
}

TestSuite(kfac, .init = start);

static void draw(double *out, size_t count, uint64_t seed)
{
    noise_normals_reference(out, (noise_key){.seed = seed}, 0, count);
}

static double farthest(const double *a, const double *b, size_t count)
{
    double max = 0.0;
    for (size_t i = 0; i < count; i++) max = fmax(max, fabs(a[i] - b[i]));
    return max;
}

/* factor(n, n) = x^T x / rows. */
static void make_factor(double *factor, size_t rows, size_t n, uint64_t seed)
{
    double x[ROWS * IN];
    draw(x, rows * n, seed);
    memset(factor, 0, n * n * sizeof *factor);
    dense_add_squares(factor, x, rows, n);
    kfac_mean(factor, (double)rows, n);
}

Test(kfac, squares_add_up)
{
    double x[ROWS * IN], expected[IN * IN], factor[IN * IN] = {0}, trace = 0.0;
    draw(x, ROWS * IN, 1);
    reference_gemm(IN, IN, ROWS, x, IN, true, x, IN, false, expected, IN, NULL, false);
    for (size_t i = 0; i < IN * IN; i++) expected[i] /= ROWS;
    for (size_t i = 0; i < IN; i++) trace += expected[i * IN + i];
    dense_add_squares(factor, x, 4, IN);
    dense_add_squares(factor, x + 4 * IN, 0, IN);
    dense_add_squares(factor, x + 4 * IN, ROWS - 4, IN);
    double found = kfac_mean(factor, ROWS, IN);
    cr_expect_float_eq(found, trace, 1e-13);
    cr_expect_lt(farthest(factor, expected, IN * IN), 1e-13);
}

Test(kfac, products_of_every_orientation)
{
    double a[IN * ROWS], b[ROWS * OUT], expected[ALL], found[ALL];
    draw(a, IN * ROWS, 2);
    draw(b, ROWS * OUT, 3);
    for (int way = 0; way < 4; way++) {
        bool of_a = way & 1, of_b = way & 2;
        reference_gemm(IN, OUT, ROWS, a, of_a ? IN : ROWS, of_a, b, of_b ? ROWS : OUT, of_b,
                       expected, OUT, NULL, false);
        dense_product(found, a, of_a, b, of_b, IN, OUT, ROWS);
        cr_expect_lt(farthest(found, expected, ALL), 1e-13);
    }
}

Test(kfac, rows_are_widened)
{
    const float x[] = {1.0F, 2.0F, 3.0F, 4.0F};
    const double with[] = {1.0, 2.0, 1.0, 3.0, 4.0, 1.0}, without[] = {1.0, 2.0, 3.0, 4.0},
                 roots[] = {0.5, 3.0}, scaled[] = {1.0, 2.0, 18.0, 24.0};
    double out[6];
    kfac_widen_inputs(out, x, 2, 2, 1);
    cr_expect_eq(farthest(out, with, 6), 0.0);
    kfac_widen_inputs(out, x, 2, 2, 0);
    cr_expect_eq(farthest(out, without, 4), 0.0);
    kfac_widen_gradients(out, x, 2.0, roots, 2, 2);
    cr_expect_eq(farthest(out, scaled, 4), 0.0);
}

/* Two factors and the layer that they make. */
typedef struct {
    double a[IN * IN], b[OUT * OUT], u[IN * IN], v[OUT * OUT], of_a[IN], of_b[OUT];
    kfac_layer layer;
} example;

static void decompose(double *vectors, double *values, const double *factor, size_t n)
{
    double *work = malloc(dense_eigen_work(n) * sizeof *work);
    memcpy(vectors, factor, n * n * sizeof *factor);
    cr_assert(dense_eigen(vectors, values, work, n));
    free(work);
}

/* Fewer rows than columns leave directions of which the data say nothing. */
static void open_example(example *x, size_t rows, double lambda, double tau)
{
    make_factor(x->a, rows, IN, 4);
    make_factor(x->b, rows, OUT, 5);
    decompose(x->u, x->of_a, x->a, IN);
    decompose(x->v, x->of_b, x->b, OUT);
    x->layer = (kfac_layer){x->u, x->of_a, x->v, x->of_b, IN, OUT, lambda, tau};
}

Test(kfac, eigenvectors)
{
    example x;
    open_example(&x, ROWS, 1.0, 1.0);
    double product[IN * IN], back[IN * IN];
    for (size_t i = 0; i < IN; i++) {
        cr_expect(i == 0 || x.of_a[i] >= x.of_a[i - 1]);
        for (size_t j = 0; j < IN; j++) product[i * IN + j] = x.of_a[i] * x.u[i * IN + j];
    }
    reference_gemm(IN, IN, IN, x.u, IN, true, product, IN, false, back, IN, NULL, false);
    cr_expect_lt(farthest(back, x.a, IN * IN), 1e-13);
}

Test(kfac, samples_have_the_inverse_precision_as_covariance)
{
    example x;
    open_example(&x, ROWS, 70.0, 0.3);
    cr_expect_lt(kfac_root_error(&x.layer, x.a, x.b), 1e-10);
    open_example(&x, 2, 1000.0, 2.0);
    cr_expect_lt(kfac_root_error(&x.layer, x.a, x.b), 1e-10);
}

/* Of diagonal factors each element has its own deviation, whichever eigenvectors are taken. */
Test(kfac, diagonal_factors_draw_element_by_element)
{
    example x;
    double z[ALL], noise[ALL], work[ALL];
    memset(&x, 0, sizeof x);
    for (size_t i = 0; i < IN; i++) x.a[i * IN + i] = i < 2 ? 0.5 : 3.0;
    for (size_t j = 0; j < OUT; j++) x.b[j * OUT + j] = 2.0;
    decompose(x.u, x.of_a, x.a, IN);
    decompose(x.v, x.of_b, x.b, OUT);
    x.layer = (kfac_layer){x.u, x.of_a, x.v, x.of_b, IN, OUT, 10.0, 1.0};
    kfac_noise(noise, (noise_key){.seed = 6, .stream = STREAM_POSTERIOR}, 1001, ALL);
    memcpy(z, noise, sizeof z);
    kfac_spread(z, work, &x.layer);
    for (size_t i = 0; i < ALL; i++)
        cr_expect_float_eq(z[i], noise[i] / sqrt(i / OUT < 2 ? 11.0 : 61.0), 1e-13);
}
