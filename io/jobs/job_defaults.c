/* Values that the schema gives. */
#include "io/jobs/job_schema.h"
#include "io/jobs/job_source.h"

#include <string.h>

void job_set_defaults(job *j)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const char *text = schema_standard(row, j);
        bool is_set = strcmp(row->key, "model.kind") == 0 ||
                      strcmp(row->key, "optimizer.kind") == 0 ||
                      strcmp(row->key, "optimizer.settings") == 0;
        if (text && !is_set) schema_parse(row, j, text);
    }
}

static void set_ivon_defaults(job *j)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        bool given = strncmp(row->key, "optimizer.", 10) == 0 && schema_applies(row, j);
        bool is_set =
            strcmp(row->key, "optimizer.kind") == 0 || strcmp(row->key, "optimizer.settings") == 0;
        if (given && !is_set) schema_parse(row, j, schema_standard(row, j));
    }
}

void job_become_ivon(job *j, double ess, double weight_decay, double hessian_init)
{
    if (j->optimizer.kind != OPTIMIZER_IVON) {
        j->optimizer.kind = OPTIMIZER_IVON;
        j->optimizer.settings = SETTINGS_GIVEN;
        set_ivon_defaults(j);
        j->optimizer.hessian_init = hessian_init;
        j->swag.start = 0;
    }
    if (j->waiting) {
        j->optimizer.settings = SETTINGS_GIVEN;
        j->optimizer.hessian_init = hessian_init;
        j->waiting = 0;
    }
    j->optimizer.ess = ess;
    j->optimizer.weight_decay = weight_decay;
}

void job_become(job *j, optimizer_kind kind)
{
    optimizer_kind before = j->optimizer.kind;
    if (before == kind) return;
    j->optimizer.kind = kind;
    bool derives = job_optimizer(j)->automatic->key;
    j->optimizer.settings = derives ? SETTINGS_AUTO : SETTINGS_GIVEN;
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        bool its_own = row->by_optimizer || schema_standard_of(row, before) ||
                       schema_standard_of(row, kind) || strcmp(row->key, "schedule.peak") == 0;
        if (strcmp(row->key, "optimizer.settings") == 0) continue;
        if (its_own && schema_applies(row, j)) schema_parse(row, j, schema_standard(row, j));
    }
    j->waiting = source_waiting(NULL, j);
    j->swag.start = 0;
    if (!job_has_posterior(j)) j->eval.samples = 0;
    if (!schema_applies(schema_find("sensitivity.every"), j)) {
        j->sensitivity.every = 0;
        j->early_stop.kind = EARLY_STOP_NONE;
    }
}
