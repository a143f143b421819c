/* vario prepare: text files to token files. */
#include "io/tokens/prepare.h"

#include "base/terminal.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "io/files/json_text.h"

#include <jansson.h>
#include <stdio.h>

/* What meta.json says of the new files, and where they are. */
static status print_json(const char *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/meta.json", out);
    json_t *result;
    status code = json_text_read_object(&result, path, 0);
    if (code) return code;
    json_text_set(&result, "out", json_text_string(out));
    return json_text_print(stdout, result, JSON_SORT_KEYS);
}

static void say(const char *sentence)
{
    terminal_print(stderr, "vario: notice: prepare: %s\n", sentence);
}

static status check(const prepare_options *o, uint64_t threads)
{
    if (!o->directory) return fail(STATUS_INPUT, "vario prepare: --out DIR expected, none found");
    if (o->valid <= 0.0 || o->valid >= 1.0)
        return fail(STATUS_INPUT, "vario prepare: --valid %g found, between 0 and 1 expected",
                    o->valid);
    if (o->shard_tokens == 0)
        return fail(STATUS_INPUT, "vario prepare: --shard-tokens 0 found, at least 1 expected");
    if (o->learn > 0 && (o->learn < 257 || o->learn > 65536))
        return fail(STATUS_INPUT, "vario prepare: --learn %llu found, 257 to 65536 tokens expected",
                    (unsigned long long)o->learn);
    if (o->learn > 0 && o->tokenizer)
        return fail(STATUS_INPUT,
                    "vario prepare: --learn and --tokenizer found, one of them expected");
    if (threads > 4096)
        return fail(STATUS_INPUT, "vario prepare: --threads %llu found, at most 4096 expected",
                    (unsigned long long)threads);
    return STATUS_OK;
}

int prepare_main(int argc, char **argv)
{
    prepare_options o = {.valid = 0.1, .shard_tokens = 100000000, .key = "text"};
    uint64_t threads = 0;
    bool json = false, quiet = false, helped;
    const option options[] = {
        {"--out", OPTION_PATH, &o.directory, "DIR", "where train.bin, val.bin and meta.json go"},
        {"--tokenizer", OPTION_PATH, &o.tokenizer, "PATH",
         "GPT-2's files: a directory with vocab.json and merges.txt, encoder.json and vocab.bpe, "
         "or tokenizer.json (bytes are tokens)"},
        {"--learn", OPTION_COUNT, &o.learn, "N", "learn a tokenizer of N tokens from the texts"},
        {"--valid", OPTION_NUMBER, &o.valid, "F", "the last part F is for validation (0.1)"},
        {"--shard-tokens", OPTION_COUNT, &o.shard_tokens, "N",
         "at most N tokens a training file (100000000)"},
        {"--key", OPTION_TEXT, &o.key, "NAME", "of the text in lines of JSON (text)"},
        {"--threads", OPTION_COUNT, &threads, "N", "how many work (all)"},
        OPTION_JSON(json),
        OPTION_QUIET(quiet),
    };
    const option_table table = {
        "prepare",
        "TEXT... --out DIR [--tokenizer PATH]",
        "Make token files of texts: plain or, with names in .jsonl or .ndjson, lines of JSON; as "
        "they\n"
        "are or packed by gzip, xz or zstd. What was killed goes on when it is called again.",
        options,
        sizeof options / sizeof options[0],
        1,
        4096};
    const char *rest[4096];
    status result = options_parse(&table, argc, argv, rest, &o.count, &helped);
    if (!result && helped) return 0;
    o.texts = rest;
    o.threads = (int)threads;
    if (!quiet) o.say = say;
    if (!result) result = check(&o, threads);
    if (!result) result = prepare_tokens(&o);
    if (!result && json)
        result = print_json(o.directory);
    else if (!result && !quiet)
        terminal_print(stdout, "%s: token files of %zu texts written\n", o.directory, o.count);
    return options_exit(result, true);
}
