/* One process writes while it has the folder's lock; who comes later compares. */
#include "tune/plan_file.h"

#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/runs/job_of_run.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = JOB_TEXT + 64, PATIENCE = 1200 /* tenths of a second */ };

static json_t *bounds_json(const tune_key *k)
{
    return json_pack("{sf sb sf sb ss}", "low", k->low.value, "low_relative", k->low.relative,
                     "high", k->high.value, "high_relative", k->high.relative, "scale",
                     k->log ? "log" : "linear");
}

static json_t *keys_json(const tune_plan *p)
{
    json_t *keys = json_object();
    for (size_t i = 0; i < p->key_count; i++) {
        const tune_key *k = &p->keys[i];
        json_t *values = k->count ? json_array() : bounds_json(k);
        for (size_t v = 0; v < k->count; v++)
            json_text_add(&values, json_text_string(k->values[v]));
        json_text_set(&keys, k->row->key, values);
    }
    return keys;
}

static json_t *jobs_json(const tune_plan *p)
{
    json_t *jobs = json_object();
    for (size_t b = 0; b < p->bracket_count; b++)
        json_text_set(&jobs, optimizer_row(p->brackets[b].base.optimizer.kind)->name,
                      json_text_string(p->brackets[b].text));
    return jobs;
}

static json_t *rungs_json(const tune_rungs *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->count; i++)
        json_text_add(&all, json_pack("{sI sI}", "step", (json_int_t)r->steps[i], "runs",
                                      (json_int_t)r->runs[i]));
    return all;
}

static json_t *runs_json(const tune_plan *p)
{
    json_t *runs = json_object();
    for (size_t c = 0; c < tune_configs(p); c++) {
        json_t *values = json_object();
        for (size_t k = 0; k < p->key_count; k++)
            json_text_set(&values, p->keys[k].row->key, json_text_string(p->configs[c].values[k]));
        json_text_set(&runs, p->configs[c].name, values);
    }
    return runs;
}

static json_t *plan_json(const tune_plan *p)
{
    json_t *o = json_object(), *seeds = json_array();
    for (size_t s = 0; s < p->seed_count; s++) json_text_add(&seeds, json_text_count(p->seeds[s]));
    json_text_set(&o, "keys", keys_json(p));
    json_text_set(&o, "seeds", seeds);
    json_text_set(&o, "threads", json_text_count(p->threads));
    json_text_set(&o, "rungs", rungs_json(&p->rungs));
    json_text_set(&o, "runs", runs_json(p));
    json_text_set(&o, "jobs", jobs_json(p));
    return o;
}

/* What is named first is what the user changed; the rest follows from it. */
static status compare(const json_t *found, json_t *wanted, const char *path)
{
    const char *name;
    json_t *value;
    json_object_foreach(
        wanted, name,
        value) if (!json_equal(json_object_get(found, name),
                               value)) return fail(STATUS_INPUT,
                                                   "%.400s: '%s' of another tuning found: the "
                                                   "command that began it expected, "
                                                   "or another --out",
                                                   path, name);
    return STATUS_OK;
}

static status write_plan(const tune_plan *p, json_t *plan, const char *path)
{
    status result = STATUS_OK;
    for (size_t b = 0; !result && b < p->bracket_count; b++) {
        char base[PATH_SIZE];
        tune_base_path(base, sizeof base, p, b);
        result = file_write_atomic(base, p->brackets[b].text, strlen(p->brackets[b].text));
    }
    return result ? result : json_text_write(path, json_incref(plan), JSON_INDENT(1));
}

static status settle(const tune_plan *p, json_t *plan)
{
    char path[PATH_SIZE];
    json_t *found = NULL;
    snprintf(path, sizeof path, "%s/tune.json", p->folder);
    if (access(path, F_OK) != 0) return write_plan(p, plan, path);
    status result = json_text_read_object(&found, path, 0);
    if (!result) result = compare(found, plan, path);
    json_decref(found);
    return result;
}

status plan_file_lock(folder_lock **l, const tune_plan *p)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/.lock", p->folder);
    status result = lock_take(l, path, p->folder, "another tuning");
    for (int i = 0; result == STATUS_INPUT && i < PATIENCE; i++) {
        status_clear();
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        result = lock_take(l, path, p->folder, "another tuning");
    }
    return result;
}

status plan_file_settle(const tune_plan *p)
{
    folder_lock *l;
    if (job_run_exists(p->folder))
        return fail(STATUS_INPUT,
                    "%s: a folder of its own expected for the runs, the directory of a run found",
                    p->folder);
    json_t *plan = plan_json(p);
    status result = plan ? file_make_directories(p->folder)
                         : fail(STATUS_NOMEM, "memory for the plan of %s", p->folder);
    if (!result) result = plan_file_lock(&l, p);
    if (!result) {
        result = settle(p, plan);
        lock_release(&l);
    }
    json_decref(plan);
    return result;
}
