/* Every verb takes --help, and every option is a row of its table. */
#include "cli/options.h"

#include "cli/manual.h"
#include "io/files/file.h"
#include "io/runs/output.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(const option_table *table)
{
    printf("usage: vario %s %s\n\n%s\n", table->verb, table->usage, table->summary);
    if (table->count) printf("\noptions:\n");
    for (size_t i = 0; i < table->count; i++) {
        char left[64];
        const option *o = &table->options[i];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-24s %s\n", left, o->help);
    }
    printf("  %-24s %s\n", "--help", "print this");
}

static status set_count(const option_table *table, const option *o, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9')
        return fail(STATUS_INPUT, "vario %s: %s: '%s' found, a whole number from 0 expected",
                    table->verb, o->name, text);
    *(uint64_t *)o->target = value;
    return STATUS_OK;
}

static status set_number(const option_table *table, const option *o, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= 0.0) || isinf(value))
        return fail(STATUS_INPUT, "vario %s: %s: '%s' found, a number from 0 expected", table->verb,
                    o->name, text);
    *(double *)o->target = value;
    return STATUS_OK;
}

static status check_path(const option_table *table, const char *name, const char *path)
{
    if (!file_wants_shell(path)) return STATUS_OK;
    return fail(STATUS_INPUT, "vario %s: %s'%s' found, " FILE_WANTED, table->verb, name, path);
}

static status set_path(const option_table *table, const option *o, const char *text)
{
    char name[40];
    snprintf(name, sizeof name, "%s: ", o->name);
    *(const char **)o->target = text;
    return check_path(table, name, text);
}

static status set_option(const option_table *table, const option *o, const char *text)
{
    option_list *list = o->target;
    switch (o->type) {
    case OPTION_FLAG: *(bool *)o->target = true; return STATUS_OK;
    case OPTION_TEXT: *(const char **)o->target = text; return STATUS_OK;
    case OPTION_PATH:
    case OPTION_INPUT:
    case OPTION_OUTPUT: return set_path(table, o, text);
    case OPTION_COUNT: return set_count(table, o, text);
    case OPTION_NUMBER: return set_number(table, o, text);
    case OPTION_LIST: break;
    }
    if (list->count == sizeof list->values / sizeof list->values[0])
        return fail(STATUS_INPUT, "vario %s: %s: more than %zu found", table->verb, o->name,
                    list->count);
    list->values[list->count++] = text;
    return STATUS_OK;
}

static const option *find(const option_table *table, const char *name, size_t length)
{
    for (size_t i = 0; i < table->count; i++)
        if (strlen(table->options[i].name) == length &&
            strncmp(table->options[i].name, name, length) == 0)
            return &table->options[i];
    return NULL;
}

static status parse_option(const option_table *table, int argc, char **argv, int *i)
{
    const char *word = argv[*i], *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const option *o = find(table, word, length);
    if (!o)
        return fail(STATUS_INPUT, "vario %s: unknown option '%s' (see vario %s --help)",
                    table->verb, word, table->verb);
    if (o->type == OPTION_FLAG && equals)
        return fail(STATUS_INPUT, "vario %s: %s takes no value, '%s' found", table->verb, o->name,
                    equals + 1);
    if (o->type != OPTION_FLAG && !equals && *i + 1 >= argc)
        return fail(STATUS_INPUT, "vario %s: %s: nothing found, %s expected", table->verb, o->name,
                    o->value);
    const char *text = equals ? equals + 1 : o->type == OPTION_FLAG ? NULL : argv[++*i];
    return set_option(table, o, text);
}

status options_check_outputs(const option_table *table, const char *const *inputs, size_t count)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < table->count; i++) {
        const option *o = &table->options[i];
        const char *path = o->type == OPTION_OUTPUT ? *(const char **)o->target : NULL;
        if (path) result = output_check_file(path, inputs, count);
    }
    return result;
}

static status check_outputs(const option_table *table, const char *const *rest, size_t count)
{
    status result = options_check_outputs(table, rest, count);
    for (size_t i = 0; !result && i < table->count; i++)
        if (table->options[i].type == OPTION_INPUT)
            result = options_check_outputs(table, table->options[i].target, 1);
    return result;
}

bool options_describe(const option_table *table, int argc, char **argv)
{
    if (argc != 2) return false;
    if (strcmp(argv[1], "--help=manual") == 0)
        manual_print_table(table);
    else if (strcmp(argv[1], "--help=words") == 0)
        manual_print_words(table);
    else
        return false;
    return true;
}

bool options_speaks(void)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!rank) rank = getenv("PMIX_RANK");
    return !rank || strcmp(rank, "0") == 0;
}

status options_parse(const option_table *table, int argc, char **argv, const char **rest,
                     size_t *rest_count, bool *helped)
{
    *rest_count = 0;
    *helped = options_describe(table, argc, argv);
    if (*helped) return STATUS_OK;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            if (options_speaks()) print_help(table);
            *helped = true;
            return STATUS_OK;
        }
        if (argv[i][0] == '-' && argv[i][1]) {
            status result = parse_option(table, argc, argv, &i);
            if (result) return result;
        } else if (*rest_count == table->max) {
            return fail(STATUS_INPUT, "vario %s: unexpected argument '%s' (usage: vario %s %s)",
                        table->verb, argv[i], table->verb, table->usage);
        } else {
            status result = check_path(table, "", argv[i]);
            if (result) return result;
            rest[(*rest_count)++] = argv[i];
        }
    }
    if (*rest_count < table->min)
        return fail(STATUS_INPUT, "vario %s: an argument is missing (usage: vario %s %s)",
                    table->verb, table->verb, table->usage);
    return check_outputs(table, rest, *rest_count);
}

int options_exit(status result, bool speaks)
{
    if (result && speaks) {
        fflush(stdout);
        fprintf(stderr, "vario: %s\n", status_message());
    }
    status_clear();
    return status_exit_code(result);
}
