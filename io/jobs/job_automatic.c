/* Settings that find themselves: which keys of a job wait for it, and what they become. */
#include "io/jobs/job_schema.h"
#include "io/jobs/job_source.h"
#include "optimizer/automatic.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

/* schedule.peak is asked of users, and ess_final is of the end: given settings follow from neither.
 */
static bool decides(const optimizer_key *key)
{
    return strcmp(key->key, "schedule.peak") != 0 && strcmp(key->key, "optimizer.ess_final") != 0;
}

settings_kind source_settings(const job_source *s, const job *j)
{
    const optimizer_key *keys = job_optimizer(j)->automatic;
    if (!keys->key) return SETTINGS_GIVEN;
    for (const optimizer_key *k = keys; k < keys + OPTIMIZER_AUTOMATIC && k->key; k++)
        if (decides(k) && source_find(s, k->key)) return SETTINGS_GIVEN;
    return SETTINGS_AUTO;
}

unsigned source_waiting(const job_source *s, const job *j)
{
    unsigned waiting = 0;
    for (int key = 0; key < AUTOMATIC_KEYS && j->optimizer.settings == SETTINGS_AUTO; key++) {
        const char *name = automatic_names[key];
        bool given = s && source_find(s, name);
        if (optimizer_find_automatic(job_optimizer(j), name) && !given) waiting |= 1U << key;
    }
    return waiting;
}

double job_observations(const job *j, uint64_t rows)
{
    return j->data.observations > 0.0 ? j->data.observations
                                      : (double)rows / (double)j->batch.length;
}

double job_last_ess(const job *j)
{
    return j->optimizer.ess_final > 0.0 ? j->optimizer.ess_final : j->optimizer.ess;
}

double job_temperature(const job *j, uint64_t rows)
{
    return job_observations(j, rows) / job_last_ess(j);
}

bool job_needs_gradients(const job *j)
{
    return automatic_needs_gradients(j->waiting);
}

static const automatic_rule *rule_of(const job *j)
{
    return automatic_rule_of(j->optimizer.kind, j->model.kind == MODEL_GPT2);
}

static double *value_of(job *j, int key)
{
    return (double *)(void *)((char *)j + schema_find(automatic_names[key])->offset);
}

/* Through the key's text: what job.yaml says is what the run does. */
static status set_value(job *j, int key, double value)
{
    char text[NUMBER_TEXT], expected[SCHEMA_TEXT];
    const schema_row *row = schema_find(automatic_names[key]);
    number_print(value, text, sizeof text);
    if (schema_parse(row, j, text)) return STATUS_OK;
    schema_describe(row, expected, sizeof expected);
    return fail(STATUS_NUMERIC, "'%s': %s derived, %s expected; the job may give it", row->key,
                text, expected);
}

/* clip.update above 0 with room in fp32 for the learning rate over it. */
static status check_derived(const job *j)
{
    if (job_rates_fit(j)) return STATUS_OK;
    return fail(STATUS_NUMERIC,
                "'clip.update' is %g, and schedule.peak %g: a quotient of at most %.2g expected, "
                "which fp32 holds",
                j->clip.update, j->schedule.peak, (double)FLT_MAX);
}

status job_derive(job *j, uint64_t rows, double mean_square)
{
    const automatic_facts facts = {.steps = j->steps,
                                   .observations = job_observations(j, rows),
                                   .temperature = j->optimizer.temperature,
                                   .peak = j->schedule.peak,
                                   .mean_square = mean_square};
    double values[AUTOMATIC_KEYS];
    for (int key = 0; key < AUTOMATIC_KEYS; key++) values[key] = *value_of(j, key);
    status result = automatic_derive(values, j->waiting, rule_of(j), &facts);
    for (int key = 0; !result && key < AUTOMATIC_KEYS; key++)
        if (j->waiting >> key & 1) result = set_value(j, key, values[key]);
    if (!result) j->waiting = 0;
    return result ? result : check_derived(j);
}

void job_take_derived(job *j, const job *kept)
{
    job from = *kept;
    for (int key = 0; key < AUTOMATIC_KEYS; key++)
        if (j->waiting >> key & 1) *value_of(j, key) = *value_of(&from, key);
    j->waiting = 0;
}

/* "beta2 0.9995", after a comma where there is something before it. */
static size_t say_value(const job *j, int key, char *text, size_t size)
{
    const schema_row *row = schema_find(automatic_names[key]);
    char value[NUMBER_TEXT];
    const char *name = strcmp(row->key, "clip.update") == 0 ? row->key : strchr(row->key, '.') + 1;
    schema_format(row, j, value, sizeof value);
    return (size_t)snprintf(text, size, " %s %s,", name, value);
}

/* What is known before gradients are. */
static job known_of(const job *j)
{
    job known = *j;
    if (j->waiting >> AUTOMATIC_BETA2 & 1)
        known.optimizer.beta2 = automatic_beta2(rule_of(j), j->steps);
    if (j->waiting >> AUTOMATIC_REST & 1) known.optimizer.rest_lr = j->schedule.peak;
    known.waiting &= ~(1U << AUTOMATIC_BETA2 | 1U << AUTOMATIC_REST);
    return known;
}

static size_t say_known(const job *j, char *text, size_t size)
{
    size_t n = 0;
    for (int key = 0; key < AUTOMATIC_KEYS && n < size; key++)
        if (optimizer_find_automatic(job_optimizer(j), automatic_names[key]) &&
            !(j->waiting >> key & 1))
            n += say_value(j, key, text + n, size - n);
    return n;
}

static void say_waiting(const job *j, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "; found when the run begins:");
    for (int key = 0; key < AUTOMATIC_KEYS && n < size; key++)
        if (j->waiting >> key & 1)
            n += (size_t)snprintf(text + n, size - n, " %s,", automatic_names[key]);
    if (n < size) text[n - 1] = '\0';
}

void job_settings_say(const job *j, uint64_t rows, char *text, size_t size)
{
    const job known = known_of(j);
    double observations = job_observations(j, rows);
    size_t n = (size_t)snprintf(text, size, "settings:");
    n += say_known(&known, text + n, size - n);
    if (observations > 0.0 && n < size)
        n += (size_t)snprintf(text + n, size - n, " observations %.3g,", observations);
    bool waits = known.waiting >> AUTOMATIC_ESS & 1;
    if (observations > 0.0 && !waits && n < size)
        n += (size_t)snprintf(text + n, size - n, " temperature %.3g,", job_temperature(j, rows));
    if (n >= size) return;
    text[--n] = '\0';
    if (known.waiting) say_waiting(&known, text + n, size - n);
}

status job_refuse_waiting(const job *j, const char *verb, const char *path)
{
    if (!j->waiting) return STATUS_OK;
    return fail(
        STATUS_INPUT,
        "%s: %.300s: 'optimizer.settings' is auto, which vario train alone resolves: a run, "
        "or a job that gives 'optimizer.ess' and the others, expected",
        verb, path);
}
