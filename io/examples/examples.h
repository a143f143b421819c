/** Data sets of examples, an array of numbers and a target each: for linear models and perceptrons.
 *
 * A text says which one:
 *
 *     glyphs:FIRST-LAST   digits drawn under random transformations, 28 x 28, 10 classes
 *     letters:FIRST-LAST  letters drawn alike, none that looks like a digit: out of distribution
 *     curve:FIRST-LAST    y = f(x) + noise with a gap in x
 *     moons:FIRST-LAST    two half circles and noise, 2 classes
 *     idx:IMAGES,LABELS   MNIST's pair of files
 *     cifar:PATTERN       CIFAR-10's binary batches
 *     csv:FILE            a header line, then numbers; the last column is the target
 *
 * glyphs, letters and moons may be followed by /A-B: only examples of classes A to B, in their
 * order. Examples FIRST to LAST, both included, of a generated set are pure functions of (seed,
 * number), with the same bits everywhere. docs/data.md defines them.
 */
#ifndef VARIO_IO_EXAMPLES_EXAMPLES_H
#define VARIO_IO_EXAMPLES_EXAMPLES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct examples examples;

typedef struct {
    const char *text;   /**< "glyphs:0-9999" */
    uint64_t seed;      /**< of generated sets, and of the choice of mislabelled rows */
    size_t features;    /**< curve: 0 gives x itself, k gives k Gaussian bumps; else 0 */
    size_t outputs;     /**< classes that the model has: a class beyond is refused; 0: as found */
    double mislabelled; /**< share of rows that get a wrong class, in [0, 1) */
} examples_spec;

/** Open a data set and check all of it; not collective.
 *
 * @param values  real targets are wanted, else classes
 * @return STATUS_OK, STATUS_INPUT (a text or a file that is wrong), STATUS_IO or STATUS_NOMEM; on
 *         failure *x is NULL
 */
status examples_open(examples **x, const examples_spec *spec, bool values);
void examples_close(examples **x);

uint64_t examples_count(const examples *x); /**< from 1 */
size_t examples_inputs(const examples *x);  /**< numbers a row */

/** Classes (spec.outputs, or as many as were found), or values a row. */
size_t examples_outputs(const examples *x);
bool examples_classes(const examples *x); /**< the targets are classes, not values */

/** Row i, to any number of threads at once; allocates nothing.
 *
 * @param inputs  [examples_inputs] out; may be NULL
 * @param label   out: the class, wrong where examples_mislabelled; may be NULL; untouched where
 *                the targets are values
 * @param values  [examples_outputs] out: the values; may be NULL; untouched where the targets are
 *                classes
 * @return STATUS_OK or STATUS_INPUT: there is no row i
 */
status examples_row(const examples *x, uint64_t i, float *inputs, uint16_t *label, float *values);

/** Whether row i got a wrong class by spec.mislabelled. i < examples_count. */
bool examples_mislabelled(const examples *x, uint64_t i);

#endif
