/* Where the time of steps went, beside the curves of speed. */
#include "report/report.h"

#include <math.h>

static double spent(const report_run *run, size_t part)
{
    double sum = 0.0;
    for (size_t k = 0; k < run->h.metrics.count; k++)
        sum += metrics_spent(&run->h.metrics.rows[k], part);
    return sum;
}

static void write_times(const report *r)
{
    fprintf(r->out, "<h3>Where the time goes, percent</h3>\n");
    report_table(r);
    for (size_t part = 0; part < METRICS_TIMES; part++) {
        report_row(r, metrics_times[part].what);
        for (size_t i = 0; i < r->count; i++) {
            double all = 0.0;
            for (size_t k = 0; k < METRICS_TIMES; k++) all += spent(&r->runs[i], k);
            double share = all > 0.0 ? spent(&r->runs[i], part) / all : NAN;
            char shown[120];
            snprintf(shown, sizeof shown,
                     "<span class=\"share\" style=\"width:%.2frem\"></span>%.1f",
                     (r->count > 2 ? 2.0 : 8.0) * share, 100.0 * share);
            html_number(r->out, 100.0 * share, shown);
        }
        fprintf(r->out, "</tr>\n");
    }
    report_table_end(r);
}

status report_write_speed(const report *r)
{
    bool any = false;
    for (size_t i = 0; i < r->count; i++) any = any || r->runs[i].h.metrics.count > 0;
    if (!any) return STATUS_OK;
    report_section(r, "Speed");
    report_grid(r, true);
    status result = report_draw_speed_curves(r);
    report_grid(r, false);
    if (!result) write_times(r);
    return result;
}
