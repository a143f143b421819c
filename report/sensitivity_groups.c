/* The order of a table's rows, and what groups of them add up to. */
#include "io/files/file.h"
#include "report/sensitivity.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS_LIMIT = 1 << 30 /* bytes of a file of names */ };

double sensitivity_key(const sensitivity_report *r, const sensitivity_row *row)
{
    return r->by_loss ? row->loo_loss - row->loss : row->sensitivity;
}

/* A row beside its key. */
typedef struct {
    double key;
    const sensitivity_row *row;
} keyed;

static int compare_rows(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return x->row->index < y->row->index ? -1 : x->row->index > y->row->index;
}

status sensitivity_rank(sensitivity_report *r)
{
    size_t count = (size_t)r->table.count;
    keyed *rows = malloc(count * sizeof *rows);
    r->ranked = malloc(count * sizeof *r->ranked);
    for (size_t i = 0; rows && i < count; i++)
        rows[i] = (keyed){sensitivity_key(r, &r->table.rows[i]), &r->table.rows[i]};
    if (rows) qsort(rows, count, sizeof *rows, compare_rows);
    for (size_t i = 0; rows && r->ranked && i < count; i++) r->ranked[i] = rows[i].row;
    free(rows);
    if (rows && r->ranked) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory to rank %zu sensitivities", count);
}

void sensitivity_count_mistakes(const sensitivity_report *r, uint64_t *planted, uint64_t *found)
{
    uint64_t tenth = (r->table.count + 9) / 10;
    *planted = *found = 0;
    for (uint64_t i = 0; i < r->table.count; i++) {
        if (!r->ranked[i]->mislabelled) continue;
        ++*planted;
        if (i < tenth) ++*found;
    }
}

/* The group of that name, made where there is none yet; NULL without memory. */
static sensitivity_group *find_group(sensitivity_report *r, const char *name, size_t length)
{
    char shown[sizeof r->groups->name];
    snprintf(shown, sizeof shown, "%.*s", (int)length, name);
    for (size_t g = 0; g < r->group_count; g++)
        if (strcmp(r->groups[g].name, shown) == 0) return &r->groups[g];
    sensitivity_group *more = realloc(r->groups, (r->group_count + 1) * sizeof *more);
    if (!more) return NULL;
    r->groups = more;
    sensitivity_group *g = &r->groups[r->group_count];
    *g = (sensitivity_group){.number = (uint32_t)r->group_count++};
    memcpy(g->name, shown, sizeof shown);
    return g;
}

static status add_row(sensitivity_report *r, const sensitivity_row *row, const char *name,
                      size_t length)
{
    if (row->left_out) return STATUS_OK;
    sensitivity_group *g = find_group(r, name, length);
    if (!g) return fail(STATUS_NOMEM, "memory for %zu groups", r->group_count + 1);
    double rows = r->per == PER_SEQUENCE ? (double)r->j->batch.length : 1.0; /* of its mean loss */
    r->group_of[row - r->table.rows] = g->number;
    g->count++;
    g->sensitivity += row->sensitivity;
    g->loss += row->loss;
    g->alone += rows * (row->loo_loss - row->loss);
    return STATUS_OK;
}

/* Class 9 before class 10. */
static int compare_groups(const void *a, const void *b)
{
    const sensitivity_group *x = a, *y = b;
    size_t n = strlen(x->name), m = strlen(y->name);
    return n != m ? (n < m ? -1 : 1) : strcmp(x->name, y->name);
}

static status group_by_class(sensitivity_report *r)
{
    status result = STATUS_OK;
    for (uint64_t i = 0; !result && i < r->table.count; i++) {
        char name[24];
        int n = snprintf(name, sizeof name, "class %zu", r->table.rows[i].label);
        result = add_row(r, &r->table.rows[i], name, (size_t)n);
    }
    if (!result) qsort(r->groups, r->group_count, sizeof *r->groups, compare_groups);
    return result;
}

/* Rows stand in the order of the data, from the first one's index on. */
static status group_by_lines(sensitivity_report *r, const char *path, const char *text, size_t size)
{
    uint64_t line = 0, count = r->table.count, first = count ? r->table.rows[0].index : 0;
    status result = STATUS_OK;
    for (const char *at = text; !result && at < text + size; line++) {
        size_t length = strcspn(at, "\n"), kept = length;
        if (kept > 0 && at[kept - 1] == '\r') kept--;
        if (line >= first && line - first < count)
            result = add_row(r, &r->table.rows[line - first], at, kept);
        at += length + (at[length] == '\n');
    }
    if (result || line >= first + count) return result;
    return fail(STATUS_INPUT,
                "%s: %" PRIu64 " lines found, a group's name in each of %" PRIu64 " expected", path,
                line, first + count);
}

static status group_by_file(sensitivity_report *r, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    status result = file_read_text(&text, &size, path, GROUPS_LIMIT);
    if (!result) result = group_by_lines(r, path, text, size);
    free(text);
    return result;
}

status sensitivity_make_groups(sensitivity_report *r, const char *by)
{
    r->group_of = malloc((size_t)r->table.count * sizeof *r->group_of);
    if (!r->group_of)
        return fail(STATUS_NOMEM, "memory for the groups of %" PRIu64 " rows", r->table.count);
    for (uint64_t i = 0; i < r->table.count; i++) r->group_of[i] = UINT32_MAX;
    return strcmp(by, "class") == 0 ? group_by_class(r) : group_by_file(r, by);
}
