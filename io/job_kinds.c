/* What the kinds of a job's model and optimizer mean. Reading files is not needed for it. */
#include "io/job_schema.h"

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

model_config job_model(const job *j)
{
    return (model_config){.kind = j->model.kind, .gpt2 = j->model.gpt2, .mlp = j->model.mlp};
}

const model_row *job_words(const job *j)
{
    return model_row_of(j->model.kind);
}

bool job_reads_tokens(const job *j)
{
    return job_words(j)->tokens;
}

const optimizer *job_optimizer(const job *j)
{
    return optimizer_row(j->optimizer.kind);
}

runtime_settings job_settings(const job *j)
{
    runtime_settings s = {.seed = j->seed,
                          .row = job_optimizer(j),
                          .optimizer = j->optimizer,
                          .swag = j->swag,
                          .microbatches = j->batch.microbatches,
                          .clip = j->clip,
                          .shard = j->parallel.shard,
                          .wire = j->parallel.wire};
    settings_decide(&s);
    return s;
}

const char *job_init(const job *j)
{
    return strcmp(j->model.init, "scratch") == 0 ? NULL : j->model.init;
}

bool job_is_variational(const job *j)
{
    return optimizer_is_variational(job_optimizer(j));
}

bool job_collects(const job *j)
{
    return j->swag.start > 0;
}

bool job_has_posterior(const job *j)
{
    return job_is_variational(j) || job_collects(j);
}

double job_decay(const job *j, const tensor *t)
{
    return optimizer_decay(job_optimizer(j), &j->optimizer, t->decayed);
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
