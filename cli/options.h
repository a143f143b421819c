/** Arguments of a verb: one table a verb, which parsing and --help read. */
#ifndef VARIO_CLI_OPTIONS_H
#define VARIO_CLI_OPTIONS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** OPTION_PATH is a text that names a file, a directory or data; OPTION_INPUT one that is read, as
 * positional arguments are; OPTION_OUTPUT a file that is written, which options_parse refuses where
 * an input is (io/runs/output.h). */
typedef enum {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_PATH,
    OPTION_INPUT,
    OPTION_OUTPUT,
    OPTION_COUNT,
    OPTION_NUMBER,
    OPTION_LIST
} option_type;

/** Values of a repeated option. */
typedef struct {
    const char *values[64];
    size_t count;
} option_list;

typedef struct {
    const char *name; /**< "--set" */
    option_type type;
    void *target;      /**< bool, const char * (TEXT, PATH), uint64_t, double or option_list */
    const char *value; /**< how the value is called in the help, NULL for flags */
    const char *help;
} option;

/** Rows of most verbs' tables. @param flag  bool */
#define OPTION_JSON(flag)                                                                          \
    {                                                                                              \
        "--json", OPTION_FLAG, &(flag), NULL, "print the result as JSON"                           \
    }
#define OPTION_QUIET(flag)                                                                         \
    {                                                                                              \
        "--quiet", OPTION_FLAG, &(flag), NULL, "only errors and the result"                        \
    }

typedef struct {
    const char *verb, *usage, *summary;
    const option *options;
    size_t count;
    size_t min, max; /**< positional arguments, which are paths */
} option_table;

/** Whether this process is the first of its launch, as the launcher's environment says it. */
bool options_speaks(void);

/** Parse; positional arguments go to `rest` [table->max].
 * @param helped  out: --help was given and has been printed (by rank 0 of the launch only)
 * @return STATUS_OK or STATUS_INPUT */
status options_parse(const option_table *table, int argc, char **argv, const char **rest,
                     size_t *rest_count, bool *helped);

/** Refuse OPTION_OUTPUTs where these inputs are, and what io/runs/output.h refuses besides; not
 * collective. @param inputs  [count] NULL entries are passed over */
status options_check_outputs(const option_table *table, const char *const *inputs, size_t count);

/** Print the table for who makes man pages and completion, where --help=manual or --help=words is
 * the only argument; before MPI starts. @return whether it was */
bool options_describe(const option_table *table, int argc, char **argv);

/** Print a pending failure as "vario: sentence" when `speaks`, and give the exit code. */
int options_exit(status result, bool speaks);

#endif
