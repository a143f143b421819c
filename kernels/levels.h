/** Included before each file that is compiled once for every level of instructions: gives its
 * public functions the level's name. kernels/levels.c chooses one when the program starts. Without
 * levels (other processors, sanitizers) the files are compiled once and nothing is renamed. */
#ifndef VARIO_KERNELS_LEVELS_H
#define VARIO_KERNELS_LEVELS_H

#define LEVEL_PASTE(name, level) name##_##level
#define LEVEL_NAME(name, level) LEVEL_PASTE(name, level)
#define LEVELED(name) LEVEL_NAME(name, VARIO_LEVEL)

#define attention_backward LEVELED(attention_backward)
#define attention_cached LEVELED(attention_cached)
#define attention_forward LEVELED(attention_forward)
#define attention_store LEVELED(attention_store)
#define attention_work_floats LEVELED(attention_work_floats)
#define bf16_from_float LEVELED(bf16_from_float)
#define bf16_to_float LEVELED(bf16_to_float)
#define bias_backward LEVELED(bias_backward)
#define bias_work_floats LEVELED(bias_work_floats)
#define convert LEVELED(convert)
#define cross_entropy LEVELED(cross_entropy)
#define dropout_apply LEVELED(dropout_apply)
#define gelu_backward LEVELED(gelu_backward)
#define gelu_forward LEVELED(gelu_forward)
#define gemv LEVELED(gemv)
#define gemv_columns LEVELED(gemv_columns)
#define gemv_rows LEVELED(gemv_rows)
#define layernorm_backward LEVELED(layernorm_backward)
#define layernorm_forward LEVELED(layernorm_forward)
#define layernorm_work_floats LEVELED(layernorm_work_floats)
#define noise_normals LEVELED(noise_normals)
#define noise_normals_reference LEVELED(noise_normals_reference)
#define noise_uniform_words LEVELED(noise_uniform_words)
#define noise_words LEVELED(noise_words)
#define residual_add LEVELED(residual_add)
#define residual_grad LEVELED(residual_grad)
#define tile_is_fast LEVELED(tile_is_fast)
#define tile_product LEVELED(tile_product)
#define weight_gradient LEVELED(weight_gradient)
#define weight_gradient_work_floats LEVELED(weight_gradient_work_floats)
#define accumulate_piece LEVELED(accumulate_piece)
#define adamw_update LEVELED(adamw_update)
#define initial_weights LEVELED(initial_weights)
#define ivon_sigma LEVELED(ivon_sigma)
#define ivon_update LEVELED(ivon_update)
#define sample_weights LEVELED(sample_weights)
#define sample_weights_from_hessian LEVELED(sample_weights_from_hessian)
#define sgd_update LEVELED(sgd_update)
#define squared_blocks LEVELED(squared_blocks)

#endif
