/* Rows by kind, and what their columns mean for slices. */
#include "optimizer/table.h"

#include "optimizer/basis.h"

#include <math.h>
#include <string.h>

#ifdef VARIO_LEVELS
#include "kernels/choose.h"

/* A row's functions are those of its level. */
#define OPTIMIZER_DECLARE(KIND, name)                                                              \
    extern const optimizer name##_optimizer_base, name##_optimizer_v3, name##_optimizer_v4;
#define OPTIMIZER_ENTRY(KIND, name)                                                                \
    {&name##_optimizer_base, &name##_optimizer_v3, &name##_optimizer_v4},
OPTIMIZERS_OF_SLICES(OPTIMIZER_DECLARE)

/* What these call is. */
#define MATRIX_DECLARE(KIND, name) extern const optimizer name##_optimizer;
#define MATRIX_ENTRY(KIND, name) {&name##_optimizer, &name##_optimizer, &name##_optimizer},
OPTIMIZERS_OF_MATRICES(MATRIX_DECLARE)

const optimizer *optimizer_row(optimizer_kind kind)
{
    static const optimizer *const rows[OPTIMIZER_KINDS][3] = {
        OPTIMIZERS_OF_SLICES(OPTIMIZER_ENTRY) OPTIMIZERS_OF_MATRICES(MATRIX_ENTRY)};
    return rows[kind][choose_level()];
}
#else
#define OPTIMIZER_DECLARE(KIND, name) extern const optimizer name##_optimizer;
#define OPTIMIZER_ENTRY(KIND, name) &name##_optimizer,
OPTIMIZERS(OPTIMIZER_DECLARE)

const optimizer *optimizer_row(optimizer_kind kind)
{
    static const optimizer *const rows[OPTIMIZER_KINDS] = {OPTIMIZERS(OPTIMIZER_ENTRY)};
    return rows[kind];
}
#endif

const optimizer_key *optimizer_find_key(const optimizer *row, const char *key)
{
    for (const optimizer_key *k = row->keys; k < row->keys + OPTIMIZER_SETTINGS && k->key; k++)
        if (strcmp(k->key, key) == 0) return k;
    return NULL;
}

const optimizer_key *optimizer_find_automatic(const optimizer *row, const char *key)
{
    const optimizer_key *end = row->automatic + OPTIMIZER_AUTOMATIC;
    for (const optimizer_key *k = row->automatic; k < end && k->key; k++)
        if (strcmp(k->key, key) == 0) return k;
    return NULL;
}

double optimizer_decay(const optimizer *row, const optimizer_settings *s, bool decayed)
{
    return decayed || row->decays_all ? s->weight_decay : 0.0;
}

void optimizer_sigma(const optimizer *row, float *sigma, const float *spread,
                     const optimizer_settings *s, double decay, size_t count)
{
    if (row->spread == SPREAD_HESSIAN)
        ivon_sigma(sigma, spread, s->ess, decay, count);
    else
        bbb_sigma(sigma, spread, count);
}

void optimizer_sample(const optimizer *row, void *theta, dtype type, const float *m,
                      const float *spread, const optimizer_settings *s, double decay, noise_key key,
                      uint64_t index, size_t count)
{
    if (row->spread == SPREAD_HESSIAN)
        sample_weights_from_hessian(theta, type, m, spread, s->ess, decay, key, index, count);
    else
        sample_weights_from_log(theta, type, m, spread, key, index, count);
}

/* Products of a step: an item is turned and its noise turned back; mean and direction likewise, two
 * factors followed; of Newton-Schulz five steps of three products. */
double optimizer_matrix_cost(const optimizer *row, const optimizer_settings *s, size_t rows,
                             size_t columns)
{
    double a = (double)rows, b = (double)columns, cost = a * b;
    double turn = (optimizer_has_basis(row, s, rows) ? 2.0 * a * a * b : 0.0) +
                  (optimizer_has_basis(row, s, columns) ? 2.0 * a * b * b : 0.0);
    double items = row->matrix->projects ? (double)s->mc_samples : 0.0;
    cost += turn * (2.0 * items + 3.0);
    if (optimizer_has_basis(row, s, rows)) cost += 8.0 * a * a * a / (double)s->basis_every;
    if (optimizer_has_basis(row, s, columns)) cost += 8.0 * b * b * b / (double)s->basis_every;
    double small = fmin(a, b);
    if (s->whiten || row->matrix->whitens)
        cost += 5.0 * (4.0 * small * a * b + 2.0 * small * small * small);
    return cost;
}

/* Beside what bases and whitening use: two matrices, and squares of the bases. */
size_t optimizer_matrix_work(const optimizer *row, const optimizer_settings *s, size_t rows,
                             size_t columns)
{
    bool left = optimizer_has_basis(row, s, rows), right = optimizer_has_basis(row, s, columns);
    size_t floats = basis_work_floats(rows, columns, left, right);
    size_t squares = rows * columns + (left ? rows * rows : 0) + (right ? columns * columns : 0);
    return 2 * rows * columns + (floats > squares ? floats : squares);
}

const optimizer *optimizer_rest(const optimizer_settings *s, double peak, optimizer_settings *rest,
                                double *rate)
{
    *rest = *s;
    *rate = peak > 0.0 ? s->rest_lr / peak : 0.0;
    if (s->rest == REST_IVON) {
        rest->rescale_lr = rest->debias = true;
        rest->nesterov = false;
        rest->largest = 0.0;
        return optimizer_row(OPTIMIZER_IVON);
    }
    rest->beta1 = 0.9;
    rest->beta2 = 0.95;
    rest->weight_decay = 0.1;
    return optimizer_row(OPTIMIZER_ADAMW);
}
