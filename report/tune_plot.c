/* Losses over steps, then the score over the values of each key. The best run of every optimizer is
 * the one that is seen. */
#include "io/files/plot.h"
#include "io/runs/metrics.h"
#include "report/report.h"
#include "report/tune_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PANEL = 430, HEIGHT = 430, KEY_PANELS = 3, PATH_SIZE = 4096 };

static size_t bracket_of(const tune_report *r, const board_line *line)
{
    return r->b->plan->configs[line->config].bracket;
}

static bool is_best(const tune_report *r, size_t rank)
{
    for (size_t i = 0; i < rank; i++)
        if (bracket_of(r, &r->lines[i]) == bracket_of(r, &r->lines[rank])) return false;
    return r->lines[rank].rungs > 0;
}

/* What is far above all others would hide them: three times the middle of the scores. */
static double ceiling_of(const tune_report *r)
{
    size_t count = tune_configs(r->b->plan), n = 0;
    double *losses = calloc(count, sizeof *losses), most = INFINITY;
    if (!losses) return most;
    for (size_t i = 0; i < count; i++)
        if (r->lines[i].rungs > 0 && isfinite(r->lines[i].loss)) losses[n++] = r->lines[i].loss;
    qsort(losses, n, sizeof *losses, report_ascending);
    if (n > 0 && losses[n / 2] > 0.0) most = 3.0 * losses[n / 2];
    free(losses);
    return most;
}

/* Steps and losses of a run, as a block of data. */
static status write_curve(FILE *out, const tune_report *r, const board_task *task, double most,
                          bool *some)
{
    char path[PATH_SIZE], file[PATH_SIZE];
    metrics_table t = {0};
    board_path(path, sizeof path, r->b, task);
    snprintf(file, sizeof file, "%.4000s/metrics.csv", path);
    status result = access(file, F_OK) == 0 ? metrics_read(&t, file) : STATUS_OK;
    *some = false;
    if (!result) fprintf(out, "$run%zu_%zu << EOD\n", task->config, task->seed);
    for (size_t i = 0; i < t.count; i++) {
        double loss = t.rows[i].valid_loss;
        if (!isfinite(loss) || loss > most) continue;
        fprintf(out, "%" PRIu64 " %.9g\n", t.rows[i].step, loss);
        *some = true;
    }
    if (!result) fprintf(out, "EOD\n");
    metrics_close(&t);
    return result;
}

static void place_panel(FILE *out, size_t panel, size_t panels)
{
    double width = 1.0 / (double)panels, left = (double)panel * width;
    fprintf(out,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset bmargin at screen 0.14\n"
            "set tmargin at screen 0.88\nset key tmargin center horizontal\n",
            left + 0.17 * width, left + 0.96 * width);
}

/* A line of the legend for every optimizer. */
static void name_brackets(FILE *out, const tune_plan *p, const char *with)
{
    for (size_t b = 0; p->bracket_count > 1 && b < p->bracket_count; b++) {
        fprintf(out, ", NaN with %s lc rgb '%s' title ", with, report_colour(b));
        plot_quote(out, p->brackets[b].name);
    }
}

static status draw_curves(FILE *out, const tune_report *r, double most)
{
    const tune_plan *p = r->b->plan;
    size_t count = tune_configs(p);
    char *text = NULL;
    size_t size = 0;
    status result = STATUS_OK;
    FILE *plots = open_memstream(&text, &size);
    if (!plots) return fail(STATUS_NOMEM, "memory for a picture");
    for (size_t i = count; !result && i-- > 0;)
        for (size_t s = 0; !result && s < p->seed_count; s++) {
            bool some, best = is_best(r, i);
            board_task task = {r->lines[i].config, s, 0};
            result = write_curve(out, r, &task, most, &some);
            const char *colour = p->bracket_count > 1 || best
                                     ? report_colour(bracket_of(r, &r->lines[i]))
                                     : "#777777";
            if (some)
                fprintf(plots,
                        ", $run%zu_%zu with linespoints pt 7 ps %s lw %s lc rgb '%s' notitle",
                        task.config, task.seed, best ? "0.5" : "0.3", best ? "2.5" : "0.8", colour);
        }
    name_brackets(plots, p, "lines lw 2");
    fclose(plots);
    fprintf(out, "set xlabel 'step'\nset ylabel 'validation loss'\nset xrange [0:%" PRIu64 "]\n",
            p->rungs.steps[p->rungs.count - 1]);
    fprintf(out, "plot NaN notitle%s\nset xrange [*:*]\n", text);
    free(text);
    return result;
}

