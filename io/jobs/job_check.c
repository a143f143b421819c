/* What must hold between keys. A message stands at the place of a key that was given. */
#include "io/files/file.h"
#include "io/jobs/job_schema.h"
#include "io/jobs/job_source.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const job_entry *either(const job_source *s, const char *first, const char *second)
{
    const job_entry *e = source_find(s, first);
    return e ? e : source_find(s, second);
}

static status check_required(const job_source *s, const job *j)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        if (row->standard || !schema_applies(row, j) || source_find(s, row->key)) continue;
        if (row->from_preset && j->model.preset) continue;
        return source_refuse(s, NULL, "'%s'%s expected, not found", row->key,
                             row->from_preset ? " (or model.preset)" : "");
    }
    return STATUS_OK;
}

/* Refuse an entry that belongs to others: "'KEY' belongs to NAMES, and KINDS is NAME". */
static status refuse_owners(const job_source *s, const job_entry *e, const char *kinds, int set,
                            int kind)
{
    char owners[100], name[32];
    const schema_row *row = schema_find(kinds);
    schema_choices(row, set, owners, sizeof owners);
    schema_choice(row, kind, name, sizeof name);
    return source_refuse(s, e, "'%s' belongs to %s, and %s is %s", e->key, owners, kinds, name);
}

static status check_owners(const job_source *s, const job *j)
{
    for (size_t i = 0; i < s->entries->count; i++) {
        const job_entry *e = &s->entries->entries[i];
        const schema_row *row = schema_find(e->key);
        if (!row || schema_applies(row, j)) continue;
        if (row->models && !(row->models & (1 << j->model.kind)))
            return refuse_owners(s, e, "model.kind", row->models, (int)j->model.kind);
        return refuse_owners(s, e, "optimizer.kind", schema_optimizers(row),
                             (int)j->optimizer.kind);
    }
    if (j->eval.samples > 0 && !job_has_posterior(j))
        return source_refuse(
            s, either(s, "eval.samples", "optimizer.kind"),
            "'eval.samples' is %" PRIu64
            ", 0 expected: only ivon, evon, bbb and swag have a posterior to draw from",
            j->eval.samples);
    if (j->early_stop.kind == EARLY_STOP_LOO && j->sensitivity.every == 0)
        return source_refuse(s, source_find(s, "early_stop.kind"),
                             "'early_stop.kind' is loo, 'sensitivity.every' from 1 expected with "
                             "it");
    return STATUS_OK;
}

/* Between swag's keys, which say nothing without swag.start. */
static status check_swag(const job_source *s, const job *j)
{
    for (size_t i = 0; i < schema_count && !job_collects(j); i++)
        if (schema_rows[i].of_swag && source_find(s, schema_rows[i].key))
            return source_refuse(s, source_find(s, schema_rows[i].key),
                                 "'%s' belongs to SWAG, and swag.start is none",
                                 schema_rows[i].key);
    if (!job_collects(j)) return STATUS_OK;
    if (j->swag.start > j->steps || j->steps - j->swag.start < j->swag.every)
        return source_refuse(s, source_find(s, "swag.start"),
                             "'swag.start' is %" PRIu64 ", at most steps (%" PRIu64
                             ") - swag.every (%" PRIu64 ") expected, for two snapshots",
                             j->swag.start, j->steps, j->swag.every);
    if (j->swag.rank == 1)
        return source_refuse(s, source_find(s, "swag.rank"),
                             "'swag.rank' is 1, 0 or at least 2 expected: one deviation has no "
                             "variance");
    return STATUS_OK;
}

/* With settings auto the learning rate is the largest change of a weight. */
static status check_limits(const job_source *s, const job *j)
{
    bool needs_clip = job_optimizer(j)->rate_scale && !schema_waits(schema_find("clip.update"), j);
    if (needs_clip && !isfinite(j->clip.update))
        return source_refuse(s, either(s, "clip.update", "optimizer.settings"),
                             "'clip.update' is .inf, a number expected with optimizer.settings: "
                             "auto: schedule.peak is the change of a weight that it allows");
    if (j->optimizer.rest == REST_IVON && schema_waits(schema_find("optimizer.rest_lr"), j))
        return source_refuse(s, source_find(s, "optimizer.rest"),
                             "'optimizer.rest' is ivon, 'optimizer.rest_lr' expected with it: "
                             "optimizer.settings: auto derives that of adamw");
    return STATUS_OK;
}

