/* Muon (Jordan et al., 2024): momentum whose singular values Newton-Schulz's steps make equal. */
#include "optimizer/matrix_row.h"

static void update(const optimizer_matrix *m)
{
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        muon_update(part.x, part.arrays[0], part.g_sum, m->g_scale, m->settings->beta1,
                    m->settings->nesterov, part.count);
        matrix_row_move(m, &part, part.x, true, m->lr * m->decay);
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
             {"optimizer.nesterov", "true"},
             {"optimizer.adjust_lr", "original"},
             {"optimizer.weight_decay", "0.01"},
             {"schedule.peak", "0.02"},
             {"parallel.shard", "parameters"},
             MATRIX_KEYS},
};
