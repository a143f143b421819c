/** What a person sees while a run goes on: a bar on a terminal, plain lines in a log. */
#ifndef VARIO_TRAIN_PROGRESS_H
#define VARIO_TRAIN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool shown, terminal;
    const char *rows; /**< "tokens" or "examples" */
    uint64_t steps;
    double last; /**< seconds of the last print */
    double started;
    uint64_t first; /**< step this restart began with */
    double loss;    /**< smoothed */
} progress;

/** @param shown  false prints nothing (other ranks, --quiet)
 * @param rows   what the speed counts, static */
void progress_open(progress *p, bool shown, const char *rows, uint64_t first, uint64_t steps);

/** After each step.
 * @param utilization  share of the machine's product rate, printed as "62% of peak"; NAN for none
 * @param always       print even if the last line was just now */
void progress_step(progress *p, uint64_t step, double loss, double rows_per_second,
                   double utilization, bool always);

/** A line of its own, above the bar. */
void progress_say(progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Seconds as people read them: "3m12s", "2h07m". */
void progress_duration(char *text, size_t size, double seconds);

void progress_close(progress *p);

#endif
