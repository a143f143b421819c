/* Panels side by side: reliability above the share of rows, then losses against members. */
#include "cli/eval_report.h"

#include <math.h>

size_t evaluation_panels(const ensemble *e)
{
    if (!ensemble_has_average(e)) return 1;
    return e->member_count > 1 ? 3 : 2;
}

/* Where a panel's axes lie, as shares of the picture. */
static void place(FILE *out, size_t panel, size_t panels, double bottom, double top)
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
    place(out, panel, panels, 0.40, 0.86);
    fprintf(out,
            "set title '%s: accuracy %.3f, ECE %.3f'\nset xrange [0:1]\nset yrange [0:1]\n"
            "set format x ''\nunset xlabel\nset ylabel 'accuracy'\nset ytics 0.2\nset key tmargin "
            "center horizontal\n",
            title, s->accuracy, s->ece);
    fprintf(out,
            "plot $bins%zu using 1:2:(%.17g) with boxes fs solid 0.75 lc rgb '#1f5fb4' "
            "title 'accuracy', $bins%zu using 1:2:($1-%.17g):($1+%.17g):2:3 with boxxyerror "
            "fs transparent solid 0.6 lc rgb '#d9730d' title 'gap to confidence', "
            "x with lines dt 2 lc rgb '#555555' notitle\n",
            panel, 2.0 * half, panel, half, half);
    place(out, panel, panels, 0.12, 0.34);
    fprintf(out,
            "unset title\nset format x '%%g'\nset xlabel 'confidence'\nset ylabel 'share'\n"
            "unset key\nset yrange [0:1]\nset ytics 0.5\n"
            "plot $bins%zu using 1:4:(%.17g) with boxes fs solid 0.75 lc rgb '#777777'\n",
            panel, 2.0 * half);
}

static void draw_curve(FILE *out, const evaluation *v, size_t panels)
{
    fprintf(out, "$curve << EOD\n");
    for (size_t i = 0; i < v->averaged.points; i++)
        fprintf(out, "%zu %.17g %.17g\n", v->curve[i].members, v->curve[i].nll, v->curve[i].ece);
    fprintf(out, "EOD\nset logscale x 2\nset xrange [*:*]\nset yrange [*:*]\nset ytics auto\nset "
                 "key tmargin center horizontal\n");
    place(out, 2, panels, 0.53, 0.86);
    fprintf(out,
            "set title 'against the members averaged'\nset format x ''\nunset xlabel\n"
            "set ylabel 'loss (nats)'\nset offsets 0, 0, graph 0.1, graph 0.1\n"
            "plot $curve using 1:2 with linespoints ls 2 title 'averaged', "
            "%.17g with lines dt 2 lc rgb '#1f5fb4' title 'mean'\n",
            v->at_mean.nll);
    place(out, 2, panels, 0.12, 0.45);
    fprintf(out,
            "unset title\nunset key\nset format x '%%g'\nset xlabel 'members'\nset ylabel 'ECE'\n"
            "plot $curve using 1:3 with linespoints ls 2 title 'averaged', "
            "%.17g with lines dt 2 lc rgb '#1f5fb4' title 'mean'\n",
            v->at_mean.ece);
}

void evaluation_draw(const evaluation *v, plot *p)
{
    FILE *out = p->commands;
    size_t panels = evaluation_panels(v->e);
    write_bins(out, v, v->mean_bins, 0);
    if (panels > 1) write_bins(out, v, v->averaged_bins, 1);
    fprintf(out, "set multiplot\n");
    draw_reliability(out, v, 0, panels, "mean", &v->at_mean);
    if (panels > 1) draw_reliability(out, v, 1, panels, "averaged", evaluation_average(v));
    if (panels > 2) draw_curve(out, v, panels);
    fprintf(out, "unset multiplot\n");
}