/* Where a value stands on its axis: lists have places, as words have no size. */
static double axis_value(const tune_key *k, const char *value)
{
    for (size_t i = 0; i < k->count; i++)
        if (strcmp(k->values[i], value) == 0) return (double)i;
    return strtod(value, NULL);
}

static void set_axis(FILE *out, const tune_key *k)
{
    fprintf(out, "set xlabel ");
    plot_quote(out, k->row->key);
    fprintf(out, " noenhanced\n");
    if (k->log) fprintf(out, "set logscale x\nset format x '%%g'\n");
    if (k->count == 0) return;
    fprintf(out, "set xrange [-0.5:%zu.5]\nset xtics (", k->count - 1);
    for (size_t i = 0; i < k->count; i++) {
        if (i) fprintf(out, ", ");
        plot_quote(out, k->values[i]);
        fprintf(out, " %zu", i);
    }
    fprintf(out, ") noenhanced\n");
}

/* Value, loss, spread, bracket, and whether the run went to the end. */
static void write_scores(FILE *out, const tune_report *r, size_t key, double most)
{
    const tune_plan *p = r->b->plan;
    fprintf(out, "$key%zu << EOD\nNaN NaN 0 -1 0\n", key);
    for (size_t i = 0; i < tune_configs(p); i++) {
        const board_line *line = &r->lines[i];
        if (line->rungs == 0 || !(line->loss <= most) || !isfinite(line->loss)) continue;
        fprintf(out, "%.9g %.9g %.9g %zu %d\n",
                axis_value(&p->keys[key], p->configs[line->config].values[key]), line->loss,
                isnan(line->spread) ? 0.0 : line->spread, bracket_of(r, line),
                line->rungs == p->rungs.count);
    }
    fprintf(out, "EOD\n");
}

static void draw_key(FILE *out, const tune_report *r, size_t key, double most)
{
    const tune_plan *p = r->b->plan;
    write_scores(out, r, key, most);
    set_axis(out, &p->keys[key]);
    fprintf(out, "set ylabel 'validation loss at the last step'\n"
                 "set offsets graph 0.04, graph 0.04, graph 0.05, graph 0.05\nplot NaN notitle");
    const char *with = p->seed_count > 1 ? "2:3 with yerrorbars" : "2 with points";
    for (size_t b = 0; b < p->bracket_count; b++)
        for (int end = 0; end < 2; end++)
            fprintf(out,
                    ", $key%zu using ($4 == %zu && $5 == %d ? $1 : NaN):%s pt %d ps %s lc rgb '%s' "
                    "notitle",
                    key, b, end, with, end ? 7 : 6, end ? "0.9" : "0.7", report_colour(b));
    fprintf(out, ", NaN with points pt 7 lc rgb dark title 'to the end', NaN with points pt 6 lc "
                 "rgb dark title 'stopped'");
    fprintf(out, "\nunset logscale\nset format x '%%g'\nset xrange [*:*]\nset xtics autofreq\n");
}

status tune_report_draw(const tune_report *r)
{
    plot p;
    char path[PATH_SIZE];
    if (!tune_report_has_best(r)) return STATUS_OK;
    size_t keys = r->b->plan->key_count < KEY_PANELS ? r->b->plan->key_count : KEY_PANELS;
    double most = ceiling_of(r);
    snprintf(path, sizeof path, "%s/tune.svg", r->b->plan->folder);
    status result = plot_open(&p, path, (int)(keys + 1) * PANEL, HEIGHT);
    if (!result) {
        fprintf(p.commands, "set multiplot\n");
        place_panel(p.commands, 0, keys + 1);
        result = draw_curves(p.commands, r, most);
    }
    for (size_t k = 0; !result && k < keys; k++) {
        place_panel(p.commands, k + 1, keys + 1);
        draw_key(p.commands, r, k, most);
    }
    if (!result) fprintf(p.commands, "unset multiplot\n");
    status drawn = plot_close(&p, !result);
    return result ? result : drawn;
}
