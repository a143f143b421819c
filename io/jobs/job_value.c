/* How a value of each type is described, read and written. */
#include "io/jobs/job_schema.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void schema_choice(const schema_row *row, int value, char *text, size_t size)
{
    const char *c = row->choices;
    for (int i = 0; i < value; i++) c = strchr(c, '|') + 1;
    snprintf(text, size, "%.*s", (int)strcspn(c, "|"), c);
}

void schema_choices(const schema_row *row, int set, char *text, size_t size)
{
    char name[32];
    size_t n = 0;
    text[0] = '\0';
    for (int value = 0; set >> value; value++) {
        if (!(set >> value & 1)) continue;
        schema_choice(row, value, name, sizeof name);
        n += (size_t)snprintf(text + n, size - n, "%s%s", n ? ", " : "", name);
        if (n >= size) return;
    }
}

static number_range range_of(const schema_row *row)
{
    return (number_range){row->min, row->max, row->ends};
}

void schema_range(const schema_row *row, char *text, size_t size)
{
    const number_range range = range_of(row);
    text[0] = '\0';
    if (row->type == KEY_TEXT) snprintf(text, size, "1-%d bytes", JOB_TEXT - 1);
    if (row->type == KEY_COUNT || row->type == KEY_NUMBER || row->type == KEY_COUNTS)
        number_print_range(&range, text, size);
}

static void describe_range(const schema_row *row, const char *what, char *text, size_t size)
{
    const number_range range = range_of(row);
    int n = row->word ? snprintf(text, size, "%s or ", row->word) : 0;
    number_describe_range(&range, what, text + n, size - (size_t)n);
}

void schema_describe(const schema_row *row, char *text, size_t size)
{
    char max[NUMBER_TEXT];
    switch (row->type) {
    case KEY_TEXT:
        snprintf(text, size, "a text of 1 to %d bytes without control characters", JOB_TEXT - 1);
        break;
    case KEY_COUNT: describe_range(row, "a whole number", text, size); break;
    case KEY_NUMBER: describe_range(row, "a number", text, size); break;
    case KEY_BOOL: snprintf(text, size, "true or false"); break;
    case KEY_CHOICE:
        snprintf(text, size, "%s%s", strchr(row->choices, '|') ? "one of " : "", row->choices);
        break;
    case KEY_COUNTS:
        number_print_bound(row->max, max);
        snprintf(text, size,
                 "a list of at most %d %swhole numbers of at least 1 and at most %s, [a, b]",
                 JOB_COUNTS, row->rising ? "rising " : "", max);
        break;
    }
}

/* The next code point of UTF-8, 0 at the end and where it is not UTF-8. */
static uint32_t next_point(const char **text)
{
    const unsigned char *c = (const unsigned char *)*text;
    static const uint32_t min[] = {0, 0x80, 0x800, 0x10000};
    int more = c[0] < 0x80       ? 0
               : c[0] >> 5 == 6  ? 1
               : c[0] >> 4 == 14 ? 2
               : c[0] >> 3 == 30 ? 3
                                 : -1;
    if (more < 0) return 0;
    uint32_t point = more ? c[0] & (0x3fu >> more) : c[0];
    for (int i = 1; i <= more; i++) {
        if (c[i] >> 6 != 2) return 0;
        point = point << 6 | (c[i] & 0x3fu);
    }
    *text += more + 1;
    bool surrogate = point >= 0xd800 && point < 0xe000;
    return point < min[more] || point > 0x10ffff || surrogate ? 0 : point;
}

/* What YAML could not give back as it was: control characters, line and paragraph separators, byte
 * order marks. */
static bool is_plain_point(uint32_t c)
{
    return c >= 0x20 && (c < 0x7f || c > 0x9f) && c != 0x2028 && c != 0x2029 && c != 0xfeff &&
           c != 0xfffe && c != 0xffff;
}

bool schema_text_fits(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n >= JOB_TEXT) return false;
    for (const char *at = text; *at;)
        if (!is_plain_point(next_point(&at))) return false;
    return true;
}

static bool parse_text(const char *text, char *field)
{
    size_t n = strlen(text);
    if (!schema_text_fits(text)) return false;
    memset(field, 0, JOB_TEXT); /* equal jobs are equal bytes */
    memcpy(field, text, n);
    return true;
}

static bool in_range(const schema_row *row, double value)
{
    const number_range range = range_of(row);
    return number_fits(&range, value);
}

