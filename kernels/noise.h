/** Noise as a pure function of what it is for: Philox4x32-10 and Box-Muller.
 *
 * Key = (seed mod 2^32, seed div 2^32); counter c0 = low word of i/4, c1 = high bits of i/4 or'ed
 * with stream << 24, c2 = sample, c3 = step, for element i of the logical parameter vector. Words
 * r0..r3 give normals z0..z3 of elements 4(i/4)..+3, pairwise: u = ((r0 >> 9) + 0.5) 2^-23,
 * v = (r1 >> 9) 2^-23, z0 = sqrt(-2 ln u) cos 2 pi v, z1 = sqrt(-2 ln u) sin 2 pi v; z2, z3 from
 * r2, r3. The low 9 bits of r_(i mod 4) are element i's rounding bits.
 */
#ifndef VARIO_KERNELS_NOISE_H
#define VARIO_KERNELS_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    STREAM_WEIGHTS = 0,
    STREAM_INITIAL = 1,
    STREAM_DROPOUT = 2,
    STREAM_DATA = 3,
    STREAM_POSTERIOR = 4,
    STREAM_TEXT = 5,
    STREAM_EXAMPLES = 6,
    STREAM_LABELS = 7,
} noise_stream;

typedef struct {
    uint64_t seed;
    uint32_t stream; /**< noise_stream */
    uint32_t sample; /**< work item w in training, sample s at evaluation */
    uint32_t step;
    bool mirrored; /**< its normals with the other sign; words are the same */
} noise_key;

enum { NOISE_BLOCK = 256 };

/** Of a posterior sample at evaluation. @param antithetic  samples 2k and 2k + 1 are sample k of
 * those that are not, and its mirror image on the other side of the mean */
static inline noise_key noise_key_of_sample(uint64_t seed, uint32_t sample, bool antithetic)
{
    return (noise_key){.seed = seed,
                       .stream = STREAM_POSTERIOR,
                       .sample = antithetic ? sample / 2 : sample,
                       .mirrored = antithetic && sample % 2 == 1};
}

/** One Philox4x32-10 block. */
void noise_words(uint32_t out[4], uint64_t seed, const uint32_t counter[4]);

/** Normals of elements [first, first + count), and their rounding words.
 *
 * The same element gets the same bits whatever first and count are. Single-threaded: callers call
 * it per block of at most NOISE_BLOCK elements inside their own parallel loops.
 *
 * @param normals  [count] out
 * @param words    [count] out: the Philox words r_(i mod 4); may be NULL
 * @param count    at most NOISE_BLOCK
 */
void noise_normals(float *normals, uint32_t *words, noise_key key, uint64_t first, size_t count);

/** The words alone, for dropout: element i's word r_(i mod 4). As noise_normals. */
void noise_uniform_words(uint32_t *words, noise_key key, uint64_t first, size_t count);

/** The same numbers by libm in double precision, one at a time: the reference twin. */
void noise_normals_reference(double *normals, noise_key key, uint64_t first, size_t count);

#endif
