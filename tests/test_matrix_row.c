/* What stands in bases, for single weights and back: against sums in double, element by element. */
#include "kernels/dense_float.h"
#include "kernels/kernels.h"
#include "matrix_fixture.h"
#include "optimizer/matrix_row.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 5, COLUMNS = 7, PARTS = 2, PART = ROWS * COLUMNS, COUNT = PARTS * PART };
enum { BASES = PARTS * (ROWS * ROWS + COLUMNS * COLUMNS) };

typedef struct {
    optimizer_settings settings;
    float mean[COUNT], h[COUNT], momentum[COUNT], g_sum[COUNT], bases[BASES], factors[BASES];
    float *arrays[OPTIMIZER_ARRAYS], *work;
    uint64_t clipped, rescued;
    optimizer_matrix m;
} tensor_of;

static void start(void)
{
    kernels_open();
    cr_assert_eq(dense_float_open(1), STATUS_OK);
}

TestSuite(matrix_row, .init = start, .fini = kernels_close);

static float *basis_at(tensor_of *t, size_t part, bool right)
{
    return t->bases + part * (BASES / PARTS) + (right ? ROWS * ROWS : 0);
}

static void set_identity(float *q, size_t side)
{
    for (size_t i = 0; i < side * side; i++) q[i] = i % (side + 1) == 0 ? 1.0F : 0.0F;
}

/* Before the first update of a run, with gradients and an h of its own. */
static void set_up(tensor_of *t, float h, float spread)
{
    const optimizer *row = optimizer_row(OPTIMIZER_EVON);
    memset(t, 0, sizeof *t);
    t->settings = (optimizer_settings){.kind = OPTIMIZER_EVON,
                                       .ess = 100.0,
                                       .hessian_init = 0.1,
                                       .beta1 = 0.9,
                                       .beta2 = 0.99,
                                       .mc_samples = 1,
                                       .basis_beta = 0.9,
                                       .basis_every = 10,
                                       .basis_limit = COLUMNS,
                                       .estimate_clip = INFINITY};
    draw(t->mean, COUNT, 1);
    draw(t->g_sum, COUNT, 2);
    draw(t->h, COUNT, 3);
    for (size_t i = 0; i < COUNT; i++) t->h[i] = h + spread * t->h[i] * t->h[i];
    for (size_t k = 0; k < PARTS; k++) {
        set_identity(basis_at(t, k, false), ROWS);
        set_identity(basis_at(t, k, true), COLUMNS);
    }
    t->arrays[0] = t->h;
    t->arrays[1] = t->momentum;
    t->work = malloc(optimizer_matrix_work(row, &t->settings, ROWS, COLUMNS) * sizeof(float));
    cr_assert(t->work);
    t->m = (optimizer_matrix){.settings = &t->settings,
                              .rows = ROWS,
                              .columns = COLUMNS,
                              .parts = PARTS,
                              .decay = 1e-3,
                              .updates = 1,
                              .g_scale = 0.5,
                              .f_scale = 0.5,
                              .mean = t->mean,
                              .arrays = t->arrays,
                              .bases = t->bases,
                              .factors = t->factors,
                              .g_sum = t->g_sum,
                              .work = t->work,
                              .clipped = &t->clipped,
                              .rescued = &t->rescued};
}

/* Into the bases S_L' x S_R, else S_L x S_R'; as arrays lie. */
static void mix(double *out, tensor_of *t, const double *x, bool into)
{
    for (size_t k = 0; k < PARTS; k++)
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < COLUMNS; c++) {
                const float *left = basis_at(t, k, false), *right = basis_at(t, k, true);
                double sum = 0.0;
                for (size_t i = 0; i < ROWS; i++)
                    for (size_t j = 0; j < COLUMNS; j++) {
                        double l = (double)left[into ? i * ROWS + r : r * ROWS + i];
                        double q = (double)right[into ? j * COLUMNS + c : c * COLUMNS + j];
                        sum += l * l * x[k * PART + i * COLUMNS + j] * q * q;
                    }
                out[k * PART + r * COLUMNS + c] = sum;
            }
}

/* From arrays, part after part, to the tensor, parts side by side. */
static void lay(double *out, const double *in)
{
    for (size_t k = 0; k < PARTS; k++)
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < COLUMNS; c++)
                out[(r * PARTS + k) * COLUMNS + c] = in[k * PART + r * COLUMNS + c];
}

static bool is_turned(tensor_of *t)
{
    float plain[ROWS * ROWS];
    set_identity(plain, ROWS);
    return memcmp(plain, basis_at(t, PARTS - 1, false), sizeof plain) != 0;
}