/* strtoull would take a sign, and strtod "nan", "0x1p3" and "inf". */
static bool parse_count(const schema_row *row, const char *text, uint64_t *value)
{
    if (row->word && strcmp(text, row->word) == 0) {
        *value = row->word_value;
        return true;
    }
    if (!*text || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    unsigned long long parsed = strtoull(text, NULL, 10);
    if (errno || !in_range(row, (double)parsed)) return false;
    *value = parsed;
    return true;
}

static bool parse_number(const schema_row *row, const char *text, double *value)
{
    char *end;
    if (strcmp(text, ".inf") == 0) {
        if (!isinf(row->max)) return false;
        *value = INFINITY;
        return true;
    }
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    double parsed = strtod(text, &end);
    if (*end || end == text || !isfinite(parsed) || !in_range(row, parsed)) return false;
    *value = parsed + 0.0; /* -0 is 0 */
    return true;
}

static bool parse_choice(const schema_row *row, const char *text, int *value)
{
    size_t length = strlen(text);
    int number = 0;
    for (const char *c = row->choices; c; c = strchr(c, '|'), number++) {
        if (*c == '|') c++;
        size_t n = strcspn(c, "|");
        if (n != length || strncmp(c, text, n) != 0) continue;
        *value = number;
        return true;
    }
    return false;
}

static bool parse_bool(const char *text, bool *value)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) return false;
    *value = yes;
    return true;
}

/* "[1, 2]" or "1,2". */
static bool parse_counts(const schema_row *row, job *j, const char *text)
{
    uint64_t values[JOB_COUNTS] = {0};
    size_t count = 0, n = strlen(text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    for (size_t at = 0; at < n;) {
        char word[32];
        at += strspn(text + at, " ");
        size_t length = strspn(text + at, "0123456789");
        if (count == JOB_COUNTS || length >= sizeof word) return false;
        memcpy(word, text + at, length);
        word[length] = '\0';
        if (!parse_count(row, word, &values[count])) return false;
        if (row->rising && count > 0 && values[count] <= values[count - 1]) return false;
        count++;
        at += length;
        if (at < n && text[at++] != ',') return false;
        if (at == n && text[n - 1] == ',') return false;
    }
    memcpy((char *)j + row->offset, values, sizeof values);
    memcpy((char *)j + row->count_offset, &count, sizeof count);
    return true;
}

bool schema_parse(const schema_row *row, job *j, const char *text)
{
    void *field = (char *)j + row->offset;
    switch (row->type) {
    case KEY_TEXT: return parse_text(text, field);
    case KEY_COUNT: return parse_count(row, text, field);
    case KEY_NUMBER: return parse_number(row, text, field);
    case KEY_BOOL: return parse_bool(text, field);
    case KEY_CHOICE: return parse_choice(row, text, field);
    case KEY_COUNTS: return parse_counts(row, j, text);
    }
    return false;
}

static void format_counts(const schema_row *row, const job *j, char *text, size_t size)
{
    uint64_t values[JOB_COUNTS];
    size_t count, n = (size_t)snprintf(text, size, "[");
    memcpy(values, (const char *)j + row->offset, sizeof values);
    memcpy(&count, (const char *)j + row->count_offset, sizeof count);
    for (size_t i = 0; i < count && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%" PRIu64, i ? ", " : "", values[i]);
    if (n < size) snprintf(text + n, size - n, "]");
}

static void format_count(const schema_row *row, uint64_t value, char *text, size_t size)
{
    if (row->word && value == row->word_value)
        snprintf(text, size, "%s", row->word);
    else
        snprintf(text, size, "%" PRIu64, value);
}

void schema_format(const schema_row *row, const job *j, char *text, size_t size)
{
    const void *field = (const char *)j + row->offset;
    switch (row->type) {
    case KEY_TEXT: snprintf(text, size, "%s", (const char *)field); break;
    case KEY_COUNT: format_count(row, *(const uint64_t *)field, text, size); break;
    case KEY_NUMBER: number_print(*(const double *)field, text, size); break;
    case KEY_BOOL: snprintf(text, size, "%s", *(const bool *)field ? "true" : "false"); break;
    case KEY_CHOICE: schema_choice(row, *(const int *)field, text, size); break;
    case KEY_COUNTS: format_counts(row, j, text, size); break;
    }
}
