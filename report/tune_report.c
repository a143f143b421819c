/* Table, CSV and JSON ask for the same cells. */
#include "report/tune_report.h"

#include "base/terminal.h"
#include "io/files/file.h"
#include "io/files/json_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = JOB_TEXT + 64, CELL = TUNE_NAME + 32 };

typedef enum { RANK, OPTIMIZER, KEYS, LOSS, SPREAD, DIVERGED, STEP, SECONDS, RUN } column_kind;

typedef struct {
    column_kind kind;
    size_t key; /* of KEYS */
} column;

enum { COLUMNS = RUN + TUNE_KEYS };

status tune_report_open(tune_report *r, const board *b, bool over)
{
    *r = (tune_report){.b = b, .over = over};
    r->lines = calloc(tune_configs(b->plan), sizeof *r->lines);
    if (!r->lines) return fail(STATUS_NOMEM, "memory for a table");
    board_rank(r->lines, b);
    return STATUS_OK;
}

void tune_report_close(tune_report *r)
{
    free(r->lines);
    *r = (tune_report){0};
}

bool tune_report_has_best(const tune_report *r)
{
    return r->lines[0].rungs > 0 && isfinite(r->lines[0].loss);
}

/* ---- cells ---- */

static size_t list_columns(column columns[COLUMNS], const tune_plan *p)
{
    size_t n = 0;
    for (int kind = RANK; kind <= RUN; kind++)
        for (size_t k = 0; k < (kind == KEYS ? p->key_count : 1); k++)
            columns[n++] = (column){(column_kind)kind, k};
    return n;
}

/* What says nothing is not on a terminal. */
static bool is_shown(const column *c, const tune_plan *p)
{
    if (c->kind == OPTIMIZER) return p->bracket_count > 1;
    if (c->kind == SPREAD) return p->seed_count > 1;
    return c->kind != DIVERGED;
}

static const char *title_of(const column *c, const tune_plan *p)
{
    static const char *const titles[] = {"rank",     "optimizer", "",        "valid_loss", "spread",
                                         "diverged", "step",      "seconds", "run"};
    return c->kind == KEYS ? p->keys[c->key].row->key : titles[c->kind];
}

static const char *optimizer_of(const tune_report *r, const board_line *line)
{
    const tune_plan *p = r->b->plan;
    const tune_bracket *b = &p->brackets[p->configs[line->config].bracket];
    return optimizer_row(b->base.optimizer.kind)->name;
}

static void show_number(char text[CELL], double value, const char *format, const char *otherwise)
{
    if (isfinite(value))
        snprintf(text, CELL, format, value); // NOLINT
    else
        snprintf(text, CELL, "%s", otherwise);
}

static void show_loss(char text[CELL], const tune_report *r, const board_line *line, bool people)
{
    size_t seeds = r->b->plan->seed_count;
    if (line->rungs == 0)
        snprintf(text, CELL, "%s", people ? "-" : "");
    else if (line->diverged == 0)
        snprintf(text, CELL, people ? "%.4f" : "%.9g", line->loss);
    else if (!people)
        snprintf(text, CELL, "inf");
    else if (seeds == 1)
        snprintf(text, CELL, "diverged");
    else
        snprintf(text, CELL, "%zu of %zu diverged", line->diverged, seeds);
}

/* @param people  for a terminal, with fewer digits */
static void show_cell(char text[CELL], const tune_report *r, size_t rank, const column *c,
                      bool people)
{
    const board_line *line = &r->lines[rank];
    const tune_config *config = &r->b->plan->configs[line->config];
    const char *none = people ? "-" : "";
    switch (c->kind) {
    case RANK: snprintf(text, CELL, "%zu", rank + 1); break;
    case OPTIMIZER: snprintf(text, CELL, "%s", optimizer_of(r, line)); break;
    case KEYS: snprintf(text, CELL, "%s", config->values[c->key]); break;
    case LOSS: show_loss(text, r, line, people); break;
    case SPREAD: show_number(text, line->spread, people ? "%.4f" : "%.9g", none); break;
    case DIVERGED: snprintf(text, CELL, "%zu", line->diverged); break;
    case STEP: snprintf(text, CELL, "%" PRIu64, line->step); break;
    case SECONDS: snprintf(text, CELL, people ? "%.1f" : "%.3f", line->seconds); break;
    case RUN: snprintf(text, CELL, "%s", config->name); break;
    }
}

/* ---- for people ---- */

static int width_of(const tune_report *r, const column *c)
{
    char text[CELL];
    size_t width = strlen(title_of(c, r->b->plan));
    for (size_t i = 0; i < tune_configs(r->b->plan); i++) {
        show_cell(text, r, i, c, true);
        if (strlen(text) > width) width = strlen(text);
    }
    return (int)width;
}

static void print_rungs(FILE *out, const tune_plan *p)
{
    const char *of = p->bracket_count > 1 ? " of every optimizer" : "";
    terminal_print(out, "%s: %zu runs%s", p->folder, p->each, of);
    if (p->seed_count > 1) fprintf(out, " with %zu seeds each", p->seed_count);
    for (size_t i = 0; i < p->rungs.count; i++)
        fprintf(out, "%s %zu to step %" PRIu64, i ? "," : ":", p->rungs.runs[i], p->rungs.steps[i]);
    fprintf(out, "\n\n");
}

static size_t count_missing(const tune_report *r)
{
    board_task task;
    size_t count = 0;
    while (board_next(&task, r->b, count)) count++;
    return count;
}

