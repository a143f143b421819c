/* Runs of one job on several numbers of ranks. Speed in tokens a second makes strong scaling (the
 * same step) and weak scaling (work items grow with the ranks) one question: how much of the
 * smallest launch's speed a rank has left. */
#include "analysis/sensitivity.h"
#include "io/jobs/job_schema.h"
#include "report/report.h"
#include "train/plan.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

typedef struct {
    size_t run;          /* in the report */
    size_t ranks, nodes; /* nodes whose ranks share memory; 0: none */
    double workers;      /* threads of all ranks */
    double speed;        /* rows a second, median */
    double efficiency;
    double bound;   /* of efficiency, by how the plan deals out a step's work items */
    double sent;    /* bytes of the last step logged */
    double planned; /* bytes a step */
} scaling_point;

typedef struct {
    scaling_point points[REPORT_RUNS]; /* by workers */
    size_t count;
    bool weak; /* work items grow with the ranks */
} scaling_study;

/* Keys that a study varies, or that change no work. */
static bool may_differ(const char *key)
{
    static const char *const keys[] = {
        "name", "output", "steps", "seed", "batch.microbatches", "parallel.threads"};
    static const char *const sections[] = {"eval.", "checkpoint.", "log.", "schedule."};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        if (strncmp(key, sections[i], strlen(sections[i])) == 0) return true;
    return false;
}

static bool same_work(const job *a, const job *b)
{
    char x[JOB_TEXT], y[JOB_TEXT];
    for (size_t k = 0; k < schema_count; k++) {
        if (may_differ(schema_rows[k].key)) continue;
        schema_format(&schema_rows[k], a, x, sizeof x);
        schema_format(&schema_rows[k], b, y, sizeof y);
        if (strcmp(x, y) != 0) return false;
    }
    return true;
}

/* What ranks share: parts of work items. */
static double parts_of(const job *j)
{
    const runtime_settings with = job_settings(j);
    return (double)(with.items * with.parts);
}

static double rounds_of(const job *j, size_t ranks)
{
    return ceil(parts_of(j) / (double)ranks);
}

