/* Columns of metrics.csv against tokens or time, one table row a picture. */
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SERIES = 3,   /* columns in a picture, at most */
    POINTS = 400, /* of a curve, at most */
    FEW = 60      /* points that get dots */
};

typedef enum { AXIS_PLAIN, AXIS_LOSS, AXIS_LOG, AXIS_PERCENT, AXIS_FROM_0 } axis_kind;

typedef struct {
    const char *name, *title, *caption;
    const char *unit; /* of y, after its scale: "bytes" may become "million bytes" */
    bool time;        /* against seconds */
    axis_kind kind;
    struct {
        size_t column;   /* its offset in metrics */
        const char *key; /* "": it needs none; NULL: there is no more */
        bool thin;       /* a noisy line behind the others */
    } series[SERIES];
} curve_panel;

static const curve_panel loss_panels[] = {
    {"loss-tokens",
     "Loss against data",
     "",
     "loss",
     false,
     AXIS_LOSS,
     {{offsetof(metrics, train_loss), "training", true},
      {offsetof(metrics, valid_loss), "validation", false},
      {offsetof(metrics, valid_loss_averaged), "averaged", false}}},
    {"loss-time",
     "Loss against time",
     "of training steps, over all restarts",
     "loss",
     true,
     AXIS_LOSS,
     {{offsetof(metrics, train_loss), "training", true},
      {offsetof(metrics, valid_loss), "validation", false},
      {offsetof(metrics, valid_loss_averaged), "averaged", false}}},
    {"loo-loss",
     "Leave-one-out loss",
     "estimated from sensitivities",
     "loss",
     false,
     AXIS_LOSS,
     {{offsetof(metrics, loo_loss), "leave-one-out", false},
      {offsetof(metrics, valid_loss), "validation", false}}},
};

static const curve_panel step_panels[] = {
    {"learning-rate",
     "Learning rate",
     "",
     "learning rate",
     false,
     AXIS_FROM_0,
     {{offsetof(metrics, lr), "", false}}},
    {"gradient-norm",
     "Norm of the mean gradient",
     "",
     "norm",
     false,
     AXIS_LOG,
     {{offsetof(metrics, grad_norm), "", false}}},
    {"clipped",
     "Clipped",
     "micro-batches or steps; elements of the update",
     "percent",
     false,
     AXIS_PERCENT,
     {{offsetof(metrics, grad_clip_fraction), "gradients", false},
      {offsetof(metrics, update_clip_fraction), "updates", false}}},
};

static const curve_panel posterior_panels[] = {
    {"sigma",
     "Deviation σ of the weights",
     "mean over all weights",
     "σ",
     false,
     AXIS_LOG,
     {{offsetof(metrics, sigma_mean), "", false}}},
    {"hessian",
     "Hessian h",
     "over all weights",
     "h",
     false,
     AXIS_LOG,
     {{offsetof(metrics, hessian_mean), "mean", false},
      {offsetof(metrics, hessian_min), "least", false}}},
    {"hessian-bias",
     "What (1 − β₂)² adds to h",
     "in a step",
     "percent of h",
     false,
     AXIS_PERCENT,
     {{offsetof(metrics, hessian_bias), "", false}}},
};

static const curve_panel speed_panels[] = {
    {"speed",
     "Throughput",
     "",
     "%s a second",
     false,
     AXIS_FROM_0,
     {{offsetof(metrics, tokens_per_second), "", false}}},
    {"utilization",
     "Utilization",
     "of what matrix products reach on these ranks",
     "percent of the peak",
     false,
     AXIS_PERCENT,
     {{offsetof(metrics, model_flops_utilization), "", false}}},
    {"bytes",
     "Sent in a step",
     "by all ranks",
     "bytes",
     false,
     AXIS_FROM_0,
     {{offsetof(metrics, bytes_sent), "", false}}},
    {"waiting",
     "Waiting for other ranks",
     "",
     "percent of the step",
     false,
     AXIS_PERCENT,
     {{offsetof(metrics, comm_fraction), "", false}}},
};

static const char *rows_of(const report *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (job_reads_tokens(&r->runs[i].h.job)) return "tokens";
    return "examples";
}

static size_t count_finite(const report_run *run, size_t column)
{
    size_t count = 0;
    for (size_t k = 0; k < run->h.metrics.count; k++)
        count += isfinite(metrics_value(&run->h.metrics.rows[k], column)) != 0;
    return count;
}

static bool in_any(const report *r, size_t column)
{
    for (size_t i = 0; i < r->count; i++)
        if (count_finite(&r->runs[i], column) > 0) return true;
    return false;
}

/* What all series of a picture span; 0 where there are none. */
typedef struct {
    double min, positive /* the least of those */, max;
    double top; /* that a loss is cut off at: a run begins far above where it is interesting */
} extent;

static extent extent_of_sorted(const double *values, size_t n)
{
    enum { ENOUGH = 40, ABOVE = 33 /* one of so many may lie above the top */ };
    extent e = {.min = values[0], .max = values[n - 1], .top = values[n - 1]};
    for (size_t i = 0; i < n && !(e.positive > 0.0); i++) e.positive = values[i];
    double high = values[n - 1 - n / ABOVE], wanted = high + 0.1 * (high - e.min);
    if (n >= ENOUGH && wanted < e.max && high > e.min) e.top = wanted;
    return e;
}

