/* vario schema: the keys of a job file, from the table that validates them. */
#include "cli/options.h"
#include "cli/verbs.h"
#include "io/jobs/job.h"

#include <stdio.h>

int schema_main(int argc, char **argv)
{
    bool json = false, helped;
    const option options[] = {{"--json", OPTION_FLAG, &json, NULL, "print as JSON"}};
    const option_table table = {"schema", "[--json]", "Print every key of a job file.", options, 1,
                                0,        0};
    size_t count;
    status result = options_parse(&table, argc, argv, NULL, &count, &helped);
    if (!result && !helped) result = job_schema_print(stdout, json);
    return options_exit(result, true);
}
