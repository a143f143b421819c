/* Cholesky and two substitutions. */
#include "posterior/small.h"

#include <math.h>

void small_factor(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (size_t k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
            if (i == j)
                a[i * n + i] = sqrt(fmax(sum, 0.0));
            else
                a[i * n + j] = a[j * n + j] > 0.0 ? sum / a[j * n + j] : 0.0;
        }
}

void small_solve(double *a, double *x, size_t n)
{
    small_factor(a, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) x[i] -= a[i * n + k] * x[k];
        x[i] /= a[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++) x[i] -= a[k * n + i] * x[k];
        x[i] /= a[i * n + i];
    }
}
