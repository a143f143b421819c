/* Which level's loops run here. */
#include "kernels/choose.h"
#include "kernels/kernels.h"
#include "kernels/tile.h"

CHOOSE(attention_backward)
CHOOSE(attention_forward)
CHOOSE(attention_work_floats)
CHOOSE(bf16_from_float)
CHOOSE(bf16_to_float)
CHOOSE(bias_backward)
CHOOSE(bias_work_floats)
CHOOSE(convert)
CHOOSE(cross_entropy)
CHOOSE(dropout_apply)
CHOOSE(gelu_backward)
CHOOSE(gelu_forward)
CHOOSE(layernorm_backward)
CHOOSE(layernorm_forward)
CHOOSE(layernorm_work_floats)
CHOOSE(noise_normals)
CHOOSE(noise_normals_reference)
CHOOSE(noise_uniform_words)
CHOOSE(noise_words)
CHOOSE(residual_add)
CHOOSE(residual_grad)
CHOOSE(tile_product)
