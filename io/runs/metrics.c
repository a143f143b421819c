/* One table of fields, in the header's order, serves the writer and the reader. */
#include "io/runs/metrics.h"

#include "io/files/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_LIMIT = 1 << 30 };

const char metrics_header[] =
    "step,tokens,seconds,train_loss,valid_loss,valid_loss_averaged,lr,grad_norm,"
    "grad_clip_fraction,update_clip_fraction,sigma_mean,hessian_min,hessian_mean,hessian_bias,"
    "tokens_per_second,model_flops_utilization,bytes_sent,comm_fraction,"
    "seconds_sample,seconds_forward,seconds_backward,seconds_wait,seconds_update,seconds_data,"
    "seconds_checkpoint,loo_loss\n";

#define COUNT(member)                                                                              \
    {                                                                                              \
        offsetof(metrics, member), true                                                            \
    }
#define VALUE(member)                                                                              \
    {                                                                                              \
        offsetof(metrics, member), false                                                           \
    }

static const struct {
    size_t offset;
    bool count;
} fields[] = {
    COUNT(step),
    COUNT(tokens),
    VALUE(seconds),
    VALUE(train_loss),
    VALUE(valid_loss),
    VALUE(valid_loss_averaged),
    VALUE(lr),
    VALUE(grad_norm),
    VALUE(grad_clip_fraction),
    VALUE(update_clip_fraction),
    VALUE(sigma_mean),
    VALUE(hessian_min),
    VALUE(hessian_mean),
    VALUE(hessian_bias),
    VALUE(tokens_per_second),
    VALUE(model_flops_utilization),
    COUNT(bytes_sent),
    VALUE(comm_fraction),
    VALUE(seconds_sample),
    VALUE(seconds_forward),
    VALUE(seconds_backward),
    VALUE(seconds_wait),
    VALUE(seconds_update),
    VALUE(seconds_data),
    VALUE(seconds_checkpoint),
    VALUE(loo_loss),
};

enum { FIELDS = sizeof fields / sizeof fields[0], NEEDED = 3 /* fields that no row lacks */ };

void metrics_print(FILE *out, const metrics *row)
{
    for (size_t i = 0; i < FIELDS; i++) {
        const char *at = (const char *)row + fields[i].offset;
        if (i > 0) fputc(',', out);
        if (fields[i].count)
            fprintf(out, "%" PRIu64, *(const uint64_t *)at);
        else if (!isnan(*(const double *)at))
            fprintf(out, "%.9g", *(const double *)at);
    }
    fputc('\n', out);
}

double metrics_value(const metrics *row, size_t column)
{
    const char *at = (const char *)row + column;
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].offset == column && fields[i].count) return (double)*(const uint64_t *)at;
    return *(const double *)at;
}

bool metrics_field(const metrics *row, size_t i, char name[METRICS_NAME], double *value)
{
    const char *at = metrics_header;
    if (i >= FIELDS) return false;
    for (size_t k = 0; k < i; k++) at = strchr(at, ',') + 1;
    snprintf(name, METRICS_NAME, "%.*s", (int)strcspn(at, ",\n"), at);
    *value = metrics_value(row, fields[i].offset);
    return true;
}

const struct metrics_time metrics_times[METRICS_TIMES] = {
    {"sample", "sampling weights", offsetof(metrics, seconds_sample)},
    {"forward", "forward pass", offsetof(metrics, seconds_forward)},
    {"backward", "output layer, loss, backward pass", offsetof(metrics, seconds_backward)},
    {"wait", "waiting for other ranks", offsetof(metrics, seconds_wait)},
    {"update", "norms, exchange, update", offsetof(metrics, seconds_update)},
    {"data", "reading data", offsetof(metrics, seconds_data)},
    {"checkpoint", "checkpoints, between steps", offsetof(metrics, seconds_checkpoint)},
};

double metrics_spent(const metrics *row, size_t part)
{
    double value = metrics_value(row, metrics_times[part].column);
    return isnan(value) ? 0.0 : value;
}

