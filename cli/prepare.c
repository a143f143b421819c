/* vario prepare: text files to token files. */
#include "cli/options.h"
#include "cli/verbs.h"
#include "io/tokens.h"

#include <jansson.h>
#include <stdio.h>

/* What meta.json says of the new files, and where they are. */
static status print_json(const char *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/meta.json", out);
    json_error_t error;
    json_t *result = json_load_file(path, 0, &error);
    status code = STATUS_OK;
    if (!result)
        code = fail(STATUS_IO, "%s: %s", path, error.text);
    else if (json_object_set_new(result, "out", json_string(out)) != 0)
        code = fail(STATUS_INPUT, "%s: not UTF-8, cannot be printed as JSON", out);
    else if (json_dumpf(result, stdout, JSON_SORT_KEYS) != 0 || putchar('\n') == EOF)
        code = fail(STATUS_IO, "the result cannot be printed");
    json_decref(result);
    return code;
}

int prepare_main(int argc, char **argv)
{
    const char *out = NULL;
    double valid = 0.1;
    uint64_t shard_tokens = 100000000;
    bool json = false, quiet = false, helped;
    const option options[] = {
        {"--out", OPTION_TEXT, &out, "DIR", "where train.bin, val.bin and meta.json go"},
        {"--valid", OPTION_NUMBER, &valid, "F", "the last part F is for validation (0.1)"},
        {"--shard-tokens", OPTION_COUNT, &shard_tokens, "N",
         "at most N tokens a training file (100000000)"},
        OPTION_JSON(json),
        OPTION_QUIET(quiet),
    };
    const option_table table = {
        "prepare", "TEXT... --out DIR [--valid 0.1]",  "Make byte-level token files of text files.",
        options,   sizeof options / sizeof options[0], 1,
        4096};
    const char *rest[4096];
    size_t count;
    status result = options_parse(&table, argc, argv, rest, &count, &helped);
    if (!result && helped) return 0;
    if (!result && !out)
        result = fail(STATUS_INPUT, "vario prepare: --out DIR expected, none found");
    if (!result && (valid <= 0.0 || valid >= 1.0))
        result =
            fail(STATUS_INPUT, "vario prepare: --valid %g found, between 0 and 1 expected", valid);
    if (!result && shard_tokens == 0)
        result = fail(STATUS_INPUT, "vario prepare: --shard-tokens 0 found, at least 1 expected");
    if (!result) result = tokens_prepare(rest, count, out, valid, shard_tokens);
    if (!result && json)
        result = print_json(out);
    else if (!result && !quiet)
        printf("%s: token files of %zu texts written\n", out, count);
    return options_exit(result, true);
}
