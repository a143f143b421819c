#include "posterior/kfac.h"

#include "kernels/dense.h"

#include <math.h>

void kfac_widen_inputs(double *out, const float *x, size_t rows, size_t width, size_t bias)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        double *to = out + r * (width + bias);
        for (size_t i = 0; i < width; i++) to[i] = (double)x[r * width + i];
        if (bias) to[width] = 1.0;
    }
}

void kfac_widen_gradients(double *out, const float *x, double factor, const double *roots,
                          size_t rows, size_t width)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < width; i++)
            out[r * width + i] = factor * roots[r] * (double)x[r * width + i];
}

double kfac_mean(double *factor, double rows, size_t n)
{
    double trace = 0.0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            double mean = factor[i * n + j] / rows;
            factor[i * n + j] = factor[j * n + i] = mean;
        }
        trace += factor[i * n + i];
    }
    return trace;
}

static void scale_by_root(double *z, const kfac_layer *l)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < l->in; i++)
        for (size_t j = 0; j < l->out; j++)
            z[i * l->out + j] /= sqrt(l->lambda * fmax(l->a[i], 0.0) * fmax(l->b[j], 0.0) + l->tau);
}

/* Rows of u and v are eigenvectors: u is U^T. */
void kfac_spread(double *z, double *work, const kfac_layer *l)
{
    size_t in = l->in, out = l->out;
    dense_product(work, l->u, false, z, false, in, out, in);
    dense_product(z, work, false, l->v, true, in, out, out);
    scale_by_root(z, l);
    dense_product(work, l->u, true, z, false, in, out, in);
    dense_product(z, work, false, l->v, false, in, out, out);
}

void kfac_noise(double *z, noise_key key, uint64_t first, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += NOISE_BLOCK) {
        size_t n = count - at < NOISE_BLOCK ? count - at : NOISE_BLOCK;
        float normals[NOISE_BLOCK];
        noise_normals(normals, NULL, key, first + at, n);
        for (size_t i = 0; i < n; i++) z[at + i] = (double)normals[i];
    }
}
