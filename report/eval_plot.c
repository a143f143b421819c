/* Panels side by side: reliability, then losses against members, then the curve. */
#include "report/eval_report.h"

#include <math.h>

enum { MAX_POINTS = 2000 /* drawn of a set, evenly chosen */ };

static bool of_classes(const ensemble *e)
{
    model_config config = job_model(&e->jobs[0]);
    return model_has_classes(&config);
}

size_t evaluation_panels(const ensemble *e)
{
    size_t reliability = of_classes(e) && ensemble_has_average(e) ? 2 : 1;
    return reliability + (e->member_count > 1) + evaluation_has_curve(e);
}

/* Where a panel's axes lie, as shares of the picture. */
static void eval_plot_place(FILE *out, size_t panel, size_t panels, double bottom, double top)
{
    double width = 1.0 / (double)panels, left = (double)panel * width;
    fprintf(out,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset bmargin at screen %.4f\n"
            "set tmargin at screen %.4f\n",
            left + 0.19 * width, left + 0.96 * width, bottom, top);
}

static void write_bins(FILE *out, const evaluation *v, const calibration_bin *bins, size_t panel)
{
    fprintf(out, "$bins%zu << EOD\n", panel);
    for (size_t b = 0; b < v->bin_count; b++) {
        double centre = ((double)b + 0.5) / (double)v->bin_count;
        double share = (double)bins[b].count / (double)v->mean.rows;
        if (bins[b].count)
            fprintf(out, "%.17g %.17g %.17g %.17g\n", centre, bins[b].accuracy, bins[b].confidence,
                    share);
    }
    fprintf(out, "EOD\n");
}

static void draw_reliability(FILE *out, const evaluation *v, size_t panel, size_t panels,
                             const char *title, const prediction_scores *s)
{
    double half = 0.5 / (double)v->bin_count;
    eval_plot_place(out, panel, panels, 0.40, 0.86);
    fprintf(out,
            "set title '%s: accuracy %.3f, ECE %.3f'\nset xrange [0:1]\nset yrange [0:1]\n"
            "set format x ''\nunset xlabel\nset ylabel 'accuracy'\nset ytics 0.2\nset key tmargin "
            "center horizontal\n",
            title, s->accuracy, s->ece);
    fprintf(out,
            "plot $bins%zu using 1:2:(%.17g) with boxes fs solid 0.75 lc rgb blue "
            "title 'accuracy', $bins%zu using 1:2:($1-%.17g):($1+%.17g):2:3 with boxxyerror "
            "fs transparent solid 0.6 lc rgb orange title 'gap to confidence', "
            "x with lines dt 2 lc rgb dark notitle\n",
            panel, 2.0 * half, panel, half, half);
    eval_plot_place(out, panel, panels, 0.12, 0.34);
    fprintf(out,
            "unset title\nset format x '%%g'\nset xlabel 'confidence'\nset ylabel 'share'\n"
            "unset key\nset yrange [0:1]\nset ytics 0.5\n"
            "plot $bins%zu using 1:4:(%.17g) with boxes fs solid 0.75 lc rgb grey\n",
            panel, 2.0 * half);
}

static void draw_members(FILE *out, const evaluation *v, size_t panel, size_t panels)
{
    bool classes = v->mean.classes;
    fprintf(out, "$members << EOD\n");
    for (size_t i = 0; i < v->averaged.points; i++)
        fprintf(out, "%zu %.17g %.17g\n", v->curve[i].members, v->curve[i].nll,
                classes ? v->curve[i].ece : v->curve[i].coverage_error);
    fprintf(out, "EOD\nset logscale x 2\nset xrange [*:*]\nset yrange [*:*]\nset ytics auto\nset "
                 "key tmargin center horizontal\n");
    eval_plot_place(out, panel, panels, 0.53, 0.86);
    fprintf(out,
            "set title 'against the members averaged'\nset format x ''\nunset xlabel\n"
            "set ylabel 'loss (nats)'\nset offsets 0, 0, graph 0.1, graph 0.1\n"
            "plot $members using 1:2 with linespoints ls 2 title 'averaged', "
            "%.17g with lines dt 2 lc rgb blue title 'mean'\n",
            v->at_mean.nll);
    eval_plot_place(out, panel, panels, 0.12, 0.45);
    fprintf(out,
            "unset title\nunset key\nset format x '%%g'\nset xlabel 'members'\nset ylabel '%s'\n"
            "plot $members using 1:3 with linespoints ls 2 title 'averaged', "
            "%.17g with lines dt 2 lc rgb blue title 'mean'\nunset logscale x\n",
            classes ? "ECE" : "coverage error",
            classes ? v->at_mean.ece : v->at_mean.coverage_error);
}

