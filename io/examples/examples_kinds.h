/** The kinds of data sets, behind io/examples/examples.h, and how generated ones draw. */
#ifndef VARIO_IO_EXAMPLES_EXAMPLES_KINDS_H
#define VARIO_IO_EXAMPLES_EXAMPLES_KINDS_H

#include "io/examples/examples.h"
#include "kernels/noise.h"

enum { EXAMPLES_CLASSES = 65536 }; /* that a uint16_t can name */

struct examples {
    char *text; /* the spec's, for messages */
    uint64_t seed;
    uint64_t first, count; /* row i is example first + i of the set; files begin with 0 */
    uint64_t *kept;        /* [count] numbers of the rows; NULL: all from the first on */
    size_t features;
    size_t limit; /* a class must be below it */
    size_t inputs, outputs;
    bool classes;
    double mislabelled;
    void *data; /* of the kind */

    /* Example number: inputs may be NULL; of label and value the one that applies is set. */
    void (*row)(const examples *x, uint64_t number, float *inputs, uint16_t *label, float *value);
    void (*close)(examples *x); /* frees data; NULL: there is none */
};

/** Open what stands after the colon; not collective.
 *
 * @param x  in: zeros but for text, seed, features, limit, classes, mislabelled, and first and
 * count of a generated set; out: inputs, outputs, row, where there is something to free data and
 * close, and count of a file. After a failure close frees what there is
 */
status glyphs_open(examples *x, const char *where);
status letters_open(examples *x, const char *where);
status curve_open(examples *x, const char *where);
status moons_open(examples *x, const char *where);
status idx_open(examples *x, const char *where);
status cifar_open(examples *x, const char *where);
status csv_open(examples *x, const char *where);

/** What is drawn; the step of the Philox counter. */
typedef enum {
    GENERATED_GLYPHS = 0,
    GENERATED_LETTERS = 1,
    GENERATED_CURVE = 2,
    GENERATED_MOONS = 3,
    GENERATED_MISTAKES = 4,
} generated_kind;

/** The key of an example's elements: words, or normals. number < 2^32. */
static inline noise_key draw_key(uint64_t seed, generated_kind kind, uint64_t number)
{
    return (noise_key){.seed = seed,
                       .stream = STREAM_EXAMPLES,
                       .sample = (uint32_t)number,
                       .step = (uint32_t)kind};
}

/** A whole number below n from a word. */
static inline unsigned draw_below(uint32_t word, size_t n)
{
    return (unsigned)((uint64_t)word * n >> 32);
}

/** A multiple of 2^-24 in [0, 1) from a word. */
static inline float draw_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24F;
}

#endif
