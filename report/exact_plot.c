/* Panels side by side: variances against the optimum, means against the mode, the spectrum. */
#include "io/files/plot.h"
#include "report/exact.h"

#include <math.h>
#include <stdio.h>

enum { PANEL = 430, HEIGHT = 430, POINTS = 4000 /* drawn at most, evenly chosen */ };

static size_t panels_of(const exact_report *r)
{
    return (r->posterior.sigma ? 2U : 1U) + (r->spectrum ? 1U : 0U);
}

static size_t stride_of(const exact_report *r)
{
    return (r->o->unknowns + POINTS - 1) / POINTS;
}

static void exact_plot_place(FILE *out, size_t panel, size_t panels)
{
    double width = 1.0 / (double)panels, left = (double)panel * width;
    fprintf(out,
            "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset bmargin at screen 0.13\n"
            "set tmargin at screen 0.86\nset key tmargin center horizontal\n",
            left + 0.19 * width, left + 0.96 * width);
}

static void write_points(FILE *out, const exact_report *r)
{
    const oracle *o = r->o;
    fprintf(out, "$unknowns << EOD\n");
    for (size_t i = 0; i < o->unknowns; i += stride_of(r))
        fprintf(out, "%.9g %.9g %.9g %.9g %.9g\n", o->mode[i], sqrt(r->variances[i]),
                1.0 / sqrt(o->diagonal[i]), r->o->start[i],
                r->posterior.sigma ? r->posterior.sigma[i] : NAN);
    fprintf(out, "EOD\n");
}

/* Deviations over the optimum's: a run's should lie on the line, the exact ones above it. */
static void draw_deviations(FILE *out, const exact_report *r, size_t panels)
{
    exact_plot_place(out, 0, panels);
    fprintf(out,
            "set logscale xy\nset format xy '%%.0e'\nset xlabel 'best diagonal: 1/sqrt(L_{ii})'\n"
            "set ylabel 'deviation'\nplot $unknowns using 3:2 with points pt 7 ps 0.4 lc rgb "
            "grey title 'exact'");
    if (r->posterior.sigma)
        fprintf(out, ", $unknowns using 3:5 with points pt 7 ps 0.4 lc rgb blue title 'run'");
    fprintf(out, ", x with lines dt 2 lc rgb dark notitle\nunset logscale\nset format xy '%%g'\n");
}

static void draw_means(FILE *out, size_t panels)
{
    exact_plot_place(out, 1, panels);
    fprintf(out, "set xlabel 'exact mode'\nset ylabel 'mean of the run'\nplot $unknowns using 1:4 "
                 "with points pt 7 ps 0.4 lc rgb blue notitle, x with lines dt 2 lc rgb dark "
                 "notitle\n");
}

static void write_sorted(FILE *out, const exact_report *r, const char *name, const double *values)
{
    size_t n = r->o->unknowns;
    fprintf(out, "$%s << EOD\n", name);
    for (size_t i = 0; values && i < n; i += stride_of(r))
        if (values[n - 1 - i] > 0.0) fprintf(out, "%zu %.9g\n", i + 1, values[n - 1 - i]);
    fprintf(out, "EOD\n");
}

/* From the largest down; rounding leaves numbers around 0 of what the data do not see. */
static void draw_spectrum(FILE *out, const exact_report *r, size_t panels)
{
    double min = 1e-12 * r->spectrum[r->o->unknowns - 1];
    exact_plot_place(out, panels - 1, panels);
    write_sorted(out, r, "eigenvalues", r->spectrum);
    write_sorted(out, r, "diagonal", r->curvature);
    write_sorted(out, r, "hessian", r->hessian);
    fprintf(out,
            "set logscale y\nset format y '%%.0e'\nset yrange [%g:*]\nset xlabel 'rank'\n"
            "set ylabel 'curvature'\nplot $eigenvalues with lines ls 2 title 'eigenvalues', "
            "$diagonal with lines lw 2 lc rgb dark title 'diagonal'%s\n",
            min, r->hessian ? ", $hessian with lines ls 1 title 'h of the run'" : "");
}

status exact_draw(const exact_report *r, const char *path)
{
    plot p;
    size_t panels = panels_of(r);
    status result = plot_open(&p, path, (int)panels * PANEL, HEIGHT);
    if (!result) {
        fprintf(p.commands, "set multiplot\n");
        write_points(p.commands, r);
        draw_deviations(p.commands, r, panels);
        if (r->posterior.sigma) draw_means(p.commands, panels);
        if (r->spectrum) draw_spectrum(p.commands, r, panels);
        fprintf(p.commands, "unset multiplot\n");
    }
    status drawn = plot_close(&p, !result);
    return result ? result : drawn;
}
