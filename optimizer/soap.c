/* SOAP (Vyas et al., 2024, arXiv 2409.11321): Adam in the eigenbasis of Shampoo's preconditioner.
 */
#include "optimizer/matrix_row.h"

/* The first update of a run makes the bases and nothing else. */
static void update(const optimizer_matrix *m)
{
    const optimizer_settings *s = m->settings;
    const soap_step step = {
        .beta1 = s->beta1, .beta2 = s->beta2, .epsilon = s->epsilon, .updates = m->updates - 1};
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        if (m->updates > 1) {
            basis_project(part.x, part.g_sum, &part.basis, part.work);
            soap_update(part.x, part.arrays[1], part.arrays[0], part.x, m->g_scale, &step,
                        part.count);
            matrix_row_move(m, &part, part.x, false, m->lr * m->decay);
        }
        matrix_row_follow(m, &part, part.arrays[0], part.arrays[1]);
    }
}

static const matrix_hooks hooks = {
    .bases = true, .accumulate = matrix_row_accumulate, .update = update};

const optimizer soap_optimizer = {
    .name = "soap",
    .title = "SOAP",
    .arrays = {{"exp_avg.", false, NULL}, {"exp_avg_sq.", false, NULL}},
    .array_count = 2,
    .matrix = &hooks,
    .keys = {{"optimizer.beta1", "0.95"},
             {"optimizer.beta2", "0.95"},
             {"optimizer.weight_decay", "0.01"},
             {"schedule.peak", "3.0e-3"},
             {"parallel.shard", "parameters"},
             MATRIX_KEYS,
             BASIS_KEYS},
};
