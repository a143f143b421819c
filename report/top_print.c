/* A row's numbers in words, as a block for a screen and as a line for a log. */
#include "base/terminal.h"
#include "report/top.h"
#include "train/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum {
    PACE_ROWS = 20 /* that the time left is reckoned from */,
    BAR = 60 /* characters at most */
};

static double all_parts(const metrics *row)
{
    double sum = 0.0;
    for (size_t k = 0; k < METRICS_TIMES; k++) sum += metrics_spent(row, k);
    return sum;
}

static const char *rows_of(const history *h)
{
    return job_words(&h->job)->rows;
}

/* Seconds that the steps after a row will take at the pace of the rows before it; NAN when there is
 * no pace yet. */
static double seconds_left(const history *h, size_t row)
{
    const metrics *now = &h->metrics.rows[row];
    metrics start = row >= PACE_ROWS ? h->metrics.rows[row - PACE_ROWS]
                    : row > 0        ? h->metrics.rows[0]
                                     : (metrics){0};
    if (now->step <= start.step || now->step > h->job.steps) return NAN;
    return (now->seconds - start.seconds) / (double)(now->step - start.step) *
           (double)(h->job.steps - now->step);
}

static void print_left(FILE *out, const history *h, size_t row)
{
    char text[40];
    double left = seconds_left(h, row);
    if (!(left > 0.0)) return;
    progress_duration(text, sizeof text, left);
    fprintf(out, "  %s left", text);
}

static void print_percent(FILE *out, double share)
{
    double percent = 100.0 * share;
    fprintf(out, "%.*f%%", percent < 9.95 ? 1 : 0, percent);
}

void top_print_line(FILE *out, const history *h, size_t row)
{
    const metrics *m = &h->metrics.rows[row];
    double all = all_parts(m);
    fprintf(out, "step %" PRIu64 "/%" PRIu64 "  loss %.4f", m->step, h->job.steps, m->train_loss);
    if (!isnan(m->valid_loss)) fprintf(out, "  validation %.4f", m->valid_loss);
    fprintf(out, "  lr %.4g  %.0f %s/s", m->lr, m->tokens_per_second, rows_of(h));
    if (!isnan(m->model_flops_utilization)) {
        fprintf(out, "  ");
        print_percent(out, m->model_flops_utilization);
        fprintf(out, " of peak");
    }
    print_left(out, h, row);
    for (size_t k = 0; all > 0.0 && k < METRICS_TIMES; k++)
        if (metrics_spent(m, k) >= 0.005 * all)
            fprintf(out, "  %s %.0f%%", metrics_times[k].name, 100.0 * metrics_spent(m, k) / all);
    fputc('\n', out);
}

static void print_bar(FILE *out, double share, int width)
{
    int filled = (int)lround(share * width);
    for (int i = 0; i < width; i++) fputc(i < filled ? '#' : '.', out);
}

static void print_head(FILE *out, const history *h, const metrics *now, int columns)
{
    char so_far[40];
    const json_t *restart = history_restart(h);
    int width = columns - 8 < BAR ? columns - 8 : BAR;
    double share = h->job.steps ? (double)now->step / (double)h->job.steps : 0.0;
    terminal_print(out, "%s: %s", h->path, history_words(h->state));
    if (restart)
        fprintf(out, ", %.0f ranks x %.0f threads", history_number(restart, "ranks", NAN),
                history_number(restart, "threads", NAN));
    progress_duration(so_far, sizeof so_far, now->seconds);
    fputc('\n', out);
    if (width > 4) {
        print_bar(out, share, width);
        fprintf(out, " %.0f%%\n", floor(100.0 * share));
    }
    fprintf(out, "step %" PRIu64 "/%" PRIu64 "  %s so far", now->step, h->job.steps, so_far);
    if (h->state == HISTORY_RUNNING) print_left(out, h, h->metrics.count - 1);
    fputc('\n', out);
}

static void print_losses(FILE *out, const history *h, const metrics *now)
{
    size_t k = h->metrics.count;
    while (k > 0 && isnan(h->metrics.rows[k - 1].valid_loss)) k--;
    fprintf(out, "\nloss        %.4f training", now->train_loss);
    if (k > 0)
        fprintf(out, ", %.4f validation (step %" PRIu64 ")", h->metrics.rows[k - 1].valid_loss,
                h->metrics.rows[k - 1].step);
    fprintf(out, "\nrate        %.4g\ngradient    %.4g norm", now->lr, now->grad_norm);
    if (now->grad_clip_fraction > 0.0) {
        fprintf(out, ", ");
        print_percent(out, now->grad_clip_fraction);
        fprintf(out, " clipped");
    }
    fputc('\n', out);
    if (!isnan(now->sigma_mean)) fprintf(out, "sigma       %.3g mean\n", now->sigma_mean);
}

static void print_speed(FILE *out, const history *h, const metrics *now)
{
    fprintf(out, "speed       %.0f %s/s", now->tokens_per_second, rows_of(h));
    if (!isnan(now->model_flops_utilization)) {
        fprintf(out, ", ");
        print_percent(out, now->model_flops_utilization);
        fprintf(out, " of peak");
    }
    fprintf(out, "\nsent        %.1f MB a step\n", (double)now->bytes_sent / 1e6);
}

void top_print_block(FILE *out, const history *h, int columns)
{
    const metrics *now = &h->metrics.rows[h->metrics.count - 1];
    double all = all_parts(now);
    int width = columns - 20 < 40 ? columns - 20 : 40;
    print_head(out, h, now, columns);
    print_losses(out, h, now);
    print_speed(out, h, now);
    if (all > 0.0) fprintf(out, "\nwhere the time of the last row's steps went\n");
    for (size_t k = 0; all > 0.0 && k < METRICS_TIMES; k++) {
        double share = metrics_spent(now, k) / all;
        fprintf(out, "%-11s %3.0f%%  ", metrics_times[k].name, 100.0 * share);
        for (int i = 0; i < (int)lround(share * width); i++) fputc('#', out);
        fputc('\n', out);
    }
}