static status check_settings(const job_source *s, const job *j)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const job_entry *e = source_find(s, row->key);
        if (e && row->settings && !(row->settings & (1 << j->optimizer.settings)))
            return refuse_owners(s, e, "optimizer.settings", row->settings,
                                 (int)j->optimizer.settings);
    }
    return j->optimizer.settings == SETTINGS_AUTO ? check_limits(s, j) : STATUS_OK;
}

static status check_optimizer(const job_source *s, const job *j)
{
    char stage[32];
    if (job_optimizer(j)->matrix && j->parallel.shard != SHARD_PARAMETERS) {
        schema_choice(schema_find("parallel.shard"), (int)j->parallel.shard, stage, sizeof stage);
        return source_refuse(s, either(s, "parallel.shard", "optimizer.kind"),
                             "'parallel.shard' is %s, parameters expected: %s takes matrices "
                             "whole, on their owners",
                             stage, job_optimizer(j)->name);
    }
    if (job_optimizer(j)->decays_all && j->optimizer.weight_decay <= 0.0)
        return source_refuse(s, either(s, "optimizer.weight_decay", "optimizer.kind"),
                             "'optimizer.weight_decay' is 0, above 0 expected: the precision of "
                             "bbb's prior is ess times it");
    return check_swag(s, j);
}

/* A schedule's key that its kind does not read may stand there with its default, which says
 * nothing, so that --set schedule.kind=constant works on a job with `final: 0`. */
static status check_schedule_keys(const job_source *s, const job *j)
{
    char given[JOB_TEXT], standard[JOB_TEXT];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const job_entry *e = source_find(s, row->key);
        if (!e || !row->schedules || row->schedules & (1 << j->schedule.kind)) continue;
        job plain = {0};
        schema_parse(row, &plain, row->standard);
        schema_format(row, &plain, standard, sizeof standard);
        schema_format(row, j, given, sizeof given);
        if (strcmp(given, standard) == 0) continue;
        return refuse_owners(s, e, "schedule.kind", row->schedules, (int)j->schedule.kind);
    }
    return STATUS_OK;
}

static status check_schedule(const job_source *s, const job *j)
{
    const schedule *c = &j->schedule;
    status result = check_schedule_keys(s, j);
    if (result) return result;
    if (c->warmup > j->steps)
        return source_refuse(s, either(s, "schedule.warmup", "steps"),
                             "'schedule.warmup' is %" PRIu64 ", at most steps (%" PRIu64
                             ") expected",
                             c->warmup, j->steps);
    if (c->kind == SCHEDULE_WSD && (c->decay == 0 || c->decay > j->steps - c->warmup))
        return source_refuse(s, either(s, "schedule.decay", "schedule.kind"),
                             "'schedule.decay' is %" PRIu64
                             ", 1 to steps - schedule.warmup (%" PRIu64 ") expected",
                             c->decay, j->steps - c->warmup);
    if (c->kind == SCHEDULE_STEPS && c->milestone_count == 0)
        return source_refuse(s, either(s, "schedule.milestones", "schedule.kind"),
                             "'schedule.milestones' is empty, at least one step expected with "
                             "schedule.kind steps");
    return STATUS_OK;
}

static double highest_rate(const schedule *c)
{
    if (c->kind == SCHEDULE_STEPS && c->factor > 1.0)
        return c->peak * pow(c->factor, (double)c->milestone_count);
    return fmax(c->peak, c->final);
}

/* Updates are made in fp32. */
bool job_rates_fit(const job *j)
{
    return highest_rate(&j->schedule) * job_rate_scale(j) <= (double)FLT_MAX;
}

