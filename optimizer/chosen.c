/* Which level's loops run here. */
#include "kernels/choose.h"
#include "optimizer/optimizer.h"

CHOOSE(accumulate_piece)
CHOOSE(adamw_update)
CHOOSE(initial_weights)
CHOOSE(ivon_sigma)
CHOOSE(ivon_update)
CHOOSE(sample_weights)
CHOOSE(sample_weights_from_hessian)
CHOOSE(sgd_update)
CHOOSE(squared_blocks)
