/* Rows by kind, and what their columns mean for slices. */
#include "optimizer/table.h"

#include <string.h>

#ifdef VARIO_LEVELS
#include "kernels/choose.h"

/* A row's functions are those of its level. */
#define OPTIMIZER_DECLARE(KIND, name)                                                              \
    extern const optimizer name##_optimizer_base, name##_optimizer_v3, name##_optimizer_v4;
#define OPTIMIZER_ENTRY(KIND, name)                                                                \
    {&name##_optimizer_base, &name##_optimizer_v3, &name##_optimizer_v4},
OPTIMIZERS(OPTIMIZER_DECLARE)

const optimizer *optimizer_row(optimizer_kind kind)
{
    static const optimizer *const rows[OPTIMIZER_KINDS][3] = {OPTIMIZERS(OPTIMIZER_ENTRY)};
    return rows[kind][choose_level()];
}
#else
#define OPTIMIZER_DECLARE(KIND, name) extern const optimizer name##_optimizer;
#define OPTIMIZER_ENTRY(KIND, name) &name##_optimizer,
OPTIMIZERS(OPTIMIZER_DECLARE)

const optimizer *optimizer_row(optimizer_kind kind)
{
    static const optimizer *const rows[OPTIMIZER_KINDS] = {OPTIMIZERS(OPTIMIZER_ENTRY)};
    return rows[kind];
}
#endif

const optimizer_key *optimizer_find_key(const optimizer *row, const char *key)
{
    for (const optimizer_key *k = row->keys; k < row->keys + OPTIMIZER_SETTINGS && k->key; k++)
        if (strcmp(k->key, key) == 0) return k;
    return NULL;
}

double optimizer_decay(const optimizer *row, const optimizer_settings *s, bool decayed)
{
    return decayed || row->decays_all ? s->weight_decay : 0.0;
}

void optimizer_sigma(const optimizer *row, float *sigma, const float *spread,
                     const optimizer_settings *s, double decay, size_t count)
{
    if (row->spread == SPREAD_HESSIAN)
        ivon_sigma(sigma, spread, s->ess, decay, count);
    else
        bbb_sigma(sigma, spread, count);
}

void optimizer_sample(const optimizer *row, void *theta, dtype type, const float *m,
                      const float *spread, const optimizer_settings *s, double decay, noise_key key,
                      uint64_t index, size_t count)
{
    if (row->spread == SPREAD_HESSIAN)
        sample_weights_from_hessian(theta, type, m, spread, s->ess, decay, key, index, count);
    else
        sample_weights_from_log(theta, type, m, spread, key, index, count);
}