static status check_rates(const job_source *s, const job *j)
{
    if (job_rates_fit(j)) return STATUS_OK;
    double highest = highest_rate(&j->schedule);
    return source_refuse(s, either(s, "schedule.peak", "schedule.kind"),
                         "'schedule.peak' is %g, the learning rate becomes %g, times %g in the "
                         "update: a product of at most %.2g expected, which fp32 holds",
                         j->schedule.peak, highest, job_rate_scale(j), (double)FLT_MAX);
}

bool job_name_fits(const char *name)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+=-";
    return *name && strspn(name, plain) == strlen(name) && name[0] != '.';
}

static status check_name(const job_source *s, const job *j)
{
    char shown[104];
    if (job_name_fits(j->name)) return STATUS_OK;
    return source_refuse(s, source_find(s, "name"),
                         "'name': '%s' found, a name of letters, digits and ._+=- that does not "
                         "begin with '.' expected",
                         source_show(j->name, shown));
}

/* One rule for every path, of jobs and of arguments (cli/options.c). */
static status check_paths(const job_source *s, const job *j)
{
    char shown[104];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const char *path = (const char *)j + row->offset;
        if (row->type != KEY_TEXT || strcmp(row->key, "name") == 0 || !file_wants_shell(path))
            continue;
        return source_refuse(s, source_find(s, row->key), "'%s': '%s' found, " FILE_WANTED,
                             row->key, source_show(path, shown));
    }
    return STATUS_OK;
}

bool job_output_fits(const char *output)
{
    return schema_text_fits(output) && output[0] != '-' && !strpbrk(output, "'\"`\\$;&|<>");
}

static status check_output(const job_source *s, const job *j)
{
    char shown[104];
    if (job_output_fits(j->output)) return STATUS_OK;
    return source_refuse(s, source_find(s, "output"),
                         "'output': '%s' found, a path without ' \" ` \\ $ ; & | < > that does not "
                         "begin with '-' expected",
                         source_show(j->output, shown));
}

static status check_gpt2(const job_source *s, const job *j)
{
    const gpt2_config *c = &j->model.gpt2;
    if (c->n_embd % c->n_head)
        return source_refuse(s, either(s, "model.n_embd", "model.n_head"),
                             "'model.n_embd' is %zu, a multiple of model.n_head (%zu) expected",
                             c->n_embd, c->n_head);
    if (j->batch.length > c->block_size)
        return source_refuse(s, source_find(s, "batch.length"),
                             "'batch.length' is %" PRIu64
                             ", at most model.block_size (%zu) expected",
                             j->batch.length, c->block_size);
    return STATUS_OK;
}

static status check_layers(const job_source *s, const job *j)
{
    const mlp_config *c = &j->model.mlp;
    if (j->model.kind == MODEL_MLP && c->hidden_count == 0)
        return source_refuse(
            s, source_find(s, "model.hidden"),
            "'model.hidden' is empty, at least one width expected (a model without "
            "hidden layers is linear)");
    if (j->model.kind == MODEL_LINEAR && c->dropout > 0.0)
        return source_refuse(s, source_find(s, "model.dropout"),
                             "'model.dropout' is %g, 0 expected: linear has no hidden layers",
                             c->dropout);
    if (c->loss == LOSS_CROSS_ENTROPY && c->outputs < 2)
        return source_refuse(s, source_find(s, "model.outputs"),
                             "'model.outputs' is %zu, at least 2 classes expected (or model.loss "
                             "gaussian)",
                             c->outputs);
    if (c->loss == LOSS_CROSS_ENTROPY && c->noise_variance != 1.0)
        return source_refuse(s, source_find(s, "model.noise_variance"),
                             "'model.noise_variance' belongs to gaussian, and model.loss is "
                             "cross_entropy");
    return STATUS_OK;
}

