/* vario plan: what a job would take, without training it. */
#include "analysis/sensitivity.h"
#include "base/terminal.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "runtime/free_memory.h"
#include "train/step_time.h"

#include <inttypes.h>
#include <stdio.h>

/* Where the ranks of the launch will be is not known; if they are on nodes like this one. */
static status warn_of_memory(const job *j, size_t ranks)
{
    plan p;
    char lack[512];
    const plan_rank first = plan_rank_of(ranks, 0, 1);
    status result = plan_make(&p, j, &first, j->precision, &sensitivity_estimator);
    if (result) return result;
    double bytes = (double)trainer_memory_sum(&p.memory) + TRAINER_BESIDE;
    double shared = ranks > 1 ? (double)p.memory.node * (double)(ranks - 1) / (double)ranks : 0.0;
    if (!free_memory_has(bytes, 1, lack, sizeof lack))
        status_warn("%s: rank 0 alone does not fit here: %s", j->name, lack);
    else if (!free_memory_has(bytes - shared, ranks, lack, sizeof lack))
        status_warn("%s: so many ranks do not fit on one node like this one: %s", j->name, lack);
    return STATUS_OK;
}

/* Whether data are there is not asked here. */
static void print_settings(const job *j)
{
    char line[STATUS_MESSAGE_SIZE];
    if (j->optimizer.settings != SETTINGS_AUTO) return;
    job_settings_say(j, 0, line, sizeof line);
    terminal_print(stdout, "\n%s\n", line);
}

#define NOT_GIVEN UINT64_MAX

typedef struct {
    uint64_t ranks, nodes; /* NOT_GIVEN where they are not */
    const char *cluster;
    bool json;
    option_list overrides;
} arguments;

static uint64_t ranks_of(const arguments *a)
{
    return a->ranks == NOT_GIVEN ? 1 : a->ranks;
}

static status check_launch(const arguments *a, const job *j)
{
    uint64_t ranks = ranks_of(a);
    if (ranks == 0 || ranks > 1000000)
        return fail(STATUS_INPUT, "vario plan: --ranks %" PRIu64 ": 1 to 1000000 expected", ranks);
    if (a->nodes != NOT_GIVEN && a->ranks == NOT_GIVEN)
        return fail(STATUS_INPUT, "vario plan: --nodes %" PRIu64 ": --ranks expected with it",
                    a->nodes);
    if (a->nodes != NOT_GIVEN && (a->nodes == 0 || a->nodes > ranks))
        return fail(STATUS_INPUT, "vario plan: --nodes %" PRIu64 ": 1 to %" PRIu64 " expected",
                    a->nodes, ranks);
    return trainer_check_ranks(j, "vario plan: --ranks", ranks);
}

/* What a step takes, in memory and bytes or on a cluster in seconds. */
static status plan_job(const arguments *a, const job *j)
{
    size_t ranks = (size_t)ranks_of(a), nodes = a->nodes == NOT_GIVEN ? 1 : (size_t)a->nodes;
    if (!a->cluster) {
        status result =
            plan_print(stdout, j, ranks, nodes, j->precision, a->json, &sensitivity_estimator);
        if (!result && !a->json) print_settings(j);
        return result ? result : warn_of_memory(j, ranks);
    }
    cluster c;
    status result = cluster_read(&c, a->cluster);
    if (result) return result;
    return step_time_print(stdout, j, &c, a->cluster, a->ranks == NOT_GIVEN ? 0 : ranks, nodes,
                           a->json, &sensitivity_estimator);
}

int plan_main(int argc, char **argv)
{
    arguments a = {.ranks = NOT_GIVEN, .nodes = NOT_GIVEN};
    bool helped;
    const option options[] = {
        {"--ranks", OPTION_COUNT, &a.ranks, "N", "ranks of the launch (1)"},
        {"--cluster", OPTION_INPUT, &a.cluster, "FILE",
         "predict a step's seconds on nodes that vario bench cluster measured: on 1, 2, 4, ... "
         "nodes, or for --ranks"},
        {"--nodes", OPTION_COUNT, &a.nodes, "M",
         "that the ranks are on (1); nodes keep means and deviations once"},
        {"--set", OPTION_LIST, &a.overrides, "KEY=VALUE", "override a key of the job"},
        {"--json", OPTION_FLAG, &a.json, NULL, "print as JSON, in bytes and seconds"},
    };
    const option_table table = {
        "plan",
        "JOB.yaml [--ranks N] [--cluster FILE] [--json]",
        "Memory a rank and bytes a step of a job, for every sharding stage; or how long a step "
        "takes.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    const char *rest[1];
    size_t count;
    job j;
    status result = options_parse(&table, argc, argv, rest, &count, &helped);
    if (!result && helped) return 0;
    if (!result) result = job_read(&j, rest[0], a.overrides.values, a.overrides.count);
    if (!result) result = check_launch(&a, &j);
    if (!result) result = plan_job(&a, &j);
    return options_exit(result, true);
}
