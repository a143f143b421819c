/* libyaml's events to entries: one mapping, mappings in it, scalars and lists of scalars in those.
 */
#include "io/jobs/job_yaml.h"

#include "io/files/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { FILE_MAX = 1 << 20 /* bytes */ };

typedef struct {
    yaml_parser_t parser;
    yaml_event_t event;
    bool held; /* event must be deleted */
    const char *path;
    FILE *file;
    job_entries *out;
} reader;

static status refuse(const reader *r, yaml_mark_t mark, const char *sentence)
{
    return fail(STATUS_INPUT, "%.500s:%zu:%zu: %s", r->path, mark.line + 1, mark.column + 1,
                sentence);
}

/* Whether a tab stands there; in front of it in its line may be blanks and tabs. */
static bool is_tab(const reader *r, yaml_mark_t mark)
{
    int c = 0;
    if (fseek(r->file, 0, SEEK_SET) != 0) return false; /* a pipe */
    for (size_t line = 0; line < mark.line && c != EOF;) line += (c = getc(r->file)) == '\n';
    for (size_t column = 0; column <= mark.column && c != EOF; column++) c = getc(r->file);
    return c == '\t';
}

static status refuse_syntax(const reader *r)
{
    char text[300];
    const yaml_parser_t *p = &r->parser;
    /* Bytes that are no text have no problem_mark. */
    yaml_mark_t mark = p->error == YAML_READER_ERROR ? p->mark : p->problem_mark;
    if (p->error == YAML_SCANNER_ERROR && is_tab(r, mark))
        return refuse(r, mark, "a tab found, blanks expected: YAML is indented with blanks");
    snprintf(text, sizeof text, "%s found, YAML expected", p->problem ? p->problem : "no text");
    return refuse(r, mark, text);
}

/* What would make a value depend on another place, or a type on more than the schema. */
static const char *decoration(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT: return "an alias (*name) found, a value expected";
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor) return "an anchor (&name) found, a value expected";
        return event->data.scalar.tag ? "a tag (!name) found, a value expected" : NULL;
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor) return "an anchor (&name) found, a list expected";
        return event->data.sequence_start.tag ? "a tag (!name) found, a list expected" : NULL;
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor) return "an anchor (&name) found, keys expected";
        return event->data.mapping_start.tag ? "a tag (!name) found, keys expected" : NULL;
    default: return NULL;
    }
}

static status next(reader *r)
{
    if (r->held) yaml_event_delete(&r->event);
    r->held = false;
    if (!yaml_parser_parse(&r->parser, &r->event)) return refuse_syntax(r);
    r->held = true;
    const char *found = decoration(&r->event);
    return found ? refuse(r, r->event.start_mark, found) : STATUS_OK;
}

static void append(job_entry *e, const char *text, size_t length)
{
    size_t n = strlen(e->value), left = JOB_TEXT - n;
    e->too_long |= length > left;
    if (length > left) length = left;
    /* A NUL would end the value early: it stays as another control character, which no key takes */
    for (size_t i = 0; i < length; i++) e->value[n + i] = (char)(text[i] ? text[i] : '\1');
    e->value[n + length] = '\0';
}

static void append_scalar(job_entry *e, const yaml_event_t *event)
{
    append(e, (const char *)event->data.scalar.value, event->data.scalar.length);
}

static status read_list(reader *r, job_entry *e)
{
    e->shape = SHAPE_LIST;
    for (bool first = true;; first = false) {
        status result = next(r);
        if (result) return result;
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return STATUS_OK;
        if (r->event.type != YAML_SCALAR_EVENT ||
            r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
            return refuse(r, r->event.start_mark,
                          "a list of plain values expected, another element found");
        if (!first) append(e, ",", 1);
        append_scalar(e, &r->event);
    }
}

static status read_mapping(reader *r, const char *section);

static status read_value(reader *r, const char *section, const char *word, yaml_mark_t mark)
{
    if (r->out->count == JOB_ENTRIES)
        return refuse(r, mark, "more keys found than a job has, one of each expected");
    job_entry *e = &r->out->entries[r->out->count++];
    *e = (job_entry){.line = mark.line + 1, .column = mark.column + 1};
    snprintf(e->key, sizeof e->key, "%s%s%.60s", section, *section ? "." : "", word);
    status result = next(r);
    if (result) return result;
    switch (r->event.type) {
    case YAML_MAPPING_START_EVENT:
        if (*section) {
            char text[200];
            snprintf(text, sizeof text, "'%s': a section found, a value expected", e->key);
            return refuse(r, mark, text);
        }
        e->shape = SHAPE_MAPPING;
        return read_mapping(r, e->key);
    case YAML_SEQUENCE_START_EVENT: return read_list(r, e);
    default: break;
    }
    if (r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) e->shape = SHAPE_QUOTED;
    append_scalar(e, &r->event);
    return STATUS_OK;
}

static status read_mapping(reader *r, const char *section)
{
    for (;;) {
        status result = next(r);
        if (result) return result;
        if (r->event.type == YAML_MAPPING_END_EVENT) return STATUS_OK;
        yaml_mark_t mark = r->event.start_mark;
        const char *word = (const char *)r->event.data.scalar.value;
        if (r->event.type != YAML_SCALAR_EVENT || strlen(word) != r->event.data.scalar.length)
            return refuse(r, mark, "a key expected, something else found");
        if (strchr(word, '.')) {
            char text[200];
            snprintf(
                text, sizeof text,
                "'%.60s' found, a key without '.' expected (in a file, keys of a section stand "
                "below it)",
                word);
            return refuse(r, mark, text);
        }
        char copy[64];
        snprintf(copy, sizeof copy, "%.60s", word); /* the event goes before the value comes */
        result = read_value(r, section, copy, mark);
        if (result) return result;
    }
}

static status read_document(reader *r)
{
    status result = next(r); /* stream start */
    if (!result) result = next(r);
    if (result) return result;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return fail(STATUS_INPUT, "%.500s:1:1: an empty file found, the keys of a job expected",
                    r->path);
    result = next(r);
    if (result) return result;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, r->event.start_mark,
                      "a mapping of keys expected (name: ...), something else found");
    result = read_mapping(r, "");
    if (!result) result = next(r); /* document end */
    if (!result) result = next(r);
    if (!result && r->event.type != YAML_STREAM_END_EVENT)
        return refuse(r, r->event.start_mark, "one document expected, a second found");
    return result;
}

/* Closes the file. */
static status read_stream(job_entries *out, const char *path, FILE *file)
{
    out->count = 0;
    reader r = {.path = path, .file = file, .out = out};
    if (!yaml_parser_initialize(&r.parser)) {
        fclose(file);
        return fail(STATUS_NOMEM, "memory to read %.500s", path);
    }
    yaml_parser_set_input_file(&r.parser, file);
    status result = read_document(&r);
    if (r.held) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    fclose(file);
    return result;
}

status job_yaml_read(job_entries *out, const char *path)
{
    FILE *file;
    uint64_t bytes;
    out->count = 0;
    status result = file_open_stream(&file, &bytes, path, "a job file");
    if (result) return result;
    if (bytes <= FILE_MAX) return read_stream(out, path, file);
    fclose(file);
    return fail(STATUS_INPUT, "%.500s: %" PRIu64 " bytes found, a job file of at most %d expected",
                path, bytes, FILE_MAX);
}

status job_yaml_parse(job_entries *out, const char *path, const char *text, size_t size)
{
    FILE *file = fmemopen((void *)text, size, "rb");
    return file ? read_stream(out, path, file) : fail(STATUS_NOMEM, "memory to read %.500s", path);
}
