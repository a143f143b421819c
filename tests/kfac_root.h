/* What a layer's samples are multiplied by, against the dense algebra of its Kronecker product. */
#ifndef VARIO_TESTS_KFAC_ROOT_H
#define VARIO_TESTS_KFAC_ROOT_H

#include "kernels/reference.h"
#include "posterior/kfac.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Squared the root is the dense inverse, so its square times lambda A (x) G + tau is the identity:
 * how far it is from that, and from being symmetric (Frobenius norm). */
static inline double kfac_root_error(const kfac_layer *l, const double *a, const double *g)
{
    size_t O = l->out, n = l->in * O;
    double *root = calloc(n * n, sizeof *root), *square = calloc(n * n, sizeof *square);
    double *precision = calloc(n * n, sizeof *precision), *product = calloc(n * n, sizeof *product);
    double far = 0.0;
    for (size_t i = 0; i < n; i++) {
        root[i * n + i] = 1.0;
        kfac_spread(root + i * n, product, l);
        for (size_t j = 0; j < n; j++)
            precision[i * n + j] =
                l->lambda * a[i / O * l->in + j / O] * g[i % O * O + j % O] + (i == j ? l->tau : 0);
    }
    reference_gemm(n, n, n, root, n, true, root, n, false, square, n, NULL, false);
    reference_gemm(n, n, n, square, n, false, precision, n, false, product, n, NULL, false);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            far += pow(root[i * n + j] - root[j * n + i], 2.0);
            far += pow(product[i * n + j] - (i == j ? 1.0 : 0.0), 2.0);
        }
    free(root);
    free(square);
    free(precision);
    free(product);
    return sqrt(far);
}

#endif
