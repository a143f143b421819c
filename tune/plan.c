/* The job, once for every optimizer, and the choices of the keys' values. */
#include "tune/plan.h"

#include "tune/choices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void tune_run_name(char name[TUNE_NAME + 32], const tune_plan *p, size_t config, size_t s)
{
    const char *of = p->configs[config].name;
    if (p->seeded)
        snprintf(name, TUNE_NAME + 32, "%s-seed=%" PRIu64, of, p->seeds[s]);
    else
        snprintf(name, TUNE_NAME + 32, "%s", of);
}

size_t tune_sets(const tune_plan *p, size_t config, tune_settings text, const char *sets[TUNE_KEYS])
{
    for (size_t i = 0; i < p->key_count; i++) {
        snprintf(text[i], sizeof text[i], "%s=%s", p->keys[i].row->key,
                 p->configs[config].values[i]);
        sets[i] = text[i];
    }
    return p->key_count;
}

void tune_base_path(char *path, size_t size, const tune_plan *p, size_t bracket)
{
    const char *name = p->brackets[bracket].name;
    snprintf(path, size, "%s/base%s%s.yaml", p->folder, *name ? "-" : "", name);
}

static status parse_seed(tune_plan *p, const char *text, size_t length, const char *all)
{
    char word[32], *end;
    snprintf(word, sizeof word, "%.*s", (int)length, text);
    errno = 0;
    unsigned long long seed = strtoull(word, &end, 10);
    if (length == 0 || length >= sizeof word || *end || errno || word[0] < '0' || word[0] > '9')
        return fail(STATUS_INPUT, "vario tune: --seeds %.200s: whole numbers expected, as in 1,2,3",
                    all);
    if (p->seed_count == TUNE_SEEDS)
        return fail(STATUS_INPUT, "vario tune: --seeds: at most %d expected", TUNE_SEEDS);
    for (size_t i = 0; i < p->seed_count; i++)
        if (p->seeds[i] == seed)
            return fail(STATUS_INPUT, "vario tune: --seeds: %llu found twice, expected once", seed);
    p->seeds[p->seed_count++] = seed;
    return STATUS_OK;
}

static status parse_seeds(tune_plan *p, const char *text)
{
    status result = STATUS_OK;
    p->seeded = text != NULL;
    if (!text) p->seeds[p->seed_count++] = p->brackets[0].base.seed;
    for (const char *at = text; !result && at; at = at + strcspn(at, ",") + 1) {
        result = parse_seed(p, at, strcspn(at, ","), text);
        if (!strchr(at, ',')) break;
    }
    return result;
}

static status write_text(tune_bracket *b)
{
    size_t size = 0;
    FILE *out = open_memstream(&b->text, &size);
    status result = out ? job_write(&b->base, out) : STATUS_NOMEM;
    if (out && fclose(out) != 0) result = STATUS_NOMEM;
    return result ? fail(STATUS_NOMEM, "memory for a resolved job") : STATUS_OK;
}

static status add_bracket(tune_plan *p, const job *j, optimizer_kind kind, bool named)
{
    tune_bracket *b = &p->brackets[p->bracket_count++];
    const char *name = optimizer_row(kind)->name;
    b->base = *j;
    job_become(&b->base, kind);
    if (named) {
        snprintf(b->name, sizeof b->name, "%s", name);
        int n = snprintf(b->base.name, sizeof b->base.name, "%.480s-%s", j->name, name);
        memset(b->base.name + n, 0, sizeof b->base.name - (size_t)n); /* as a job of its own */
    }
    return write_text(b);
}

static status add_optimizer(tune_plan *p, const job *j, const char *text, size_t length)
{
    for (int kind = 0; kind < OPTIMIZER_KINDS; kind++) {
        const char *name = optimizer_row((optimizer_kind)kind)->name;
        if (strlen(name) != length || strncmp(name, text, length) != 0) continue;
        for (size_t i = 0; i < p->bracket_count; i++)
            if (strcmp(p->brackets[i].name, name) == 0)
                return fail(STATUS_INPUT, "vario tune: --optimizers: %s found twice, expected once",
                            name);
        return add_bracket(p, j, (optimizer_kind)kind, true);
    }
    char expected[SCHEMA_TEXT];
    schema_describe(schema_find("optimizer.kind"), expected, sizeof expected);
    return fail(STATUS_INPUT, "vario tune: --optimizers: '%.*s' found, %s expected",
                length < 100 ? (int)length : 100, text, expected);
}