/* Older vario's events have no precision. */
static dtype precision_of(const report_run *run)
{
    const char *name = json_string_value(json_object_get(history_restart(&run->h), "precision"));
    if (!name) return run->h.job.precision;
    return strcmp(name, "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32;
}

static status plan_bytes(scaling_point *p, const report_run *run)
{
    for (size_t rank = 0; rank < p->ranks; rank++) {
        plan of;
        const plan_rank here = {.ranks = p->ranks, .rank = rank, .nodes = p->nodes};
        status result =
            plan_make(&of, &run->h.job, &here, precision_of(run), &sensitivity_estimator);
        if (result) return result;
        for (int kind = 0; kind < BYTES_KINDS; kind++) p->planned += (double)of.sent[kind];
    }
    return STATUS_OK;
}

static void insert(scaling_study *s, const scaling_point *p)
{
    size_t at = s->count++;
    while (at > 0 && s->points[at - 1].workers > p->workers) {
        s->points[at] = s->points[at - 1];
        at--;
    }
    s->points[at] = *p;
}

/* A number of ranks or threads that an event has; 0 for what cannot be one. */
static size_t count_of(const json_t *restart, const char *key)
{
    double count = history_number(restart, key, 0.0);
    return count >= 1.0 && count <= INT_MAX ? (size_t)count : 0;
}

/* The run's point of a study; its ranks are 0 where it has no speed. */
static status make_point(scaling_point *p, const report *r, size_t run)
{
    const report_run *of = &r->runs[run];
    size_t ranks = count_of(history_restart(&of->h), "ranks"),
           threads = count_of(history_restart(&of->h), "threads");
    *p = (scaling_point){.run = run,
                         .ranks = threads > 0 ? ranks : 0,
                         .nodes = count_of(history_restart(&of->h), "memory_nodes"),
                         .workers = (double)ranks * (double)threads,
                         .speed = report_column_median(of, offsetof(metrics, tokens_per_second)),
                         .sent = report_last(of) ? (double)report_last(of)->bytes_sent : NAN};
    if (!(p->speed > 0.0) || history_count(&of->h, "resumed") > 0) p->ranks = 0;
    return p->ranks > 0 ? plan_bytes(p, of) : STATUS_OK;
}

static void compare(const report *r, scaling_study *s)
{
    const scaling_point *first = &s->points[0];
    const job *j = &r->runs[first->run].h.job;
    double base = parts_of(j) / rounds_of(j, first->ranks) / (double)first->ranks;
    for (size_t i = 0; i < s->count; i++) {
        scaling_point *p = &s->points[i];
        const job *own = &r->runs[p->run].h.job;
        double dealt = parts_of(own) / rounds_of(own, p->ranks) / (double)p->ranks;
        p->efficiency = p->speed / p->workers / (first->speed / first->workers);
        p->bound = dealt / base;
    }
}

/* The study that a run begins: those after it of the same work, and strong or weak as it is. */
static void gather(scaling_study *s, const report *r, const scaling_point *points, size_t first,
                   bool weak, const bool *taken)
{
    *s = (scaling_study){.weak = weak};
    const job *j = &r->runs[first].h.job;
    const scaling_point *lead = &points[first];
    if (lead->ranks == 0) return;
    insert(s, lead);
    for (size_t i = 0; i < r->count; i++) {
        const scaling_point *p = &points[i];
        const job *other = &r->runs[i].h.job;
        if (i == first || taken[i] || p->ranks == 0 || !same_work(j, other)) continue;
        if (weak && p->ranks == lead->ranks) continue;
        uint64_t a = job_settings(j).items, b = job_settings(other).items;
        if (weak ? a * p->ranks == b * lead->ranks : a == b) insert(s, p);
    }
}

static bool is_study(const scaling_study *s)
{
    return s->count > 1 && s->points[0].workers < s->points[s->count - 1].workers;
}

static void write_points(FILE *out, const scaling_study *s)
{
    const scaling_point *first = &s->points[0];
    fprintf(out, "$points << EOD\n");
    for (size_t i = 0; i < s->count; i++) {
        const scaling_point *p = &s->points[i];
        double ideal = first->speed * p->workers / first->workers;
        fprintf(out, "%.9g %.9g %.9g %.9g %.9g %.9g %.9g %.9g\n", p->workers, p->speed, ideal,
                ideal * p->bound, 100.0 * p->efficiency, 100.0 * p->bound, p->sent / 1e6,
                p->planned / 1e6);
    }
    fprintf(out, "EOD\n");
}

/* Each launch is a tic of its own. */
static void begin(FILE *out, const scaling_study *s, const char *y)
{
    bool threads = false;
    for (size_t i = 0; i < s->count; i++)
        threads = threads || s->points[i].workers != (double)s->points[i].ranks;
    report_axes(out, threads ? "threads of all ranks" : "ranks (of one thread)", y, true, false);
    write_points(out, s);
    fprintf(out,
            "set logscale x 2\nset format x '%%g'\nset offsets 0, 0, graph 0.06, 0\nset xtics (");
    for (size_t i = 0; i < s->count; i++) fprintf(out, "%s%g", i ? ", " : "", s->points[i].workers);
    fprintf(out, ")\nset xrange [%g:%g]\n", s->points[0].workers / 1.15,
            s->points[s->count - 1].workers * 1.15);
}

static const char lines_of_plan[] =
    "with linespoints lw 1.4 pt 6 ps 0.5 lc rgb '#d9730d' title 'vario plan'";

static void draw_speed(FILE *out, const report *r, const void *what, bool alone)
{
    (void)r;
    (void)alone;
    begin(out, what, "thousand tokens or examples a second");
    fprintf(out,
            "set yrange [0:*]\nplot $points using 1:($3/1e3) with lines lw 1.2 dt 2 lc rgb "
            "'#777777' title 'ideal', $points using 1:($4/1e3) %s, $points using 1:($2/1e3) with "
            "linespoints lw 1.8 pt 7 ps 0.5 lc rgb '#1f5fb4' title 'measured'\n",
            lines_of_plan);
}

static void draw_efficiency(FILE *out, const report *r, const void *what, bool alone)
{
    (void)r;
    (void)alone;
    begin(out, what, "efficiency (percent)");
    fprintf(out,
            "set yrange [0:*]\nplot 100 with lines lw 1.2 dt 2 lc rgb '#777777' title 'ideal', "
            "$points using 1:6 %s, $points using 1:5 with linespoints lw 1.8 pt 7 ps 0.5 lc rgb "
            "'#1f5fb4' title 'measured'\n",
            lines_of_plan);
}

static void draw_bytes(FILE *out, const report *r, const void *what, bool alone)
{
    (void)r;
    (void)alone;
    begin(out, what, "million bytes a step, all ranks");
    fprintf(
        out,
        "set yrange [0:*]\nplot $points using 1:8 %s, $points using 1:7 with points pt 7 ps 0.5 "
        "lc rgb '#1f5fb4' title 'measured'\n",
        lines_of_plan);
}

static void write_cells(const report *r, double value, const char *format)
{
    char shown[60];
    snprintf(shown, sizeof shown, format, value);
    html_number(r->out, value, shown);
}

static void write_study_table(const report *r, const scaling_study *s)
{
    static const char *const heads[] = {"ranks",         "threads of all", "nodes",
                                        "rows a second", "efficiency, %",  "vario plan, %",
                                        "MB a step",     "vario plan, MB"};
    fprintf(r->out, "<div class=\"wide\"><table>\n<tr><th></th>");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        fprintf(r->out, "<th>%s</th>", heads[i]);
    fprintf(r->out, "</tr>\n");
    for (size_t i = 0; i < s->count; i++) {
        const scaling_point *p = &s->points[i];
        report_row(r, r->runs[p->run].label);
        write_cells(r, (double)p->ranks, "%.0f");
        write_cells(r, p->workers, "%.0f");
        write_cells(r, history_number(history_restart(&r->runs[p->run].h), "nodes", NAN), "%.0f");
        write_cells(r, p->speed, "%.0f");
        write_cells(r, 100.0 * p->efficiency, "%.1f");
        write_cells(r, 100.0 * p->bound, "%.1f");
        write_cells(r, p->sent / 1e6, "%.2f");
        write_cells(r, p->planned / 1e6, "%.2f");
        fprintf(r->out, "</tr>\n");
    }
    fprintf(r->out, "</table></div>\n");
}

static const struct {
    const char *name, *caption;
    report_draw *draw;
} panels[] = {{"speed", "", draw_speed},
              {"efficiency", "of a thread", draw_efficiency},
              {"bytes", "sent in a step", draw_bytes}};

static status write_study(const report *r, const scaling_study *s, size_t number)
{
    const char *kind = s->weak ? "Weak scaling" : "Strong scaling";
    fprintf(r->out,
            "<h3>%s</h3>\n<p class=\"soft\">%s Ideal is the smallest launch's speed times "
            "the threads. What `vario plan` allows is that less the ranks that have no work "
            "item in a step's last round; its bytes are those of a step.</p>\n",
            kind,
            s->weak ? "Work items of a step grow with the ranks." : "The same step on more ranks.");
    write_study_table(r, s);
    report_grid(r, true);
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < sizeof panels / sizeof panels[0]; i++) {
        char name[40], title[60];
        snprintf(name, sizeof name, "scaling-%s-%zu", panels[i].name, number);
        snprintf(title, sizeof title, "%s: %s", kind, panels[i].name);
        result = report_picture(r, name, title, panels[i].caption, panels[i].draw, s);
    }
    report_grid(r, false);
    return result;
}

status report_write_scaling(const report *r)
{
    size_t found = 0;
    scaling_point points[REPORT_RUNS];
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < r->count; i++) result = make_point(&points[i], r, i);
    for (int weak = 0; weak < 2; weak++) {
        bool taken[REPORT_RUNS] = {false};
        for (size_t i = 0; !result && i < r->count; i++) {
            scaling_study s;
            if (taken[i]) continue;
            gather(&s, r, points, i, weak, taken);
            if (!is_study(&s)) continue;
            for (size_t k = 0; k < s.count; k++) taken[s.points[k].run] = true;
            compare(r, &s);
            if (found++ == 0) report_section(r, "Scaling");
            result = write_study(r, &s, found);
        }
    }
    return result;
}
