/* What must hold between keys. A message stands at the place of a key that was given. */
#include "io/job_schema.h"
#include "io/job_source.h"

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
        if (row->standard || source_find(s, row->key)) continue;
        if (row->from_preset && j->model.preset) continue;
        return source_refuse(s, NULL, "'%s'%s expected, not found", row->key,
                             row->from_preset ? " (or model.preset)" : "");
    }
    return STATUS_OK;
}

static status check_optimizer(const job_source *s, const job *j)
{
    char owners[100], kind[32];
    const schema_row *kinds = schema_find("optimizer.kind");
    for (size_t i = 0; i < s->entries->count; i++) {
        const job_entry *e = &s->entries->entries[i];
        const schema_row *row = schema_find(e->key);
        if (!row || schema_applies(row, j->optimizer.kind)) continue;
        schema_choices(kinds, row->optimizers, owners, sizeof owners);
        schema_choice(kinds, (int)j->optimizer.kind, kind, sizeof kind);
        return source_refuse(s, e, "'%s' belongs to %s, and optimizer.kind is %s", e->key, owners,
                             kind);
    }
    if (j->eval.samples > 0 && j->optimizer.kind != OPTIMIZER_IVON)
        return source_refuse(s, either(s, "eval.samples", "optimizer.kind"),
                             "'eval.samples' is %" PRIu64
                             ", 0 expected: only ivon has a posterior to draw from",
                             j->eval.samples);
    return STATUS_OK;
}

/* A schedule's key that its kind does not read may stand there with its default, which says
 * nothing, so that --set schedule.kind=constant works on a job with `final: 0`. */
static status check_schedule_keys(const job_source *s, const job *j)
{
    char owners[100], kind[32], given[JOB_TEXT], standard[JOB_TEXT];
    const schema_row *kinds = schema_find("schedule.kind");
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        const job_entry *e = source_find(s, row->key);
        if (!e || !row->schedules || row->schedules & (1 << j->schedule.kind)) continue;
        job plain = {0};
        schema_parse(row, &plain, row->standard);
        schema_format(row, &plain, standard, sizeof standard);
        schema_format(row, j, given, sizeof given);
        if (strcmp(given, standard) == 0) continue;
        schema_choices(kinds, row->schedules, owners, sizeof owners);
        schema_choice(kinds, (int)j->schedule.kind, kind, sizeof kind);
        return source_refuse(s, e, "'%s' belongs to %s, and schedule.kind is %s", row->key, owners,
                             kind);
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

static status check_sizes(const job_source *s, const job *j)
{
    const gpt2_config *c = &j->model.gpt2;
    const job_entry *width = either(s, "model.n_embd", "model.n_head");
    if (c->n_embd % c->n_head)
        return source_refuse(s, width,
                             "'model.n_embd' is %zu, a multiple of model.n_head (%zu) expected",
                             c->n_embd, c->n_head);
    if (j->batch.length > c->block_size)
        return source_refuse(s, source_find(s, "batch.length"),
                             "'batch.length' is %" PRIu64
                             ", at most model.block_size (%zu) expected",
                             j->batch.length, c->block_size);
    if (j->batch.sequences * j->batch.length > UINT64_C(1) << 30)
        return source_refuse(s, source_find(s, "batch.sequences"),
                             "'batch.sequences' is %" PRIu64 ", at most 2^30 tokens a micro-batch "
                             "expected, and batch.length is %" PRIu64,
                             j->batch.sequences, j->batch.length);
    /* A work item's number is a 32-bit word of the noise's counter. */
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
    status result = check_required(s, j);
    if (!result) result = check_name(s, j);
    if (!result) result = check_optimizer(s, j);
    if (!result) result = check_sizes(s, j);
    if (!result) result = check_schedule(s, j);
    return result;
}
