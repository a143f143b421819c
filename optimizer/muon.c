/* Muon (Jordan et al., 2024): momentum whose singular values Newton-Schulz's steps make equal. */
#include "optimizer/matrix_row.h"

#include <math.h>

/* Weights are (in, out): a wider output takes longer steps. */
static void update(const optimizer_matrix *m)
{
    double wide = sqrt(fmax(1.0, (double)m->columns / (double)m->rows));
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        muon_update(part.x, part.arrays[0], part.g_sum, m->g_scale, m->settings->beta1, true,
                    part.count);
        matrix_row_move(m, &part, part.x, true, wide, m->lr * m->decay);
    }
}

static const matrix_hooks hooks = {
    .whitens = true, .accumulate = matrix_row_accumulate, .update = update};

const optimizer muon_optimizer = {
    .name = "muon",
    .title = "Muon",
    .arrays = {{"momentum_buffer.", false, NULL}},
    .array_count = 1,
    .matrix = &hooks,
    .keys = {{"optimizer.beta1", "0.95"},
             {"optimizer.weight_decay", "0.01"},
             {"schedule.peak", "0.02"},
             {"parallel.shard", "parameters"},
             MATRIX_KEYS},
};