static status make_brackets(tune_plan *p, const tune_request *request)
{
    job j;
    status result = job_read(&j, request->job, request->sets, request->set_count);
    if (result) return result;
    if (j.early_stop.kind != EARLY_STOP_NONE)
        return fail(STATUS_INPUT,
                    "%s: 'early_stop.kind' is loo, none expected: runs that are "
                    "tuned are compared at the same steps",
                    request->job);
    if (!request->optimizers) return add_bracket(p, &j, j.optimizer.kind, false);
    for (const char *at = request->optimizers; !result; at += strcspn(at, ",") + 1) {
        result = add_optimizer(p, &j, at, strcspn(at, ","));
        if (!strchr(at, ',')) break;
    }
    return result;
}

static status parse_keys(tune_plan *p, const tune_request *request)
{
    const char *standard = "schedule.peak=x0.1:x10:log";
    const char *const *keys = request->key_count ? request->keys : &standard;
    size_t count = request->key_count ? request->key_count : 1;
    status result = STATUS_OK;
    if (request->key_count == 0 && !request->optimizers)
        return fail(STATUS_INPUT, "vario tune: no --key found, one such as "
                                  "schedule.peak=1e-3:1e-2:log expected, or --optimizers");
    if (count > TUNE_KEYS)
        return fail(STATUS_INPUT, "vario tune: --key: at most %d expected, %zu found", TUNE_KEYS,
                    count);
    for (size_t i = 0; !result && i < count; i++) {
        result = tune_key_parse(&p->keys[i], keys[i]);
        for (size_t k = 0; !result && k < i; k++)
            if (p->keys[k].row == p->keys[i].row)
                result = fail(STATUS_INPUT, "vario tune: --key %s: found twice, expected once",
                              p->keys[i].row->key);
        p->key_count++;
    }
    return result;
}

static status set_folder(tune_plan *p, const tune_request *request, const job *j)
{
    int n = request->folder
                ? snprintf(p->folder, sizeof p->folder, "%s", request->folder)
                : snprintf(p->folder, sizeof p->folder, "%s/%s-tune", j->output, j->name);
    if (n >= (int)sizeof p->folder || !job_output_fits(p->folder))
        return fail(STATUS_INPUT,
                    "vario tune: '%.300s' found for the runs' folder, a path of at most %d bytes "
                    "without ' \" ` \\ $ ; & | < > that does not begin with '-' expected",
                    p->folder, JOB_TEXT - 1);
    while (n > 1 && p->folder[n - 1] == '/') p->folder[--n] = '\0';
    return STATUS_OK;
}

/* What no key of the schema says is said here: as a job that is read. */
static status check_configs(const tune_plan *p)
{
    for (size_t c = 0; c < tune_configs(p); c++) {
        tune_settings text;
        const char *sets[TUNE_KEYS];
        job j;
        size_t count = tune_sets(p, c, text, sets);
        const tune_bracket *b = &p->brackets[p->configs[c].bracket];
        status result = job_parse(&j, "vario tune", b->text, strlen(b->text), sets, count);
        if (result) return result;
    }
    return STATUS_OK;
}

status tune_plan_make(tune_plan *p, const tune_request *request)
{
    *p = (tune_plan){0};
    if (request->runs == 0)
        return fail(STATUS_INPUT, "vario tune: --runs: 0 found, a number from 1 expected");
    if (request->eta == 0)
        return fail(STATUS_INPUT, "vario tune: --halving: 0 found, a number from 1 expected (1: "
                                  "every run goes to its end)");
    status result = make_brackets(p, request);
    if (!result) result = parse_keys(p, request);
    if (!result) result = parse_seeds(p, request->seeds);
    if (result) return result;
    const job *j = &p->brackets[0].base;
    result = set_folder(p, request, j);
    if (!result) result = choices_make(p, request->runs, request->draw);
    if (!result) result = check_configs(p);
    uint64_t first = request->first == UINT64_MAX ? j->schedule.warmup : request->first;
    if (!result && first > j->steps)
        result = fail(STATUS_INPUT,
                      "vario tune: --first: %" PRIu64 " found, at most the job's %" PRIu64
                      " steps expected",
                      first, j->steps);
    if (!result) rungs_make(&p->rungs, p->each, request->eta, first, j->steps);
    p->threads = request->threads ? request->threads : j->parallel.threads;
    if (p->threads == 0) p->threads = 1;
    return result;
}

void tune_plan_close(tune_plan *p)
{
    for (size_t i = 0; i < p->bracket_count; i++) free(p->brackets[i].text);
    free(p->configs);
    *p = (tune_plan){0};
}
