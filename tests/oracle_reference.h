/* Ridge and softmax regressions from their rows, one by one. */
#ifndef VARIO_TESTS_ORACLE_REFERENCE_H
#define VARIO_TESTS_ORACLE_REFERENCE_H

#include "dense_fixture.h"
#include "trainer_fixture.h"

enum { ROWS = 200, MOST = 24 /* unknowns */, CLASSES = 3 };

/* Inputs and a one, and the value, of every row. */
typedef struct {
    size_t n, rows;
    double x[ROWS][MOST], y[ROWS];
    uint16_t label[ROWS];
} table;

static inline void read_table(const running *e, table *t)
{
    dataset_batch b;
    t->rows = (size_t)dataset_count(e->data);
    t->n = e->j.model.mlp.inputs + 1;
    cr_assert_eq(dataset_batch_open(&b, &e->j), STATUS_OK);
    for (size_t i = 0; i < t->rows; i++) {
        cr_assert_eq(dataset_window(e->data, i, &b, 0), STATUS_OK);
        for (size_t k = 0; k + 1 < t->n; k++) t->x[i][k] = (double)b.inputs[k];
        t->x[i][t->n - 1] = 1.0;
        if (b.values) t->y[i] = (double)b.values[0];
        if (b.targets) t->label[i] = b.targets[0];
    }
    dataset_batch_close(&b);
}

/* Ridge regression without rows a and b: Lambda's factor and the mode; returns the log evidence. */
static inline double reference_ridge(const table *t, double weight, double noise, double prior,
                                     size_t a, size_t b, double *l, double *mode)
{
    size_t n = t->n;
    double objective = 0.0, evidence = 0.0;
    memset(l, 0, n * n * sizeof *l);
    memset(mode, 0, n * sizeof *mode);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t i = 0; r != a && r != b && i < n; i++) {
            mode[i] += weight / noise * t->x[r][i] * t->y[r];
            for (size_t k = 0; k < n; k++) l[i * n + k] += weight / noise * t->x[r][i] * t->x[r][k];
        }
    for (size_t i = 0; i + 1 < n; i++) l[i * n + i] += prior;
    reference_factor(l, n);
    reference_solve(l, mode, n);
    for (size_t r = 0; r < t->rows; r++) {
        double error = -t->y[r];
        for (size_t i = 0; i < n; i++) error += t->x[r][i] * mode[i];
        if (r != a && r != b)
            objective += weight * 0.5 * (error * error / noise + log(8.0 * atan(1.0) * noise));
    }
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n) objective += 0.5 * prior * mode[i] * mode[i];
        evidence += 0.5 * log(i + 1 < n ? prior : 8.0 * atan(1.0)) - log(l[i * n + i]);
    }
    return evidence - objective;
}

/* Probabilities of the softmax regression at theta (in, out), biases last. */
static inline void probabilities(const table *t, const double *theta, size_t row, double *p)
{
    double sum = 0.0;
    for (size_t c = 0; c < CLASSES; c++) {
        p[c] = 0.0;
        for (size_t i = 0; i < t->n; i++) p[c] += t->x[row][i] * theta[i * CLASSES + c];
        sum += p[c] = exp(p[c]);
    }
    for (size_t c = 0; c < CLASSES; c++) p[c] /= sum;
}

/* Gradient and precision of weight sum of losses + prior, without rows a and b. */
static inline void reference_softmax(const table *t, const double *theta, double weight,
                                     const double *prior, size_t a, size_t b, double *g, double *h)
{
    size_t n = t->n * CLASSES;
    memset(h, 0, n * n * sizeof *h);
    for (size_t i = 0; i < n; i++) {
        g[i] = prior[i] * theta[i];
        h[i * n + i] = prior[i];
    }
    for (size_t r = 0; r < t->rows; r++) {
        double p[CLASSES];
        probabilities(t, theta, r, p);
        for (size_t i = 0; r != a && r != b && i < n; i++) {
            size_t c = i % CLASSES;
            g[i] += weight * t->x[r][i / CLASSES] * (p[c] - (t->label[r] == c));
            for (size_t k = 0; k < n; k++)
                h[i * n + k] += weight * t->x[r][i / CLASSES] * t->x[r][k / CLASSES] * p[c] *
                                ((k % CLASSES == c) - p[k % CLASSES]);
        }
    }
}

#endif