Test(matrix_row, h_goes_with_the_first_bases_and_back)
{
    tensor_of t;
    double before[COUNT], expected[COUNT], laid[COUNT];
    float h[COUNT], sigma[COUNT];
    set_up(&t, 1e-3F, 1.0F);
    widen(before, t.h, COUNT);
    optimizer_row(OPTIMIZER_EVON)->matrix->update(&t.m);
    cr_assert(is_turned(&t));
    mix(expected, &t, before, true);
    NEAR(t.h, expected, COUNT, 1e-6);

    widen(before, t.h, COUNT);
    mix(expected, &t, before, false);
    lay(laid, expected);
    matrix_row_diagonal(h, &t.m);
    NEAR(h, laid, COUNT, 1e-6);

    for (size_t i = 0; i < COUNT; i++) before[i] = 1.0 / (100.0 * (before[i] + 1e-3));
    mix(expected, &t, before, false);
    lay(laid, expected);
    for (size_t i = 0; i < COUNT; i++) laid[i] = sqrt(laid[i]);
    optimizer_row(OPTIMIZER_EVON)->matrix->sigma(&t.m, sigma);
    NEAR(sigma, laid, COUNT, 1e-6);
    free(t.work);
}

/* What delta adds stays: rows of squares add up to 1. */
Test(matrix_row, what_all_of_h_has_stays)
{
    tensor_of t;
    float plain[COUNT], more[COUNT];
    double expected[COUNT];
    set_up(&t, 1e-3F, 1.0F);
    optimizer_row(OPTIMIZER_EVON)->matrix->update(&t.m);
    matrix_row_diagonal(plain, &t.m);
    for (size_t i = 0; i < COUNT; i++) t.h[i] += 3.0F;
    matrix_row_diagonal(more, &t.m);
    for (size_t i = 0; i < COUNT; i++) expected[i] = (double)plain[i] + 3.0;
    NEAR(more, expected, COUNT, 1e-6);
    free(t.work);
}

Test(matrix_row, an_h_that_is_the_same_everywhere_keeps_its_bits)
{
    tensor_of t;
    set_up(&t, 0.1F, 0.0F);
    optimizer_row(OPTIMIZER_EVON)->matrix->update(&t.m);
    cr_assert(is_turned(&t));
    for (size_t i = 0; i < COUNT; i++) {
        const float first = 0.1F;
        cr_assert(memcmp(&t.h[i], &first, sizeof first) == 0, "element %zu: %.9g", i,
                  (double)t.h[i]);
    }
    free(t.work);
}

/* Later turns leave h where its directions are. */
Test(matrix_row, only_the_first_bases_take_h_along)
{
    tensor_of t;
    float kept[COUNT];
    set_up(&t, 1e-3F, 1.0F);
    optimizer_row(OPTIMIZER_EVON)->matrix->update(&t.m);
    memcpy(kept, t.h, sizeof kept);
    t.m.updates = 1 + t.settings.basis_every;
    matrix_part part = matrix_row_part(&t.m, 0);
    matrix_row_follow(&t.m, &part, part.arrays[1], part.arrays[0]);
    double sum = 0.0;
    for (size_t i = 0; i < PART; i++) sum += (double)t.h[i] - (double)kept[i];
    cr_expect_lt(fabs(sum), 1e-4, "h of a turn adds up to another sum: %g", sum);
    for (size_t i = 0; i < PART; i++) {
        size_t at = 0;
        while (at < PART && memcmp(&t.h[i], &kept[at], sizeof *kept) != 0) at++;
        cr_expect_lt(at, PART, "element %zu is none of before", i);
    }
    free(t.work);
}

/* A whitened step's length by the sides, (in, out); another direction's is its own. */
Test(matrix_row, steps_are_adjusted_to_the_sides)
{
    const double in = ROWS, out = COLUMNS, by[] = {1.0, sqrt(out / in), 0.2 * sqrt(out)};
    double moved[3], plain = 0.0;
    for (int kind = ADJUST_NONE; kind <= ADJUST_MATCH_RMS_ADAMW; kind++)
        for (int whitens = 0; whitens < 2; whitens++) {
            tensor_of t;
            set_up(&t, 0.1F, 0.0F);
            t.settings.adjust_lr = (adjust_kind)kind;
            t.m.lr = 0.5;
            matrix_part part = matrix_row_part(&t.m, 0);
            float before = t.mean[1];
            matrix_row_move(&t.m, &part, t.g_sum, whitens, 0.0);
            double step = (double)before - (double)t.mean[1];
            if (whitens) moved[kind] = step;
            if (!whitens && kind == ADJUST_NONE) plain = step;
            if (!whitens) cr_expect_float_eq(step, plain, 1e-6);
            free(t.work);
        }
    for (int kind = ADJUST_NONE; kind <= ADJUST_MATCH_RMS_ADAMW; kind++)
        cr_expect_float_eq(moved[kind], by[kind] * moved[0], 1e-6);
    cr_expect_gt(fabs(moved[0]), 1e-3);
}
