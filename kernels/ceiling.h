/** What this machine can do at max: the library's own products, with right operands in the layout
 * that it likes best. */
#ifndef VARIO_KERNELS_CEILING_H
#define VARIO_KERNELS_CEILING_H

#include "base/parameters.h"

/** Products of GPT-2 124M's shapes (768 x 2304, 768 x 768, 768 x 3072, 3072 x 768), ready to run
 * with the present number of threads. */
typedef struct products products;

/** Make the products; not collective. The first run may be slower than the next.
 * @param rows  of the left operands, at least 1
 * @return NULL when the type is not native or memory is short; ceiling_close frees it */
products *ceiling_open(dtype type, size_t rows);
void ceiling_close(products **all);

/** GFLOP/s (2 m n k a product) of the shapes in turn, over and over, until `seconds` have passed;
 * once at least. */
double ceiling_run(products *all, double seconds);

/** Median of several such runs over 4096 rows, about a second; 0 when the type is not native. */
double ceiling_product_rate(dtype type);

#endif
