/* Four rows by four vectors of accumulators, or by one. This file is compiled with contraction on:
 * here a fused multiply-add is what is wanted, and one kernel serves all callers. */
#include "kernels/tile.h"

#include "kernels/kernels.h"
#include "kernels/tile_amx.h"

#include <string.h>

/* Where the processor may have products of bf16 pairs: not worth it in the lower levels. */
#if defined(__x86_64__) && (defined(__AVX512F__) || !defined(VARIO_LEVEL))
#define HAS_NATIVE_PAIRS
#include <immintrin.h>
#endif

typedef float lanes __attribute__((vector_size(TILE_LANES * sizeof(float))));
typedef word words __attribute__((vector_size(TILE_LANES * sizeof(word))));
typedef float unaligned_lanes
    __attribute__((vector_size(TILE_LANES * sizeof(float)), aligned(4), may_alias));
typedef word unaligned_words
    __attribute__((vector_size(TILE_LANES * sizeof(word)), aligned(4), may_alias));

static inline float as_float(word x)
{
    float out;
    memcpy(&out, &x, sizeof out);
    return out;
}

/* c += a b for a word a and a vector of words b. Macros, since a function that takes vectors has
 * another calling convention in each clone. */
#define ADD_FLOATS(c, a, b) ((c) += as_float(a) * (lanes)(b))
#define ADD_PAIRS(c, a, b)                                                                         \
    ((c) += as_float((a) << 16) * (lanes)((b) << 16),                                              \
     (c) += as_float((a)&0xffff0000U) * (lanes)((b)&0xffff0000U))
#define ADD_PAIRS_AVX512(c, a, b)                                                                  \
    ((c) = (lanes)_mm512_dpbf16_ps((__m512)(c), (__m512bh)_mm512_set1_epi32((int)(a)),             \
                                   (__m512bh)(b)))

/* Blocks of TILE_ROWS by `vectors` accumulators, which stay in registers once the loops over them
 * are unrolled, for all rows. What is added to is asked for before it is needed. */
#define DEFINE_BLOCKS(name, attributes, vectors, add)                                              \
    attributes static void name(float *out, size_t ldc, tile_left a, const word *b, size_t ldb,    \
                                size_t m, size_t k, bool accumulate)                               \
    {                                                                                              \
        for (; m > 0; m -= TILE_ROWS, out += TILE_ROWS * ldc, a.words += TILE_ROWS * a.row) {      \
            lanes c[TILE_ROWS][vectors] = {{{0}}};                                                 \
            const word *al = a.words, *bl = b;                                                     \
            for (size_t i = 0; accumulate && i < TILE_ROWS; i++)                                   \
                for (size_t j = 0; j < (vectors); j++)                                             \
                    __builtin_prefetch(out + i * ldc + j * TILE_LANES, 1);                         \
            for (size_t l = 0; l < k; l++, al += a.column, bl += ldb) {                            \
                words x[vectors];                                                                  \
                _Pragma("GCC unroll 4") for (size_t j = 0; j < (vectors); j++) x[j] =              \
                    *(const unaligned_words *)(bl + j * TILE_LANES);                               \
                _Pragma("GCC unroll 4") for (size_t i = 0; i < TILE_ROWS; i++)                     \
                {                                                                                  \
                    _Pragma("GCC unroll 4") for (size_t j = 0; j < (vectors); j++)                 \
                        add(c[i][j], al[i * a.row], x[j]);                                         \
                }                                                                                  \
            }                                                                                      \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < TILE_ROWS; i++)                         \
            {                                                                                      \
                _Pragma("GCC unroll 4") for (size_t j = 0; j < (vectors); j++)                     \
                {                                                                                  \
                    unaligned_lanes *o = (unaligned_lanes *)(out + i * ldc + j * TILE_LANES);      \
                    if (accumulate) c[i][j] += *o;                                                 \
                    *o = c[i][j];                                                                  \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_BLOCKS(floats_wide, , 4, ADD_FLOATS)
DEFINE_BLOCKS(floats_narrow, , 1, ADD_FLOATS)
DEFINE_BLOCKS(pairs_wide, , 4, ADD_PAIRS)
DEFINE_BLOCKS(pairs_narrow, , 1, ADD_PAIRS)

typedef void block(float *out, size_t ldc, tile_left a, const word *b, size_t ldb, size_t m,
                   size_t k, bool accumulate);

typedef struct {
    block *wide, *narrow;
} blocks;

#if defined(HAS_NATIVE_PAIRS)
DEFINE_BLOCKS(native_wide, __attribute__((target("avx512f,avx512bf16"))), 4, ADD_PAIRS_AVX512)
DEFINE_BLOCKS(native_narrow, __attribute__((target("avx512f,avx512bf16"))), 1, ADD_PAIRS_AVX512)

static blocks pair_blocks(void)
{
    return kernels_native_bf16() ? (blocks){native_wide, native_narrow}
                                 : (blocks){pairs_wide, pairs_narrow};
}
#else
static blocks pair_blocks(void)
{
    return (blocks){pairs_wide, pairs_narrow};
}
#endif

bool tile_is_fast(dtype type)
{
#if defined(__AVX512F__)
    if (type == DTYPE_F32) return true;
#endif
#if defined(HAS_NATIVE_PAIRS)
    if (type == DTYPE_BF16) return kernels_native_bf16() && !kernels_bf16_in_tiles();
#endif
    (void)type;
    return false;
}

void tile_product(dtype type, float *out, size_t ldc, tile_left a, const word *b, size_t ldb,
                  size_t m, size_t n, size_t k, bool accumulate)
{
    if (type == DTYPE_BF16 && kernels_bf16_in_tiles() &&
        tile_amx_product(out, ldc, a, b, ldb, m, n, k, accumulate))
        return;
    blocks of = type == DTYPE_BF16 ? pair_blocks() : (blocks){floats_wide, floats_narrow};
    size_t j = 0;
    for (; j + 4 * TILE_LANES <= n; j += 4 * TILE_LANES)
        of.wide(out + j, ldc, a, b + j, ldb, m, k, accumulate);
    for (; j < n; j += TILE_LANES) of.narrow(out + j, ldc, a, b + j, ldb, m, k, accumulate);
}
