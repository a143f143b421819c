/* The resolved job, and the schema as documentation. */
#include "io/files/json_text.h"
#include "io/jobs/job_schema.h"

#include <jansson.h>
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
    return schema_applies(row, j) && !schema_waits(row, j) &&
           (!row->settings || row->settings & (1 << j->optimizer.settings)) &&
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

/* "; NAME: VALUE" of the optimizers whose default is another one. */
static void print_standards(FILE *out, const schema_row *row, const char *when,
                            const char *(*of)(const schema_row *row, optimizer_kind kind))
{
    for (int kind = 0; kind < OPTIMIZER_KINDS; kind++) {
        const char *own = of(row, (optimizer_kind)kind);
        if (own) fprintf(out, "; %s%s: %s", optimizer_row((optimizer_kind)kind)->name, when, own);
    }
}

static void print_line(FILE *out, const schema_row *row)
{
    char range[80], of[100];
    schema_range(row, range, sizeof range);
    fprintf(out, "%-25s %-6s %-13s %-14s %-6s ", row->key, types[row->type], shown_standard(row),
            range, row->may_change ? "yes" : "no");
    if (owners(row, of, sizeof of)) fprintf(out, "(%s) ", of);
    fputs(row->help, out);
    print_standards(out, row, "", schema_standard_of);
    print_standards(out, row, ", auto", schema_automatic_of);
    if (row->standard_examples) fprintf(out, "; linear, mlp: %s", row->standard_examples);
    if (row->type == KEY_CHOICE) fprintf(out, " [%s]", row->choices);
    fputc('\n', out);
}

static json_t *names_json(const schema_row *kinds, int set)
{
    char text[32];
    json_t *names = json_array();
    for (int value = 0; set >> value; value++) {
        if (!(set >> value & 1)) continue;
        schema_choice(kinds, value, text, sizeof text);
        json_text_add(&names, json_string(text));
    }
    return names;
}

static int choices_set(const schema_row *row)
{
    int set = 1;
    for (const char *c = row->choices; (c = strchr(c, '|')); c++) set = set << 1 | 1;
    return set;
}

static void set_standards(json_t **o, const schema_row *row, const char *when,
                          const char *(*of)(const schema_row *row, optimizer_kind kind))
{
    char name[80];
    for (int kind = 0; kind < OPTIMIZER_KINDS; kind++) {
        const char *own = of(row, (optimizer_kind)kind);
        snprintf(name, sizeof name, "default_%s%s", optimizer_row((optimizer_kind)kind)->name,
                 when);
        if (own) json_text_set(o, name, json_string(own));
    }
}

static json_t *row_json(const schema_row *row)
{
    char text[80];
    json_t *o = json_pack("{ss ss ss?}", "key", row->key, "type", types[row->type], "default",
                          row->standard);
    set_standards(&o, row, "", schema_standard_of);
    set_standards(&o, row, "_auto", schema_automatic_of);
    if (row->standard_examples)
        json_text_set(&o, "default_examples", json_string(row->standard_examples));
    json_text_set(&o, "required", json_boolean(!row->standard && !row->from_preset));
    schema_range(row, text, sizeof text);
    json_text_set(&o, "range", *text ? json_string(text) : json_null());
    if (row->choices) json_text_set(&o, "choices", names_json(row, choices_set(row)));
    if (row->models)
        json_text_set(&o, "models", names_json(schema_find("model.kind"), row->models));
    if (row->by_optimizer)
        json_text_set(&o, "optimizers",
                      names_json(schema_find("optimizer.kind"), schema_optimizers(row)));
    if (row->schedules)
        json_text_set(&o, "schedules", names_json(schema_find("schedule.kind"), row->schedules));
    json_text_join(&o, json_pack("{sb ss}", "may_change", row->may_change, "help", row->help));
    return o;
}

status job_schema_print(FILE *out, bool json)
{
    json_t *rows = json_array();
    if (!json)
        fprintf(out, "%-25s %-6s %-13s %-14s %-6s %s\n", "key", "type", "default", "range",
                "resume", "meaning");
    for (size_t i = 0; i < schema_count; i++) {
        if (json)
            json_text_add(&rows, row_json(&schema_rows[i]));
        else
            print_line(out, &schema_rows[i]);
    }
    if (json) return json_text_print(out, rows, JSON_INDENT(1));
    json_decref(rows);
    return STATUS_OK;
}