void tune_report_print(FILE *out, const tune_report *r)
{
    const tune_plan *p = r->b->plan;
    column columns[COLUMNS];
    char text[CELL];
    int widths[COLUMNS];
    size_t count = list_columns(columns, p);
    print_rungs(out, p);
    for (size_t c = 0; c < count; c++) widths[c] = width_of(r, &columns[c]);
    for (size_t i = 0; i <= tune_configs(p); i++) {
        for (size_t c = 0; c < count; c++) {
            if (!is_shown(&columns[c], p)) continue;
            if (i > 0) show_cell(text, r, i - 1, &columns[c], true);
            int width = columns[c].kind == RUN ? 0 : widths[c];
            terminal_print(out, "%s%*s", c ? "  " : "", width, i ? text : title_of(&columns[c], p));
        }
        fputc('\n', out);
    }
    if (r->over)
        fprintf(out,
                "\nthe time was over (--minutes): %zu runs are not yet where they are to go; the "
                "same command goes on\n",
                count_missing(r));
}

/* ---- for programs ---- */

static void print_field(FILE *out, const char *text)
{
    bool quoted = strpbrk(text, ",\"") != NULL;
    if (quoted) fputc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"') fputc('"', out);
        fputc(*c, out);
    }
    if (quoted) fputc('"', out);
}

static void print_csv(FILE *out, const void *context)
{
    const tune_report *r = context;
    column columns[COLUMNS];
    char text[CELL];
    size_t count = list_columns(columns, r->b->plan);
    for (size_t i = 0; i <= tune_configs(r->b->plan); i++)
        for (size_t c = 0; c < count; c++) {
            if (i > 0) show_cell(text, r, i - 1, &columns[c], false);
            print_field(out, i ? text : title_of(&columns[c], r->b->plan));
            fputc(c + 1 < count ? ',' : '\n', out);
        }
}

status tune_report_write(const tune_report *r)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/tune.csv", r->b->plan->folder);
    return file_print_atomic(path, print_csv, r);
}

static json_t *line_json(const tune_report *r, size_t rank)
{
    const tune_plan *p = r->b->plan;
    const board_line *line = &r->lines[rank];
    const tune_config *config = &p->configs[line->config];
    json_t *keys = json_object();
    for (size_t k = 0; k < p->key_count; k++)
        json_text_set(&keys, p->keys[k].row->key, json_text_string(config->values[k]));
    return json_pack("{sI ss so so so sI sI sI so ss}", "rank", (json_int_t)rank + 1, "optimizer",
                     optimizer_of(r, line), "keys", keys, "valid_loss",
                     json_text_number(line->loss), "spread", json_text_number(line->spread),
                     "diverged", (json_int_t)line->diverged, "rungs", (json_int_t)line->rungs,
                     "step", (json_int_t)line->step, "seconds", json_text_number(line->seconds),
                     "run", config->name);
}

status tune_report_json(FILE *out, const tune_report *r, const char *best)
{
    const tune_plan *p = r->b->plan;
    json_t *table = json_array(), *rungs = json_array();
    for (size_t i = 0; i < tune_configs(p); i++) json_text_add(&table, line_json(r, i));
    for (size_t i = 0; i < p->rungs.count; i++)
        json_text_add(&rungs, json_pack("{sI sI}", "step", (json_int_t)p->rungs.steps[i], "runs",
                                        (json_int_t)p->rungs.runs[i]));
    return json_text_print(out,
                           json_pack("{so sb sI so so ss?}", "folder", json_text_string(p->folder),
                                     "complete", count_missing(r) == 0, "seeds",
                                     (json_int_t)p->seed_count, "rungs", rungs, "table", table,
                                     "best", best),
                           0);
}

/* ---- the best ---- */

static void print_job(FILE *out, const void *context)
{
    job_write(context, out);
}

/* A name of its own: the job as it was may have been trained. */
static status write_best(const tune_report *r, const board_line *line, const char *path)
{
    const tune_plan *p = r->b->plan;
    const tune_bracket *b = &p->brackets[p->configs[line->config].bracket];
    tune_settings text;
    const char *sets[TUNE_KEYS + 1];
    char name[JOB_TEXT + 16];
    job j;
    size_t count = tune_sets(p, line->config, text, sets);
    snprintf(name, sizeof name, "name=%.500s-best", b->base.name);
    sets[count++] = name;
    status result = job_parse(&j, "vario tune", b->text, strlen(b->text), sets, count);
    return result ? result : file_print_atomic(path, print_job, &j);
}

static const board_line *best_of(const tune_report *r, size_t bracket)
{
    const tune_plan *p = r->b->plan;
    for (size_t i = 0; i < tune_configs(p); i++)
        if (p->configs[r->lines[i].config].bracket == bracket)
            return r->lines[i].rungs > 0 && isfinite(r->lines[i].loss) ? &r->lines[i] : NULL;
    return NULL;
}

status tune_report_write_best(const tune_report *r, const char *out)
{
    const tune_plan *p = r->b->plan;
    status result = STATUS_OK;
    for (size_t b = 0; !result && b < p->bracket_count; b++) {
        char path[PATH_SIZE];
        const char *name = p->brackets[b].name;
        const board_line *best = best_of(r, b);
        snprintf(path, sizeof path, "%s/best%s%s.yaml", p->folder, *name ? "-" : "", name);
        if (best) result = write_best(r, best, path);
    }
    if (!result && out && tune_report_has_best(r)) result = write_best(r, &r->lines[0], out);
    return result;
}
