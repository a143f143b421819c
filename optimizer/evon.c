/* EVON: IVON in the eigenbasis of SOAP's preconditioner (Minut et al., 2026, arXiv 2606.23357). */
#include "optimizer/matrix_row.h"

/* The first update of a run makes the bases and nothing else. */
static void update(const optimizer_matrix *m)
{
    const optimizer_settings *s = m->settings;
    const evon_step step = {.lambda = s->ess,
                            .delta = m->decay,
                            .beta1 = s->beta1,
                            .beta2 = s->beta2,
                            .clip = s->estimate_clip,
                            .updates = m->updates - 1,
                            .debias = true,
                            .nesterov = s->nesterov};
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        if (m->updates > 1) {
            float *direction = part.x;
            matrix_load(part.y, m->mean + part.first, DTYPE_F32, 1.0F, &part.place);
            basis_project(direction, part.y, &part.basis, part.work);
            evon_update(direction, part.arrays[0], part.arrays[1], direction, part.basis_sum,
                        part.f_sum, m->g_scale, m->f_scale, &step, part.count, m->clipped,
                        m->rescued);
            matrix_row_move(m, &part, direction, s->whiten, 0.0);
        }
        matrix_row_follow(m, &part, part.arrays[1], part.arrays[0]);
    }
}

static void sample(const optimizer_matrix *m, void *theta, dtype type, noise_key key)
{
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        matrix_deviations(part.x, part.arrays[0], m->settings->ess, m->decay, &part.place, key);
        basis_unproject(part.y, part.x, &part.basis, part.work);
        size_t bytes = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
        matrix_sample((char *)theta + part.first * bytes, type, m->mean + part.first, part.y,
                      &part.place, key);
    }
}

static void sigma(const optimizer_matrix *m, float *out)
{
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        ivon_sigma(part.x, part.arrays[0], m->settings->ess, m->decay, part.count);
        matrix_row_spread(out, m, &part);
    }
}

static void evon_describe(posterior_sums *sums, const optimizer_matrix *m)
{
    const optimizer_settings *s = m->settings;
    for (size_t k = 0; k < m->parts; k++) {
        matrix_part part = matrix_row_part(m, k);
        evon_statistics(sums, part.arrays[0], part.f_sum, m->f_scale, s->ess, m->decay, s->beta2,
                        s->estimate_clip, part.count);
    }
}

static double first_hessian(const optimizer_settings *s)
{
    return s->hessian_init;
}

static const matrix_hooks hooks = {.bases = true,
                                   .projects = true,
                                   .accumulate = matrix_row_accumulate,
                                   .update = update,
                                   .sample = sample,
                                   .sigma = sigma,
                                   .describe = evon_describe};

const optimizer evon_optimizer = {
    .name = "evon",
    .title = "EVON",
    .arrays = {{"", true, first_hessian}, {"momentum.", false, NULL}},
    .array_count = 2,
    .spread = SPREAD_HESSIAN,
    .estimates = true,
    .matrix = &hooks,
    .keys = {{"optimizer.settings", NULL},
             {"optimizer.temperature", NULL},
             {"data.observations", NULL},
             {"optimizer.ess", "1.0e+7"},
             {"optimizer.ess_final", NULL},
             {"optimizer.ess_course", NULL},
             {"optimizer.hessian_init", "0.1"},
             {"optimizer.beta1", "0.95"},
             {"optimizer.beta2", "0.999"},
             {"optimizer.weight_decay", "1.0e-6"},
             {"optimizer.mc_samples", NULL},
             {"optimizer.estimate_clip", NULL},
             {"optimizer.rest", NULL},
             {"optimizer.whiten", "true"},
             {"optimizer.adjust_lr", NULL},
             {"optimizer.nesterov", NULL},
             MATRIX_KEYS,
             BASIS_KEYS,
             {"schedule.peak", "0.01"},
             {"parallel.shard", "parameters"},
             {"sensitivity.every", NULL},
             {"sensitivity.examples", NULL},
             {"early_stop.kind", NULL},
             {"early_stop.patience", NULL}},
    .automatic = {{"optimizer.ess", NULL},
                  {"optimizer.ess_final", NULL},
                  {"optimizer.hessian_init", NULL},
                  {"optimizer.weight_decay", NULL},
                  {"optimizer.beta2", NULL},
                  {"optimizer.rest_lr", NULL},
                  {"optimizer.adjust_lr", "match_rms_adamw"},
                  {"optimizer.nesterov", "true"},
                  {"schedule.peak", "3.0e-3"}},
};