static extent extent_of(const report *r, const curve_panel *panel)
{
    size_t count = 0, n = 0;
    for (size_t i = 0; i < r->count; i++) count += SERIES * r->runs[i].h.metrics.count;
    double *values = malloc((count + 1) * sizeof *values);
    for (size_t s = 0; values && s < SERIES && panel->series[s].key; s++)
        for (size_t i = 0; i < r->count; i++)
            for (size_t k = 0; k < r->runs[i].h.metrics.count; k++) {
                double value =
                    metrics_value(&r->runs[i].h.metrics.rows[k], panel->series[s].column);
                if (isfinite(value)) values[n++] = value;
            }
    if (n > 0) qsort(values, n, sizeof *values, report_ascending);
    extent e = n > 0 ? extent_of_sorted(values, n) : (extent){0};
    free(values);
    return e;
}

static double furthest(const report *r, size_t x)
{
    double max = 0.0;
    for (size_t i = 0; i < r->count; i++)
        if (report_last(&r->runs[i])) max = fmax(max, metrics_value(report_last(&r->runs[i]), x));
    return max;
}

typedef struct {
    double unit; /* that values are divided by */
    const char *word;
} scale;

static scale scale_of(double max)
{
    static const scale scales[] = {
        {1e12, "trillion"}, {1e9, "billion"}, {1e6, "million"}, {1e3, "thousand"}};
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        if (max >= 2.0 * scales[i].unit) return scales[i];
    return (scale){1.0, ""};
}

static scale time_scale(double max)
{
    if (max >= 3.0 * 86400.0) return (scale){86400.0, "days"};
    if (max >= 3.0 * 3600.0) return (scale){3600.0, "hours"};
    return max >= 180.0 ? (scale){60.0, "minutes"} : (scale){1.0, "seconds"};
}

/* A column of a run as gnuplot's data: where there are many rows, means of as many neighbours. */
static void write_series(FILE *out, const report_run *run, size_t x, size_t y, double x_unit,
                         double y_unit, const char *name)
{
    const metrics_table *t = &run->h.metrics;
    size_t left = count_finite(run, y), group = (left + POINTS - 1) / POINTS, taken = 0;
    double sum_x = 0.0, sum_y = 0.0;
    fprintf(out, "$%s << EOD\n", name);
    for (size_t k = 0; k < t->count; k++) {
        double value = metrics_value(&t->rows[k], y);
        if (!isfinite(value)) continue;
        sum_x += metrics_value(&t->rows[k], x);
        sum_y += value;
        left--;
        if (++taken < group && left > 0) continue;
        fprintf(out, "%.9g %.9g\n", sum_x / (double)taken / x_unit, sum_y / (double)taken / y_unit);
        sum_x = sum_y = 0.0;
        taken = 0;
    }
    fprintf(out, "EOD\n");
}

static double y_unit(const report *r, const curve_panel *panel, const extent *e, char *label,
                     size_t size)
{
    char what[64];
    snprintf(what, sizeof what, panel->unit, rows_of(r));
    if (panel->kind == AXIS_PERCENT) {
        snprintf(label, size, "%s", what);
        return 0.01;
    }
    if (panel->kind == AXIS_LOSS) {
        snprintf(label, size, "loss (nats %s)",
                 strcmp(rows_of(r), "tokens") == 0 ? "a token" : "an example");
        return 1.0;
    }
    scale found = panel->kind == AXIS_FROM_0 ? scale_of(e->max) : (scale){1.0, ""};
    snprintf(label, size, "%s%s%s", found.word, *found.word ? " " : "", what);
    return found.unit;
}

/* A range of less than a decade has too few labels on a logarithmic axis. */
static bool is_log(const curve_panel *panel, const extent *e)
{
    return panel->kind == AXIS_LOG && e->positive > 0.0 && e->max > 20.0 * e->positive;
}

static void set_range(FILE *out, const curve_panel *panel, const extent *e)
{
    bool from_0 = panel->kind == AXIS_FROM_0 || panel->kind == AXIS_PERCENT;
    fprintf(out, "set xrange [0:*]\n");
    if (panel->kind == AXIS_PERCENT && e->max > 0.8 && e->max <= 1.0)
        fprintf(out, "set yrange [0:100]\nset offsets 0, 0, 0, 0\n");
    else if (from_0)
        fprintf(out, "set yrange [0:%s]\nset offsets 0, 0, graph 0.06, 0\n",
                e->max > 0.0 ? "*" : "1");
    else if (e->min == e->max)
        fprintf(out, "set yrange [%.9g:%.9g]\n", e->min - 0.5 * fabs(e->min) - 1e-9,
                e->min + 0.5 * fabs(e->min) + 1e-9);
    else if (panel->kind == AXIS_LOSS && e->top < e->max)
        fprintf(out, "set yrange [*:%.9g]\n", e->top);
}