static status check_examples(const job_source *s, const job *j)
{
    if (j->batch.length != 1)
        return source_refuse(s, source_find(s, "batch.length"),
                             "'batch.length' is %" PRIu64 ", 1 expected: only gpt2 has sequences",
                             j->batch.length);
    if (j->data.mislabelled > 0.0 && j->model.mlp.loss == LOSS_GAUSSIAN)
        return source_refuse(s, source_find(s, "data.mislabelled"),
                             "'data.mislabelled' is %g, 0 expected: with model.loss gaussian there "
                             "are no classes",
                             j->data.mislabelled);
    /* At the turn of an epoch it may come twice in a row: of three, one is another. */
    if (j->data.leave_out != UINT64_MAX && j->batch.sequences < 3)
        return source_refuse(s, either(s, "batch.sequences", "data.leave_out"),
                             "'batch.sequences' is %" PRIu64
                             ", at least 3 expected with data.leave_out",
                             j->batch.sequences);
    return check_layers(s, j);
}

static status check_parts(const job_source *s, const job *j)
{
    uint64_t parts = j->batch.parts;
    if (parts == 1) return STATUS_OK;
    if (j->batch.sequences % parts != 0)
        return source_refuse(s, either(s, "batch.parts", "batch.sequences"),
                             "'batch.parts' is %" PRIu64
                             ", a divisor of batch.sequences expected, which is %" PRIu64,
                             parts, j->batch.sequences);
    if (j->parallel.shard < SHARD_GRADIENTS)
        return source_refuse(s, either(s, "parallel.shard", "batch.parts"),
                             "'parallel.shard' is %s, gradients or parameters expected with "
                             "batch.parts above 1",
                             j->parallel.shard == SHARD_NONE ? "none" : "optimizer");
    if (j->data.leave_out != UINT64_MAX)
        return source_refuse(s, either(s, "data.leave_out", "batch.parts"),
                             "'data.leave_out' is %" PRIu64 ", and batch.parts is %" PRIu64
                             ": 1 expected where an example is left out",
                             j->data.leave_out, parts);
    if (j->batch.microbatches * j->optimizer.mc_samples > UINT32_MAX / parts)
        return source_refuse(s, source_find(s, "batch.parts"),
                             "'batch.parts' is %" PRIu64
                             ", at most 2^32-1 parts a step expected, and a step has %" PRIu64
                             " work items",
                             parts, j->batch.microbatches * j->optimizer.mc_samples);
    return STATUS_OK;
}

static status check_sizes(const job_source *s, const job *j)
{
    status result = j->model.kind == MODEL_GPT2 ? check_gpt2(s, j) : check_examples(s, j);
    if (result) return result;
    if (j->batch.sequences * j->batch.length > UINT64_C(1) << 30)
        return source_refuse(s, source_find(s, "batch.sequences"),
                             "'batch.sequences' is %" PRIu64 ", at most 2^30 %s a micro-batch "
                             "expected, and batch.length is %" PRIu64,
                             j->batch.sequences, job_words(j)->rows, j->batch.length);
    result = check_parts(s, j);
    if (result) return result;
    /* The numbers of items and of parts are 32-bit words of the noise's counter. */
    if (j->batch.microbatches * j->optimizer.mc_samples > UINT32_MAX)
        return source_refuse(s, either(s, "batch.microbatches", "optimizer.mc_samples"),
                             "'batch.microbatches' is %" PRIu64
                             ", at most 2^32-1 work items a step expected, and "
                             "optimizer.mc_samples is %" PRIu64,
                             j->batch.microbatches, j->optimizer.mc_samples);
    return STATUS_OK;
}

status job_check(const job_source *s, const job *j)
{
    status result = check_owners(s, j);
    if (!result) result = check_required(s, j);
    if (!result) result = check_name(s, j);
    if (!result && !s->kept) result = check_paths(s, j);
    if (!result && !s->kept) result = check_output(s, j);
    if (!result) result = check_sizes(s, j);
    if (!result) result = check_optimizer(s, j);
    if (!result) result = check_settings(s, j);
    if (!result) result = check_schedule(s, j);
    if (!result) result = check_rates(s, j);
    return result;
}
