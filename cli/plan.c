/* vario plan: what a job would take, without training it. */
#include "train/plan.h"

#include "analysis/sensitivity.h"
#include "base/terminal.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "runtime/free_memory.h"

#include <inttypes.h>
#include <stdio.h>

/* Where the ranks of the launch will be is not known; if they are on nodes like this one. */
static status warn_of_memory(const job *j, size_t ranks)
{
    plan p;
    char lack[512];
    status result = plan_make(&p, j, ranks, 0, j->precision, &sensitivity_estimator);
    if (result) return result;
    double bytes = (double)trainer_memory_sum(&p.memory) + TRAINER_BESIDE;
    if (!free_memory_has(bytes, 1, lack, sizeof lack))
        status_warn("%s: rank 0 alone does not fit here: %s", j->name, lack);
    else if (!free_memory_has(bytes, ranks, lack, sizeof lack))
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

int plan_main(int argc, char **argv)
{
    uint64_t ranks = 1;
    bool json = false, helped;
    option_list overrides = {0};
    const option options[] = {
        {"--ranks", OPTION_COUNT, &ranks, "N", "ranks of the launch (1)"},
        {"--set", OPTION_LIST, &overrides, "KEY=VALUE", "override a key of the job"},
        {"--json", OPTION_FLAG, &json, NULL, "print as JSON, in bytes"},
    };
    const option_table table = {
        "plan",
        "JOB.yaml [--ranks N] [--json]",
        "Memory a rank and bytes a step of a job, for every sharding stage.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    const char *rest[1];
    size_t count;
    job j;
    status result = options_parse(&table, argc, argv, rest, &count, &helped);
    if (!result && helped) return 0;
    if (!result) result = job_read(&j, rest[0], overrides.values, overrides.count);
    if (!result && (ranks == 0 || ranks > 1000000))
        result =
            fail(STATUS_INPUT, "vario plan: --ranks %" PRIu64 ": 1 to 1000000 expected", ranks);
    if (!result) result = trainer_check_ranks(&j, "vario plan: --ranks", ranks);
    if (!result)
        result = plan_print(stdout, &j, (size_t)ranks, j.precision, json, &sensitivity_estimator);
    if (!result && !json) print_settings(&j);
    if (!result) result = warn_of_memory(&j, (size_t)ranks);
    return options_exit(result, true);
}
