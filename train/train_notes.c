/* What rank 0 says of a run, and when something is due. */
#include "io/files/json_text.h"
#include "train/train_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool train_first_rank(const training *g)
{
    return g->c->rank == 0;
}

bool train_due(uint64_t steps, uint64_t every, uint64_t last)
{
    return steps == last || (every > 0 && steps % every == 0);
}

void train_note(training *g, const char *event, const char *details)
{
    if (!train_first_rank(g)) return;
    bool written = !run_event(g->run, event, details);
    if (!written && !g->warned_events)
        status_warn("%s; events wait until it can be", status_message());
    status_clear();
    g->warned_events = !written;
}

void train_note_step(training *g, const char *event, uint64_t step)
{
    char details[64];
    snprintf(details, sizeof details, "\"step\": %" PRIu64, step);
    train_note(g, event, details);
}

void train_warn(training *g, const char *sentence)
{
    if (!train_first_rank(g)) return;
    progress_say(&g->progress, "warning: %s", sentence);
    char *details = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&details, &size);
    if (!out) return;
    fputs("\"message\": ", out);
    json_text_print(out, sentence);
    if (fclose(out) == 0) train_note(g, "warning", details);
    free(details);
}

void train_note_stall(void *context, const watch_event *event)
{
    char *details = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&details, &size);
    if (!out) return;
    fprintf(out, "\"ranks\": %s, \"host\": ", event->ranks);
    json_text_print(out, event->host);
    fprintf(out, ", \"process\": %d, \"seconds\": %.3f, \"message\": ", event->process,
            event->seconds);
    json_text_print(out, event->sentence);
    if (fclose(out) == 0) train_note(context, event->name, details);
    free(details);
}
