/* Which level's loops run here: those that optimizers need, apart from the models', whose products
 * need a library. */
#include "kernels/choose.h"
#include "kernels/kernels.h"

CHOOSE(bf16_from_float)
CHOOSE(bf16_to_float)
CHOOSE(convert)
CHOOSE(noise_normals)
CHOOSE(noise_normals_reference)
CHOOSE(noise_uniform_words)
CHOOSE(noise_words)
