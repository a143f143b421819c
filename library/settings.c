/* Settings are a job's keys: the schema has their defaults and ranges. */
#include "io/jobs/job_schema.h"
#include "library/optimizer.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

_Static_assert((int)VARIO_IVON == (int)OPTIMIZER_IVON && (int)VARIO_ADAMW == (int)OPTIMIZER_ADAMW &&
                   (int)VARIO_PRICE == (int)HESSIAN_PRICE &&
                   (int)VARIO_GRADSQ == (int)HESSIAN_GRADSQ &&
                   (int)VARIO_CLIP_MICROBATCH == (int)SCOPE_MICROBATCH &&
                   (int)VARIO_CLIP_STEP == (int)SCOPE_STEP &&
                   (int)VARIO_SHARD_NONE == (int)SHARD_NONE &&
                   (int)VARIO_SHARD_OPTIMIZER == (int)SHARD_OPTIMIZER &&
                   (int)VARIO_SHARD_GRADIENTS == (int)SHARD_GRADIENTS &&
                   (int)VARIO_FP32 == (int)DTYPE_F32 && (int)VARIO_BF16 == (int)DTYPE_BF16,
               "the words of settings are those of jobs");

static void set_standard(job *j, int kind)
{
    memset(j, 0, sizeof *j);
    j->model.kind = MODEL_OWN;
    j->optimizer.kind = (optimizer_kind)kind;
    job_set_defaults(j);
}

static void set_defaults(vario_settings *settings, int kind)
{
    job j;
    set_standard(&j, kind);
    *settings = (vario_settings){.ess = j.optimizer.ess,
                                 .hessian_init = j.optimizer.hessian_init,
                                 .beta1 = j.optimizer.beta1,
                                 .beta2 = j.optimizer.beta2,
                                 .weight_decay = j.optimizer.weight_decay,
                                 .clip_norm = j.clip.norm,
                                 .clip_update = j.clip.update,
                                 .epsilon = j.optimizer.epsilon,
                                 .seed = j.seed,
                                 .optimizer = kind,
                                 .clip_scope = (int)j.clip.scope,
                                 .hessian = (int)j.optimizer.hessian,
                                 .rescale_lr = j.optimizer.rescale_lr,
                                 .debias = j.optimizer.debias,
                                 .shard = (int)j.parallel.shard,
                                 .wire = (int)j.parallel.wire};
}

static void give_defaults(vario_settings *settings, int kind, const char *call)
{
    library_begin();
    if (settings) set_defaults(settings, kind);
    library_end(settings ? STATUS_OK
                         : fail(STATUS_INPUT, "%s: settings to set expected, NULL found", call));
}

void vario_defaults(vario_settings *settings)
{
    give_defaults(settings, VARIO_IVON, "vario_defaults");
}

void vario_defaults_adamw(vario_settings *settings)
{
    give_defaults(settings, VARIO_ADAMW, "vario_defaults_adamw");
}

static status set_number(job *j, const char *key, double value)
{
    char text[40], expected[SCHEMA_TEXT];
    const schema_row *row = schema_find(key);
    const char *name = strchr(key, '.') + 1;
    bool clip = strncmp(key, "clip.", 5) == 0;
    if (value > 0.0 && isinf(value))
        snprintf(text, sizeof text, ".inf");
    else
        snprintf(text, sizeof text, "%.17g", value);
    if (schema_parse(row, j, text)) return STATUS_OK;
    schema_describe(row, expected, sizeof expected);
    return fail(STATUS_INPUT, "vario_settings.%s%s: %s found, %s expected", clip ? "clip_" : "",
                name, text, expected);
}

static status check_word(const char *name, int value, int most)
{
    if (value >= 0 && value <= most) return STATUS_OK;
    return fail(STATUS_INPUT, "vario_settings.%s: %d found, one of 0 to %d expected", name, value,
                most);
}

static status set_words(job *j, const vario_settings *s)
{
    status result = check_word("clip_scope", s->clip_scope, VARIO_CLIP_STEP);
    if (!result) result = check_word("hessian", s->hessian, VARIO_GRADSQ);
    if (!result) result = check_word("rescale_lr", s->rescale_lr, 1);
    if (!result) result = check_word("debias", s->debias, 1);
    if (!result) result = check_word("shard", s->shard, VARIO_SHARD_GRADIENTS);
    if (!result) result = check_word("wire", s->wire, VARIO_BF16);
    j->clip.scope = (clip_scope)s->clip_scope;
    j->optimizer.hessian = (hessian_kind)s->hessian;
    j->optimizer.rescale_lr = s->rescale_lr;
    j->optimizer.debias = s->debias;
    j->parallel.shard = (shard_stage)s->shard;
    j->parallel.wire = (dtype)s->wire;
    return result;
}

static status check_reserved(const vario_settings *s)
{
    for (size_t i = 0; i < sizeof s->reserved / sizeof s->reserved[0]; i++)
        if (s->reserved[i])
            return fail(STATUS_INPUT,
                        "vario_settings.reserved: %" PRIu64 " found, 0 expected: begin with "
                        "vario_defaults",
                        s->reserved[i]);
    return STATUS_OK;
}

status library_job(job *j, const vario_settings *given, size_t ranks)
{
    vario_settings s;
    set_defaults(&s, VARIO_IVON);
    if (given) s = *given;
    status result = check_reserved(&s);
    if (!result) result = check_word("optimizer", s.optimizer, VARIO_ADAMW);
    if (result) return result;
    set_standard(j, s.optimizer);
    j->schedule.kind = SCHEDULE_CONSTANT; /* each step brings its rate */
    j->seed = s.seed;
    j->batch.microbatches = s.items ? s.items : ranks;
    result = set_number(j, "optimizer.ess", s.ess);
    if (!result) result = set_number(j, "optimizer.hessian_init", s.hessian_init);
    if (!result) result = set_number(j, "optimizer.beta1", s.beta1);
    if (!result) result = set_number(j, "optimizer.beta2", s.beta2);
    if (!result) result = set_number(j, "optimizer.weight_decay", s.weight_decay);
    if (!result) result = set_number(j, "optimizer.epsilon", s.epsilon);
    if (!result) result = set_number(j, "clip.norm", s.clip_norm);
    if (!result) result = set_number(j, "clip.update", s.clip_update);
    if (!result) result = set_words(j, &s);
    if (!result && j->batch.microbatches > UINT32_MAX)
        result = fail(STATUS_INPUT, "vario_settings.items: %" PRIu64 " found, below 2^32 expected",
                      s.items);
    return result;
}

/* In the range of a job's key, and finite in the update, which is made in fp32. */
status library_rate(const job *j, double lr)
{
    char expected[SCHEMA_TEXT];
    const schema_row *row = schema_find("schedule.peak");
    if (!(lr >= row->least && lr <= row->most)) {
        schema_describe(row, expected, sizeof expected);
        return fail(STATUS_INPUT, "vario_step: learning rate %g found, %s expected", lr, expected);
    }
    if (lr * job_rate_scale(j) <= (double)FLT_MAX) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario_step: learning rate %g found, times %g in the update: a product of at most "
                "%.2g expected",
                lr, job_rate_scale(j), (double)FLT_MAX);
}
