/* Tables: a header line, then numbers separated by commas, parsed once. */
#include "base/memory.h"
#include "io/examples/examples_kinds.h"
#include "io/files/file.h"
#include "runtime/free_memory.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_LIMIT = 63, SHOWN = 32 };

typedef struct {
    const char *path;
    const char *at, *end; /* what is still to be read */
    size_t line;          /* of the file, from 1 */
    size_t columns;       /* of the header */
} table;

typedef struct {
    const char *at;
    size_t bytes;
} span;

static void csv_close(examples *x)
{
    free(x->data);
}

/* Rows stand as they are in the file: the inputs, then the target. */
static void csv_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                    float *value)
{
    const float *row = (const float *)x->data + number * (x->inputs + 1);
    if (inputs) memcpy(inputs, row, x->inputs * sizeof *inputs);
    if (x->classes)
        *label = (uint16_t)row[x->inputs];
    else
        *value = row[x->inputs];
}

static bool next_line(table *t, span *line)
{
    if (t->at == t->end) return false;
    const char *newline = memchr(t->at, '\n', (size_t)(t->end - t->at));
    const char *end = newline ? newline : t->end;
    *line = (span){t->at, (size_t)(end - t->at)};
    if (line->bytes > 0 && end[-1] == '\r') line->bytes--;
    t->at = newline ? newline + 1 : t->end;
    t->line++;
    return true;
}

/* Cut the field before the first comma off the line, without the blanks around it. */
static span next_field(span *line)
{
    const char *comma = line->bytes > 0 ? memchr(line->at, ',', line->bytes) : NULL;
    span field = {line->at, comma ? (size_t)(comma - line->at) : line->bytes};
    size_t used = field.bytes + (comma != NULL);
    *line = (span){line->at + used, line->bytes - used};
    while (field.bytes > 0 && isblank((unsigned char)*field.at)) field.at++, field.bytes--;
    while (field.bytes > 0 && isblank((unsigned char)field.at[field.bytes - 1])) field.bytes--;
    return field;
}

static size_t count_columns(span line)
{
    size_t count = 1;
    for (size_t i = 0; i < line.bytes; i++) count += line.at[i] == ',';
    return count;
}

/* A decimal number that a float can hold. */
static bool read_number(float *number, span field)
{
    char text[FIELD_LIMIT + 1], *end;
    if (field.bytes == 0 || field.bytes > FIELD_LIMIT) return false;
    memcpy(text, field.at, field.bytes);
    text[field.bytes] = '\0';
    if (strspn(text, "+-.0123456789eE") != field.bytes) return false;
    *number = strtof(text, &end);
    return *end == '\0' && isfinite(*number);
}

static status refuse_field(const table *t, size_t column, span field, const char *expected)
{
    char shown[SHOWN + 1];
    size_t bytes = field.bytes < SHOWN ? field.bytes : SHOWN;
    for (size_t i = 0; i < bytes; i++)
        shown[i] = isprint((unsigned char)field.at[i]) ? field.at[i] : '?';
    shown[bytes] = '\0';
    return fail(STATUS_INPUT, "%s:%zu:%zu: '%s' found, %s expected", t->path, t->line, column,
                shown, expected);
}

static status read_target(examples *x, const table *t, float target, span field)
{
    if (!x->classes) return STATUS_OK;
    if (!(target >= 0 && target < (float)x->limit && target == floorf(target))) {
        char expected[64];
        snprintf(expected, sizeof expected, "a class, a whole number below %zu,", x->limit);
        return refuse_field(t, t->columns, field, expected);
    }
    if ((size_t)target >= x->outputs) x->outputs = (size_t)target + 1;
    return STATUS_OK;
}

static status read_row(examples *x, const table *t, span line, float *row)
{
    span field = {0};
    for (size_t c = 0; c < t->columns; c++) {
        field = next_field(&line);
        if (!read_number(&row[c], field)) return refuse_field(t, c + 1, field, "a number");
    }
    return read_target(x, t, row[t->columns - 1], field);
}

/* Names are expected: a first line of numbers would be lost. */
static status read_header(table *t)
{
    span line = {0};
    float number;
    next_line(t, &line); /* there is one: no mapped file is empty */
    t->columns = count_columns(line);
    size_t numbers = 0;
    while (line.bytes > 0) numbers += read_number(&number, next_field(&line));
    if (numbers == t->columns)
        return fail(STATUS_INPUT, "%s:1: a header line expected, numbers found", t->path);
    if (t->columns < 2)
        return fail(STATUS_INPUT, "%s:1: %zu column found, inputs and a target expected", t->path,
                    t->columns);
    return STATUS_OK;
}

/* Rows of as many columns as the header has. */
static status count_rows(examples *x, table t)
{
    span line;
    for (; next_line(&t, &line); x->count++) {
        size_t found = count_columns(line);
        if (found != t.columns)
            return fail(STATUS_INPUT, "%s:%zu: %zu columns found, the header's %zu expected",
                        t.path, t.line, found, t.columns);
    }
    if (x->count > 0) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: rows below the header expected, none found", t.path);
}

static status take_memory(examples *x, const table *t)
{
    size_t numbers, bytes;
    char lack[512];
    if (!memory_product(&numbers, (size_t)x->count, t->columns) ||
        !memory_product(&bytes, numbers, sizeof(float)))
        bytes = SIZE_MAX;
    if (!free_memory_has((double)bytes, 1, lack, sizeof lack))
        return fail(STATUS_NOMEM, "%s: %llu rows of %zu columns found; %s", t->path,
                    (unsigned long long)x->count, t->columns, lack);
    x->data = malloc(bytes);
    return x->data ? STATUS_OK
                   : fail(STATUS_NOMEM, "memory for the %llu rows of %s",
                          (unsigned long long)x->count, t->path);
}

static status read_rows(examples *x, table *t)
{
    span line;
    status result = count_rows(x, *t);
    if (!result) result = take_memory(x, t);
    for (float *row = x->data; !result && next_line(t, &line); row += t->columns)
        result = read_row(x, t, line, row);
    return result;
}

status csv_open(examples *x, const char *where)
{
    file_mapping m;
    status result = file_map(&m, where, "a table");
    if (result) return result;
    table t = {.path = where, .at = m.data, .end = (const char *)m.data + m.bytes};
    result = read_header(&t);
    x->inputs = t.columns - 1;
    x->outputs = x->classes ? 0 : 1;
    x->row = csv_row;
    x->close = csv_close;
    if (!result) result = read_rows(x, &t);
    file_unmap(&m);
    return result;
}
