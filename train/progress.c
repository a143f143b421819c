/* The bar redraws its line with a carriage return; a log gets a line every ten seconds at most. */
#include "train/progress.h"

#include "base/activity.h"
#include "base/status.h"
#include "base/terminal.h"
#include "runtime/timing.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* mpirun gives ranks a terminal of its own whatever it writes to, so under it only the environment
 * says whether a person looks on. */
static bool wants_bar(void)
{
    const char *told = getenv("VARIO_PROGRESS");
    if (told) return strcmp(told, "bar") == 0;
    return !getenv("OMPI_COMM_WORLD_SIZE") && isatty(STDOUT_FILENO) == 1;
}

void progress_open(progress *p, bool shown, const char *rows, uint64_t first, uint64_t steps)
{
    *p = (progress){.shown = shown,
                    .terminal = wants_bar(),
                    .rows = rows,
                    .steps = steps,
                    .started = timing_clock(),
                    .first = first,
                    .loss = NAN};
}

void progress_duration(char *text, size_t size, double seconds)
{
    long s = lround(seconds);
    if (s >= 3600)
        snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
}

/* A pipe whose reader has gone (`| head -1`), a full disk: no reason to end a run. */
static void flush(progress *p)
{
    activity_file(ACTIVITY_WRITES, "writes", "standard output");
    bool written = activity_done(fflush(stdout)) == 0 && !ferror(stdout);
    if (written) return;
    status_warn("standard output: %s; the run goes on without it", strerror(errno));
    clearerr(stdout);
    p->shown = false;
}

static void print_bar(const progress *p, uint64_t step)
{
    enum { WIDTH = 20 };
    int filled = (int)(step * WIDTH / p->steps);
    printf("\r\033[K[");
    for (int i = 0; i < WIDTH; i++) putchar(i < filled ? '#' : '.');
    printf("] ");
}

static void print_utilization(double utilization)
{
    double percent = 100.0 * utilization;
    if (!isnan(percent)) printf("%.*f%% of peak  ", percent < 9.95 ? 1 : 0, percent);
}

void progress_step(progress *p, uint64_t step, double loss, double rows_per_second,
                   double utilization, bool always)
{
    if (isfinite(loss)) p->loss = isnan(p->loss) ? loss : 0.95 * p->loss + 0.05 * loss;
    double now = timing_clock(), interval = p->terminal ? 0.2 : 10.0;
    if (!p->shown || (!always && now - p->last < interval)) return;
    p->last = now;
    if (p->terminal) print_bar(p, step);
    printf("step %llu/%llu  loss %.4f  %.0f %s/s  ", (unsigned long long)step,
           (unsigned long long)p->steps, p->loss, rows_per_second, p->rows);
    print_utilization(utilization);
    char left[40];
    progress_duration(left, sizeof left,
                      (now - p->started) / (double)(step - p->first) * (double)(p->steps - step));
    printf("%s left", left);
    if (!p->terminal) putchar('\n');
    flush(p);
}

void progress_say(progress *p, const char *format, ...)
{
    if (!p->shown) return;
    if (p->terminal) printf("\r\033[K");
    char line[TERMINAL_LINE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    terminal_print(stdout, "%s\n", line);
    flush(p);
}

void progress_close(progress *p)
{
    if (p->shown && p->terminal && p->last > 0.0) putchar('\n');
    if (p->shown) flush(p);
}