/* Of a column's lines: of several runs the dashes are theirs. */
static double width_of(const report *r, const curve_panel *panel, size_t s)
{
    size_t first = panel->series[0].thin ? 1 : 0; /* that is no thin one */
    if (panel->series[s].thin) return 1.0;
    return r->count > 1 && s > first ? 0.7 : 1.6;
}

/* One run: a colour a column. Several: a colour a run, and columns differ in their lines. */
static void style_series(FILE *out, const report *r, const curve_panel *panel, size_t s, size_t run)
{
    bool several = r->count > 1, few = count_finite(&r->runs[run], panel->series[s].column) < FEW;
    size_t first = panel->series[0].thin ? 1 : 0;
    if (panel->series[s].thin)
        fprintf(out, "lines lc rgb '#90%s'", report_colour(several ? run : 0) + 1);
    else
        fprintf(out, "%s dt %d lc rgb '%s'", few ? "linespoints pt 7 ps 0.3" : "lines",
                report_dash(run), report_colour(several ? run : s - first));
    fprintf(out, " lw %g", width_of(r, panel, s));
}

/* Of several runs, what the lines of a column look like. */
static void key_series(FILE *out, const report *r, const curve_panel *panel, size_t s)
{
    fprintf(out, ", NaN with lines lw %g lc rgb '%s' title '%s'", width_of(r, panel, s),
            panel->series[s].thin ? "#aaaaaa" : "#555555", panel->series[s].key);
}

static void write_all(FILE *out, const report *r, const curve_panel *panel, double x_of,
                      double y_of)
{
    for (size_t s = 0; s < SERIES && panel->series[s].key; s++)
        for (size_t i = 0; i < r->count; i++) {
            char name[32];
            snprintf(name, sizeof name, "c%zu_%zu", s, i);
            write_series(out, &r->runs[i],
                         panel->time ? offsetof(metrics, seconds) : offsetof(metrics, tokens),
                         panel->series[s].column, x_of, y_of, name);
        }
}

static void draw_curves(FILE *out, const report *r, const void *what, bool alone)
{
    const curve_panel *panel = what;
    char x_label[64], y_label[64];
    extent e = extent_of(r, panel);
    double max = furthest(r, panel->time ? offsetof(metrics, seconds) : offsetof(metrics, tokens));
    scale x = panel->time ? time_scale(max) : scale_of(max);
    double y = y_unit(r, panel, &e, y_label, sizeof y_label);
    if (panel->time)
        snprintf(x_label, sizeof x_label, "training time (%s)", x.word);
    else if (*x.word)
        snprintf(x_label, sizeof x_label, "training %s (%ss)", rows_of(r), x.word);
    else
        snprintf(x_label, sizeof x_label, "training %s", rows_of(r));
    report_axes(out, x_label, y_label, false, is_log(panel, &e));
    set_range(out, panel, &e);
    write_all(out, r, panel, x.unit, y);
    fprintf(out, "plot NaN notitle");
    for (size_t s = 0; s < SERIES && panel->series[s].key; s++) {
        if (!in_any(r, panel->series[s].column)) continue;
        for (size_t i = 0; i < r->count; i++) {
            if (count_finite(&r->runs[i], panel->series[s].column) == 0) continue;
            fprintf(out, ", $c%zu_%zu with ", s, i);
            style_series(out, r, panel, s, i);
            bool keyed = r->count == 1 && *panel->series[s].key;
            fprintf(out, keyed ? " title '%s'" : " notitle", panel->series[s].key);
        }
        if (r->count > 1 && *panel->series[s].key) key_series(out, r, panel, s);
    }
    report_run_keys(out, r, alone);
    fputc('\n', out);
}

static status draw_panels(const report *r, const curve_panel *panels, size_t count)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < count; i++)
        if (in_any(r, panels[i].series[0].column))
            result = report_picture(r, panels[i].name, panels[i].title, panels[i].caption,
                                    draw_curves, &panels[i]);
    return result;
}

static void note_groups(const report *r)
{
    size_t max = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->runs[i].h.metrics.count > max) max = r->runs[i].h.metrics.count;
    if (max > POINTS)
        fprintf(r->out,
                "<p class=\"soft\">Curves of more than %d rows are drawn as means of neighbouring "
                "rows: here of up to %zu.</p>\n",
                POINTS, (max + POINTS - 1) / POINTS);
}

#define PANELS(of) (of), sizeof(of) / sizeof(of)[0]

status report_write_curves(const report *r)
{
    if (!in_any(r, offsetof(metrics, tokens))) return STATUS_OK;
    report_section(r, "Loss");
    note_groups(r);
    report_grid(r, true);
    status result = draw_panels(r, PANELS(loss_panels));
    report_grid(r, false);
    if (result) return result;
    report_section(r, "Steps");
    report_grid(r, true);
    result = draw_panels(r, PANELS(step_panels));
    report_grid(r, false);
    return result;
}

status report_draw_posterior_curves(const report *r)
{
    return draw_panels(r, PANELS(posterior_panels));
}

status report_draw_speed_curves(const report *r)
{
    return draw_panels(r, PANELS(speed_panels));
}
