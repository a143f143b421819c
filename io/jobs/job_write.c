/* The resolved job, and the schema as documentation. */
#include "io/jobs/job_schema.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* parse_text lets no control characters in, so two escapes do. */
static void write_value(FILE *out, const schema_row *row, const char *text)
{
    if (row->type != KEY_TEXT) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\') fputc('\\', out);
        fputc(*c, out);
    }
    fputc('"', out);
}

static bool is_written(const schema_row *row, const job *j)
{
    return schema_applies(row, j) &&
           (!row->schedules || row->schedules & (1 << j->schedule.kind)) &&
           (!row->of_swag || job_collects(j));
}

status job_write(const job *j, FILE *out)
{
    char section[32] = "", text[JOB_TEXT];
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        if (!is_written(row, j)) continue;
        const char *dot = strchr(row->key, '.');
        size_t length = dot ? (size_t)(dot - row->key) : 0;
        if (dot && (strlen(section) != length || strncmp(section, row->key, length) != 0)) {
            snprintf(section, sizeof section, "%.*s", (int)length, row->key);
            fprintf(out, "%s:\n", section);
        }
        schema_format(row, j, text, sizeof text);
        fprintf(out, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : row->key);
        write_value(out, row, text);
        fputc('\n', out);
    }
    return fflush(out) || ferror(out) ? fail(STATUS_IO, "write the resolved job: failed")
                                      : STATUS_OK;
}

static const char *const types[] = {"text", "count", "number", "bool", "choice", "counts"};

static const char *shown_standard(const schema_row *row)
{
    return row->standard ? row->standard : row->from_preset ? "preset" : "required";
}

/* The names in a set of models, optimizers or schedules, as in "ivon, adamw". */
static bool owners(const schema_row *row, char *text, size_t size)
{
    if (row->models)
        schema_choices(schema_find("model.kind"), row->models, text, size);
    else if (row->by_optimizer)
        schema_choices(schema_find("optimizer.kind"), schema_optimizers(row), text, size);
    else if (row->schedules)
        schema_choices(schema_find("schedule.kind"), row->schedules, text, size);
    return row->models || row->by_optimizer || row->schedules;
}

static void print_line(FILE *out, const schema_row *row)
{
    char range[80], of[100];
    schema_range(row, range, sizeof range);
    fprintf(out, "%-25s %-6s %-13s %-14s %-6s ", row->key, types[row->type], shown_standard(row),
            range, row->may_change ? "yes" : "no");
    if (owners(row, of, sizeof of)) fprintf(out, "(%s) ", of);
    fputs(row->help, out);
    for (int kind = 0; kind < OPTIMIZER_KINDS; kind++) {
        const char *own = schema_standard_of(row, (optimizer_kind)kind);
        if (own) fprintf(out, "; %s: %s", optimizer_row((optimizer_kind)kind)->name, own);
    }
    if (row->standard_examples) fprintf(out, "; linear, mlp: %s", row->standard_examples);
    if (row->type == KEY_CHOICE) fprintf(out, " [%s]", row->choices);
    fputc('\n', out);
}

static void print_names(FILE *out, const char *name, const schema_row *kinds, int set)
{
    char text[32];
    bool first = true;
    fprintf(out, ", \"%s\": [", name);
    for (int value = 0; set >> value; value++) {
        if (!(set >> value & 1)) continue;
        schema_choice(kinds, value, text, sizeof text);
        fprintf(out, "%s\"%s\"", first ? "" : ", ", text);
        first = false;
    }
    fputc(']', out);
}

static void print_string(FILE *out, const char *name, const char *text)
{
    if (text)
        fprintf(out, ", \"%s\": \"%s\"", name, text);
    else
        fprintf(out, ", \"%s\": null", name);
}

static int choices_set(const schema_row *row)
{
    int set = 1;
    for (const char *c = row->choices; (c = strchr(c, '|')); c++) set = set << 1 | 1;
    return set;
}

/* Nothing in the table has a quote or a backslash. */
static void print_object(FILE *out, const schema_row *row, bool last)
{
    char range[80];
    schema_range(row, range, sizeof range);
    fprintf(out, "  {\"key\": \"%s\", \"type\": \"%s\"", row->key, types[row->type]);
    print_string(out, "default", row->standard);
    for (int kind = 0; kind < OPTIMIZER_KINDS; kind++) {
        const char *own = schema_standard_of(row, (optimizer_kind)kind);
        char name[64];
        snprintf(name, sizeof name, "default_%s", optimizer_row((optimizer_kind)kind)->name);
        if (own) print_string(out, name, own);
    }
    if (row->standard_examples) print_string(out, "default_examples", row->standard_examples);
    fprintf(out, ", \"required\": %s", row->standard || row->from_preset ? "false" : "true");
    print_string(out, "range", *range ? range : NULL);
    if (row->choices) print_names(out, "choices", row, choices_set(row));
    if (row->models) print_names(out, "models", schema_find("model.kind"), row->models);
    if (row->by_optimizer)
        print_names(out, "optimizers", schema_find("optimizer.kind"), schema_optimizers(row));
    if (row->schedules) print_names(out, "schedules", schema_find("schedule.kind"), row->schedules);
    fprintf(out, ", \"may_change\": %s, \"help\": \"%s\"}%s\n", row->may_change ? "true" : "false",
            row->help, last ? "" : ",");
}

void job_schema_print(FILE *out, bool json)
{
    if (json)
        fprintf(out, "[\n");
    else
        fprintf(out, "%-25s %-6s %-13s %-14s %-6s %s\n", "key", "type", "default", "range",
                "resume", "meaning");
    for (size_t i = 0; i < schema_count; i++) {
        if (json)
            print_object(out, &schema_rows[i], i + 1 == schema_count);
        else
            print_line(out, &schema_rows[i]);
    }
    if (json) fprintf(out, "]\n");
}
