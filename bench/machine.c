/* Multiply-adds in registers, and streams through memory. */
#include "bench/machine.h"

#include "base/memory.h"
#include "bench/report.h"
#include "kernels/tile.h"

#include <omp.h>

enum { REPEATS = 9 };

/* One block of the tile kernel whose operands do not move: strides of 0. */
double machine_multiply_add(dtype type)
{
    enum { WORDS = 1 << 20, BLOCK_ROWS = 4, BLOCK_COLUMNS = 64 };
    double rates[REPEATS];
    double flops = 2.0 * BLOCK_ROWS * BLOCK_COLUMNS * WORDS * (type == DTYPE_BF16 ? 2 : 1);
    for (int i = 0; i < REPEATS; i++) {
        double start = omp_get_wtime();
#pragma omp parallel
        {
            static const word zeros[BLOCK_COLUMNS];
            float out[BLOCK_ROWS * BLOCK_COLUMNS];
            tile_product(type, out, BLOCK_COLUMNS, (tile_left){zeros, 0, 0}, zeros, 0, BLOCK_ROWS,
                         BLOCK_COLUMNS, WORDS, false);
        }
        rates[i] = 1e-9 * flops * omp_get_max_threads() / (omp_get_wtime() - start);
    }
    return report_median(rates, REPEATS);
}

typedef enum { TRIAD, COPY, UPDATE, STREAMS } stream_kind;

static double stream_seconds(stream_kind kind, float *restrict a, const float *restrict b,
                             const float *restrict c, size_t n)
{
    double start = omp_get_wtime();
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++) {
        if (kind == TRIAD)
            a[i] = b[i] + 0.5F * c[i];
        else
            a[i] = kind == COPY ? b[i] : 0.5F * a[i] + b[i];
    }
    return omp_get_wtime() - start;
}

machine_memory machine_memory_rates(void)
{
    enum { COUNT = 1 << 25 };
    static const double arrays[STREAMS] = {3.0, 2.0, 3.0};
    double rates[STREAMS][REPEATS];
    arena memory;
    if (arena_open(&memory, "streams", 3 * (size_t)COUNT * sizeof(float)))
        return (machine_memory){0};
    float *a = arena_take(&memory, COUNT * sizeof *a);
    float *b = arena_take(&memory, COUNT * sizeof *b);
    float *c = arena_take(&memory, COUNT * sizeof *c);
    for (int i = 0; i < REPEATS; i++)
        for (int kind = 0; kind < STREAMS; kind++)
            rates[kind][i] =
                4e-9 * COUNT * arrays[kind] / stream_seconds((stream_kind)kind, a, b, c, COUNT);
    arena_close(&memory);
    return (machine_memory){report_median(rates[TRIAD], REPEATS),
                            report_median(rates[COPY], REPEATS),
                            report_median(rates[UPDATE], REPEATS)};
}
