/* libyaml's events to entries: one mapping, mappings in it, scalars and lists of scalars in those.
 */
#include "io/job_yaml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

typedef struct {
    yaml_parser_t parser;
    yaml_event_t event;
    bool held; /* event must be deleted */
    const char *path;
    job_entries *out;
} reader;

static status refuse(const reader *r, yaml_mark_t mark, const char *sentence)
{
    return fail(STATUS_INPUT, "%s:%zu:%zu: %s", r->path, mark.line + 1, mark.column + 1, sentence);
}

static status next(reader *r)
{
    if (r->held) yaml_event_delete(&r->event);
    r->held = false;
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        char text[300];
        snprintf(text, sizeof text, "YAML expected: %s",
                 r->parser.problem ? r->parser.problem : "unreadable");
        return refuse(r, r->parser.problem_mark, text);
    }
    r->held = true;
    if (r->event.type == YAML_ALIAS_EVENT)
        return refuse(r, r->event.start_mark, "a value expected, an alias found");
    return STATUS_OK;
}

static job_entry *add_entry(reader *r, const char *key)
{
    if (r->out->count == JOB_ENTRIES) return NULL;
    job_entry *e = &r->out->entries[r->out->count++];
    *e =
        (job_entry){.line = r->event.start_mark.line + 1, .column = r->event.start_mark.column + 1};
    snprintf(e->key, sizeof e->key, "%s", key);
    return e;
}

static void append(job_entry *e, const char *text, size_t length)
{
    size_t n = strlen(e->value);
    if (n + length > JOB_TEXT || memchr(text, '\0', length)) {
        e->too_long = true;
        return;
    }
    memcpy(e->value + n, text, length);
    e->value[n + length] = '\0';
}

static status read_list(reader *r, job_entry *e)
{
    for (bool first = true;; first = false) {
        status result = next(r);
        if (result) return result;
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return STATUS_OK;
        if (r->event.type != YAML_SCALAR_EVENT)
            return refuse(r, r->event.start_mark, "a list of plain values expected");
        if (!first) append(e, ",", 1);
        append(e, (const char *)r->event.data.scalar.value, r->event.data.scalar.length);
    }
}

static status read_mapping(reader *r, const char *prefix);

static status read_value(reader *r, const char *key, yaml_mark_t mark)
{
    status result = next(r);
    if (result) return result;
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        if (strchr(key, '.')) return refuse(r, mark, "a plain value expected, a mapping found");
        return read_mapping(r, key);
    }
    job_entry *e = add_entry(r, key);
    if (!e) return refuse(r, mark, "too many keys found");
    e->line = mark.line + 1;
    e->column = mark.column + 1;
    if (r->event.type == YAML_SEQUENCE_START_EVENT) return read_list(r, e);
    append(e, (const char *)r->event.data.scalar.value, r->event.data.scalar.length);
    return STATUS_OK;
}

static status read_mapping(reader *r, const char *prefix)
{
    for (;;) {
        status result = next(r);
        if (result) return result;
        if (r->event.type == YAML_MAPPING_END_EVENT) return STATUS_OK;
        yaml_mark_t mark = r->event.start_mark;
        if (r->event.type != YAML_SCALAR_EVENT) return refuse(r, mark, "a key expected");
        char key[128];
        const char *word = (const char *)r->event.data.scalar.value;
        snprintf(key, sizeof key, "%s%s%.60s", prefix, *prefix ? "." : "", word);
        result = read_value(r, key, mark);
        if (result) return result;
    }
}

static status read_document(reader *r)
{
    status result = next(r); /* stream start */
    if (!result) result = next(r);
    if (result) return result;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return fail(STATUS_INPUT, "%s:1:1: keys of a job expected, an empty file found", r->path);
    result = next(r);
    if (result) return result;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, r->event.start_mark, "a mapping of keys expected");
    result = read_mapping(r, "");
    if (!result) result = next(r); /* document end */
    if (!result) result = next(r);
    if (!result && r->event.type != YAML_STREAM_END_EVENT)
        return refuse(r, r->event.start_mark, "one document expected, another found");
    return result;
}

status job_yaml_read(job_entries *out, const char *path)
{
    out->count = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return fail(STATUS_INPUT, "%s: %s", path, strerror(errno));
    reader r = {.path = path, .out = out};
    if (!yaml_parser_initialize(&r.parser)) {
        fclose(file);
        return fail(STATUS_NOMEM, "memory to read %s", path);
    }
    yaml_parser_set_input_file(&r.parser, file);
    status result = read_document(&r);
    if (r.held) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    fclose(file);
    return result;
}
