/** What this machine can do at most. */
#ifndef VARIO_BENCH_CEILING_H
#define VARIO_BENCH_CEILING_H

#include "base/parameters.h"

/** GFLOP/s (2 m n k a product) of the library's own products with packed weights, the present
 * threads: the median over GPT-2 124M's shapes (768 x 2304, 768 x 768, 768 x 3072, 3072 x 768) for
 * 4096 rows of the median of repeated runs. 0 when the type is not native. */
double ceiling_product_rate(dtype type);

#endif
