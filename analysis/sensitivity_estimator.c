/* Sensitivities as the training loop knows them. */
#include "analysis/sensitivity.h"

static status estimator_open(void **x, trainer *r)
{
    sensitivity *made;
    status result =
        sensitivity_open(&made, r, job_reads_tokens(r->job) ? PER_SEQUENCE : PER_EXAMPLE);
    *x = made;
    return result;
}

static void estimator_close(void **x)
{
    sensitivity *made = *x;
    sensitivity_close(&made);
    *x = NULL;
}

static status estimator_estimate(void *x, const dataset *train, uint64_t count, loo_estimate *out)
{
    sensitivity_table found;
    status result = sensitivity_run(x, train, 0, count, &found);
    if (result) return result;
    *out = (loo_estimate){.loss = found.loss, .loo_loss = found.loo_loss};
    sensitivity_table_close(&found);
    return STATUS_OK;
}

const loo_estimator sensitivity_estimator = {.bytes = sensitivity_bytes,
                                             .open = estimator_open,
                                             .close = estimator_close,
                                             .estimate = estimator_estimate};