static size_t draw_class_reliability(FILE *out, const evaluation *v, size_t panels)
{
    bool averaged = v->averaged.points > 0;
    write_bins(out, v, v->mean_bins, 0);
    if (averaged) write_bins(out, v, v->averaged_bins, 1);
    draw_reliability(out, v, 0, panels, "mean", &v->at_mean);
    if (averaged) draw_reliability(out, v, 1, panels, "averaged", evaluation_average(v));
    return averaged ? 2 : 1;
}

/* The mean and the average in one panel. */
static size_t draw_coverage(FILE *out, const evaluation *v, size_t panels)
{
    const prediction_scores *average = evaluation_average(v);
    fprintf(out, "$coverage << EOD\n");
    for (size_t k = 0; k < METRICS_LEVELS; k++)
        fprintf(out, "%.17g %.17g %.17g\n", metrics_level(k), v->at_mean.coverage[k],
                average->coverage[k]);
    fprintf(out, "EOD\n");
    eval_plot_place(out, 0, panels, 0.12, 0.86);
    fprintf(out, "set title 'coverage error: mean %.3f", v->at_mean.coverage_error);
    if (v->averaged.points) fprintf(out, ", averaged %.3f", average->coverage_error);
    fprintf(out, "'\nset xrange [0:1]\nset yrange [0:1]\nset xlabel 'nominal coverage'\n"
                 "set ylabel 'share of targets inside'\nset key tmargin center horizontal\n"
                 "plot $coverage using 1:2 with linespoints ls 1 title 'mean', ");
    if (v->averaged.points)
        fprintf(out, "$coverage using 1:3 with linespoints ls 2 title 'averaged', ");
    fprintf(out, "x with lines dt 2 lc rgb dark notitle\n");
    return 1;
}

static void write_points(FILE *out, const curve_points *trained)
{
    fprintf(out, "$trained << EOD\n");
    for (size_t i = 0; i < trained->count; i += 1 + trained->count / MAX_POINTS)
        fprintf(out, "%.9g %.9g\n", trained->x[i], trained->y[i]);
    fprintf(out, "EOD\n");
}

/* A bar for each row that was judged, and nothing between them: what was not asked is not drawn. */
static void write_bands(FILE *out, const evaluation *v)
{
    bool averaged = v->averaged.points > 0;
    const predictions *p = averaged ? &v->averaged : &v->mean;
    size_t point = p->points - 1;
    const double *mean = predictions_column(p, point, VALUE_OF + VALUE_MEAN);
    const double *variance = predictions_column(p, point, VALUE_OF + VALUE_VARIANCE);
    fprintf(out, "$bands << EOD\n");
    for (size_t i = 0; i < v->rows.count; i += 1 + v->rows.count / MAX_POINTS)
        fprintf(out, "%.9g %.17g %.17g\n", v->rows.x[i], mean[i], 2.0 * sqrt(variance[i]));
    fprintf(out, "EOD\n");
}

static void draw_bands(FILE *out, const evaluation *v, size_t panel, size_t panels)
{
    write_points(out, &v->trained);
    write_bands(out, v);
    eval_plot_place(out, panel, panels, 0.12, 0.86);
    fprintf(out,
            "set title '%s prediction and two deviations'\nset xrange [*:*]\nset yrange [*:*]\n"
            "set ytics auto\nset format x '%%g'\nset xlabel 'input'\nset ylabel 'value'\n"
            "set key tmargin center horizontal\nset offsets graph 0.02, graph "
            "0.02, 0, 0\n"
            "plot $bands using 1:($2-$3):(0):(2*$3) with vectors nohead lw 2 lc rgb band "
            "notitle, ",
            v->averaged.points ? "averaged" : "mean");
    if (v->trained.count)
        fprintf(out, "$trained using 1:2 with points pt 7 ps 0.4 lc rgb orange "
                     "title 'training', ");
    fprintf(out, "$bands using 1:2 with points pt 7 ps 0.2 lc rgb blue notitle, "
                 "NaN with lines ls 1 title 'prediction'\n");
}

void evaluation_draw(const evaluation *v, plot *p)
{
    FILE *out = p->commands;
    size_t panels = evaluation_panels(v->e);
    fprintf(out, "set multiplot\n");
    size_t panel = (v->mean.classes ? draw_class_reliability : draw_coverage)(out, v, panels);
    if (v->e->member_count > 1) draw_members(out, v, panel++, panels);
    if (evaluation_has_curve(v->e)) draw_bands(out, v, panel, panels);
    fprintf(out, "unset multiplot\n");
}
