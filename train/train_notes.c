/* What rank 0 says of a run, and when something is due. */
#include "io/files/json_text.h"
#include "train/train_parts.h"

#include <jansson.h>
#include <math.h>

bool train_first_rank(const training *g)
{
    return g->c->rank == 0;
}

bool train_due(uint64_t steps, uint64_t every, uint64_t last)
{
    return steps == last || (every > 0 && steps % every == 0);
}

uint64_t train_last(const training *g)
{
    uint64_t until = g->options->until;
    return until > 0 && until < g->job->steps ? until : g->job->steps;
}

void train_note(training *g, const char *event, json_t *details)
{
    if (!train_first_rank(g)) {
        json_decref(details);
        return;
    }
    bool written = !run_event(g->run, event, details);
    if (!written && !g->warned_events)
        status_warn("%s; events wait until it can be", status_message());
    status_clear();
    g->warned_events = !written;
}

void train_note_step(training *g, const char *event, uint64_t step)
{
    train_note(g, event, json_pack("{sI}", "step", (json_int_t)step));
}

void train_warn(training *g, const char *sentence)
{
    if (!train_first_rank(g)) return;
    progress_say(&g->progress, "warning: %s", sentence);
    train_note(g, "warning", json_pack("{so}", "message", json_text_string(sentence)));
}

void train_note_stall(void *context, const watch_event *event)
{
    train_note(context, event->name,
               json_pack("{so so si sf so}", "ranks", json_loads(event->ranks, 0, NULL), "host",
                         json_text_string(event->host), "process", event->process, "seconds",
                         round(event->seconds * 1e3) / 1e3, "message",
                         json_text_string(event->sentence)));
}
