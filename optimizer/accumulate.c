/* Gradient pieces added up, with the noise that their weights were drawn with, in blocks of
 * NOISE_BLOCK elements. */
#include "optimizer/accumulate.h"

#include <string.h>

static void widen(float *out, const bf16 *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)in[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static void add_scaled(float *sum, const float *piece, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) sum[i] += scale * piece[i];
}

static void add_price(float *g_sum, float *f_sum, const float *piece, const float *z, float scale,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = scale * piece[i];
        g_sum[i] += g;
        f_sum[i] += z[i] * g;
    }
}

static void add_squares(float *g_sum, float *f_sum, const float *piece, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = scale * piece[i];
        g_sum[i] += g;
        f_sum[i] += g * g;
    }
}

static void add_block(float *g, float *f, const void *values, const gradient_piece *piece,
                      hessian_kind hessian, uint64_t index, size_t n)
{
    _Alignas(64) float wide[NOISE_BLOCK], z[NOISE_BLOCK];
    const float *from = piece->type == DTYPE_BF16 ? wide : values;
    if (piece->type == DTYPE_BF16) widen(wide, values, n);
    if (!f) {
        add_scaled(g, from, piece->scale, n);
    } else if (hessian == HESSIAN_GRADSQ) {
        add_squares(g, f, from, piece->scale, n);
    } else {
        noise_normals(z, NULL, piece->key, index, n);
        add_price(g, f, from, z, piece->scale, n);
    }
}

void accumulate_run(float *g, float *f, const gradient_piece *piece, hessian_kind hessian,
                    uint64_t index, size_t at, size_t n)
{
    size_t element = piece->type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    for (size_t done = 0; done < n; done += NOISE_BLOCK) {
        size_t length = n - done < NOISE_BLOCK ? n - done : NOISE_BLOCK, from = at + done;
        add_block(g + done, f ? f + done : NULL, (const char *)piece->values + from * element,
                  piece, hessian, index + from, length);
    }
}

/* A new sum is cleared block by block, where it is added to at once. */
void accumulate_piece(float *g_sum, float *f_sum, bool first, const gradient_piece *piece,
                      hessian_kind hessian, uint64_t index, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += NOISE_BLOCK) {
        size_t n = count - at < NOISE_BLOCK ? count - at : NOISE_BLOCK;
        float *f = f_sum ? f_sum + at : NULL;
        if (first) memset(g_sum + at, 0, n * sizeof *g_sum);
        if (first && f) memset(f, 0, n * sizeof *f);
        accumulate_run(g_sum + at, f, piece, hessian, index, at, n);
    }
}
