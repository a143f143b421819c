/* What the kinds of a job's model and optimizer mean. Reading files is not needed for it. */
#include "io/jobs/job.h"

#include <math.h>
#include <string.h>

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
                          .peak = j->schedule.peak,
                          .swag = j->swag,
                          .microbatches = j->batch.microbatches,
                          .parts = j->batch.parts ? j->batch.parts : 1,
                          .clip = j->clip,
                          .shard = j->parallel.shard,
                          .wire = j->parallel.wire};
    bool limited = s.optimizer.settings == SETTINGS_AUTO && isfinite(s.clip.update);
    if (limited && s.row->rate_scale) s.optimizer.largest = s.clip.update;
    settings_decide(&s);
    return s;
}

uint64_t job_sequences(const job *j)
{
    return j->batch.parts > 1 ? j->batch.sequences / j->batch.parts : j->batch.sequences;
}

double job_ess(const job *j, uint64_t done)
{
    return optimizer_ess(&j->optimizer, done, j->steps);
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

double job_rate_scale(const job *j)
{
    const runtime_settings s = job_settings(j);
    bool waits = s.optimizer.settings == SETTINGS_AUTO && !(s.optimizer.largest > 0.0);
    if (waits) return 1.0; /* of clip.update */
    return optimizer_rate_scale(s.row, &s.optimizer);
}
