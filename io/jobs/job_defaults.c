/* Values that the schema gives. */
#include "io/jobs/job_schema.h"

#include <string.h>

void job_set_defaults(job *j)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const char *text = schema_standard(row, j);
        bool is_set =
            strcmp(row->key, "model.kind") == 0 || strcmp(row->key, "optimizer.kind") == 0;
        if (text && !is_set) schema_parse(row, j, text);
    }
}

static void set_ivon_defaults(job *j)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        bool given = strncmp(row->key, "optimizer.", 10) == 0 && schema_applies(row, j);
        if (given && strcmp(row->key, "optimizer.kind") != 0)
            schema_parse(row, j, schema_standard(row, j));
    }
}

void job_become_ivon(job *j, double ess, double weight_decay, double hessian_init)
{
    if (j->optimizer.kind != OPTIMIZER_IVON) {
        j->optimizer.kind = OPTIMIZER_IVON;
        set_ivon_defaults(j);
        j->optimizer.hessian_init = hessian_init;
        j->swag.start = 0;
    }
    j->optimizer.ess = ess;
    j->optimizer.weight_decay = weight_decay;
}
