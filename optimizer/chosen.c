/* Which level's loops run here. */
#include "kernels/choose.h"
#include "optimizer/matrix.h"
#include "optimizer/optimizer.h"

CHOOSE(accumulate_piece)
CHOOSE(adamw_update)
CHOOSE(bbb_sigma)
CHOOSE(bbb_update)
CHOOSE(evon_update)
CHOOSE(initial_weights)
CHOOSE(ivon_sigma)
CHOOSE(ivon_update)
CHOOSE(matrix_accumulate)
CHOOSE(matrix_deviations)
CHOOSE(matrix_load)
CHOOSE(matrix_move)
CHOOSE(matrix_polynomial)
CHOOSE(matrix_sample)
CHOOSE(matrix_scale)
CHOOSE(muon_update)
CHOOSE(sample_weights)
CHOOSE(sample_weights_from_hessian)
CHOOSE(sample_weights_from_log)
CHOOSE(sample_weights_swag)
CHOOSE(sgd_update)
CHOOSE(soap_update)
CHOOSE(squared_blocks)