status metrics_check_header(const char *text, size_t *size, size_t *columns, const char *path)
{
    const char *begin = text + (strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    size_t length = strcspn(begin, "\n");
    *size = (size_t)(begin - text) + length + 1;
    if (length > 0 && begin[length - 1] == '\r') length--;
    *columns = 1;
    for (size_t i = 0; i < length; i++) *columns += begin[i] == ',';
    if (length < sizeof metrics_header && strncmp(begin, metrics_header, length) == 0 &&
        (metrics_header[length] == ',' || metrics_header[length] == '\n'))
        return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: other columns than this version's found (first line), expected: %.*s; move "
                "the file away to begin a new one",
                path, (int)strcspn(metrics_header, "\n"), metrics_header);
}

bool metrics_next_line(metrics_lines *l)
{
    while (l->at < l->end) {
        const char *next = memchr(l->at, '\n', (size_t)(l->end - l->at));
        l->line = l->at;
        l->length = (size_t)((next ? next : l->end) - l->at);
        l->torn = !next;
        l->at = next ? next + 1 : l->end;
        l->number++;
        if (l->length > 0 && next && l->line[l->length - 1] == '\r') l->length--;
        if (l->length > 0) return true;
    }
    return false;
}

static bool parse_field(metrics *row, size_t field, const char *text, size_t length)
{
    char *end, *target = (char *)row + fields[field].offset;
    if (length == 0) {
        if (!fields[field].count) *(double *)target = NAN;
        return field >= NEEDED;
    }
    if (fields[field].count && (*text < '0' || *text > '9')) return false;
    if (fields[field].count)
        *(uint64_t *)target = strtoull(text, &end, 10);
    else
        *(double *)target = strtod(text, &end);
    return end == text + length;
}

status metrics_parse_row(metrics *row, const metrics_lines *l, size_t columns, const char *path)
{
    *row = (metrics){0};
    const char *at = l->line, *end = at + l->length;
    size_t field = 0;
    for (; at <= end; field++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t size = (size_t)((comma ? comma : end) - at);
        if (field < columns && !parse_field(row, field, at, size))
            return fail(STATUS_INPUT, "%s:%zu: '%.*s' found in field %zu, a number expected", path,
                        l->number, (int)(size < 40 ? size : 40), at, field + 1);
        at += size + 1;
    }
    if (field != columns)
        return fail(STATUS_INPUT, "%s:%zu: %zu fields found, %zu expected", path, l->number, field,
                    columns);
    for (; field < FIELDS; field++) parse_field(row, field, "", 0);
    return STATUS_OK;
}

static status append(metrics_table *t, size_t *capacity, const metrics *row, const char *path,
                     size_t number)
{
    if (t->count > 0 && row->step <= t->rows[t->count - 1].step)
        return fail(STATUS_INPUT,
                    "%s:%zu: step %" PRIu64 " found after step %" PRIu64 ", a later one expected",
                    path, number, row->step, t->rows[t->count - 1].step);
    if (t->count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 64;
        metrics *grown = realloc(t->rows, more * sizeof *grown);
        if (!grown) return fail(STATUS_NOMEM, "memory for %zu rows of %s", more, path);
        t->rows = grown;
        *capacity = more;
    }
    t->rows[t->count++] = *row;
    return STATUS_OK;
}

static status parse_table(metrics_table *t, const char *text, size_t size, const char *path)
{
    size_t header, capacity = 0, columns;
    status result = metrics_check_header(text, &header, &columns, path);
    if (result) return result;
    metrics_lines l = {.at = text + header, .end = text + size, .number = 1};
    while (!result && metrics_next_line(&l)) {
        metrics row;
        t->torn = l.torn;
        if (l.torn) break;
        result = metrics_parse_row(&row, &l, columns, path);
        if (!result) result = append(t, &capacity, &row, path, l.number);
    }
    return result;
}

status metrics_read(metrics_table *t, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    *t = (metrics_table){0};
    status result = file_read_text(&text, &size, path, TABLE_LIMIT);
    if (!result) result = parse_table(t, text, size, path);
    free(text);
    if (result) metrics_close(t);
    return result;
}

void metrics_close(metrics_table *t)
{
    free(t->rows);
    *t = (metrics_table){0};
}
