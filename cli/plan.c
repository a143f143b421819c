/* vario plan: what a job would take, without training it. */
#include "train/plan.h"

#include "analysis/sensitivity.h"
#include "cli/options.h"
#include "cli/verbs.h"

#include <inttypes.h>
#include <stdio.h>

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
    if (!result && ranks > job_settings(&j).items)
        fprintf(stderr,
                "note: a step has %" PRIu64 " work items: vario train takes no more ranks\n",
                job_settings(&j).items);
    if (!result)
        result = plan_print(stdout, &j, (size_t)ranks, j.precision, json, &sensitivity_estimator);
    return options_exit(result, true);
}
