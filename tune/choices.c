/* A place a key, from 0 to 1, for every run; then the values there, bracket by bracket. */
#include "tune/choices.h"

#include "tune/points.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STANDARD = 9, TRIES = 100 /* points for every run */ };

_Static_assert((int)POINTS_DIMENSIONS >= (int)TUNE_KEYS, "a dimension a key");

/* How many choices lists alone have; 0: there is a range. */
static uint64_t count_lists(const tune_plan *p)
{
    uint64_t count = 1;
    for (size_t i = 0; i < p->key_count; i++)
        if (count <= TUNE_CONFIGS) count *= p->keys[i].count;
    return count;
}

static status choose_count(tune_plan *p, uint64_t runs)
{
    uint64_t lists = count_lists(p);
    if (lists > 0 && runs != UINT64_MAX && runs != lists)
        return fail(STATUS_INPUT,
                    "vario tune: --runs: %" PRIu64 " found, and the lists have %" PRIu64
                    " choices: every one is a run, no --runs expected",
                    runs, lists);
    if (lists > 0) runs = lists;
    if (runs == UINT64_MAX) runs = STANDARD;
    if (runs > TUNE_CONFIGS)
        return fail(STATUS_INPUT, "vario tune: %" PRIu64 " runs found, at most %d expected", runs,
                    TUNE_CONFIGS);
    p->each = (size_t)runs;
    p->configs = calloc(tune_configs(p), sizeof *p->configs);
    return p->configs ? STATUS_OK : fail(STATUS_NOMEM, "memory for %zu runs", tune_configs(p));
}

/* The first key changes slowest, as the table reads. */
static void place_in_lists(const tune_plan *p, size_t i, double *at)
{
    for (size_t k = p->key_count; k-- > 0; i /= p->keys[k].count)
        at[k] = ((double)(i % p->keys[k].count) + 0.5) / (double)p->keys[k].count;
}

static void place_point(const tune_plan *p, size_t i, uint64_t draw, uint64_t index, double *at)
{
    if (count_lists(p) > 0)
        place_in_lists(p, i, at);
    else if (p->key_count == 1)
        at[0] = points_even(i, p->each);
    else
        points_halton(at, p->key_count, draw, index);
}

static bool is_new(const tune_config *configs, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (memcmp(configs[k].values, configs[i].values, sizeof configs[i].values) == 0)
            return false;
    return true;
}

/* The last word of every key with its value; the number before it makes it the only one. */
static void name_config(tune_plan *p, size_t b, size_t i)
{
    tune_config *c = &p->configs[b * p->each + i];
    const char *of = p->brackets[b].name;
    int n = snprintf(c->name, sizeof c->name, "%s%s%0*zu", of, *of ? "-" : "",
                     p->each > 100 ? 4 : 2, i);
    for (size_t k = 0; k < p->key_count && n < TUNE_NAME; k++) {
        const char *key = p->keys[k].row->key, *dot = strrchr(key, '.');
        n += snprintf(c->name + n, sizeof c->name - (size_t)n, "-%s=%s", dot ? dot + 1 : key,
                      c->values[k]);
    }
    for (char *at = c->name; *at; at++)
        if (!job_name_fits((const char[]){'a', *at, '\0'})) *at = '_';
}

static status fill_bracket(tune_plan *p, size_t b, uint64_t draw)
{
    tune_range ranges[TUNE_KEYS];
    tune_config *configs = p->configs + b * p->each;
    status result = STATUS_OK;
    for (size_t k = 0; !result && k < p->key_count; k++)
        result = tune_key_range(&ranges[k], &p->keys[k], &p->brackets[b].base);
    if (result) return result;
    size_t i = 0;
    for (uint64_t index = 0; i < p->each && index < (uint64_t)p->each * TRIES; index++) {
        double at[POINTS_DIMENSIONS];
        place_point(p, i, draw, index, at);
        memset(configs[i].values, 0, sizeof configs[i].values);
        for (size_t k = 0; k < p->key_count; k++)
            tune_key_value(configs[i].values[k], &p->keys[k], &ranges[k], at[k]);
        configs[i].bracket = b;
        if (is_new(configs, i)) name_config(p, b, i++);
    }
    if (i == p->each) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario tune: --runs: %zu found, and the keys have fewer different values", p->each);
}

status choices_make(tune_plan *p, uint64_t runs, uint64_t draw)
{
    status result = choose_count(p, runs);
    for (size_t b = 0; !result && b < p->bracket_count; b++) result = fill_bracket(p, b, draw);
    return result;
}
