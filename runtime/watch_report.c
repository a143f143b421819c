/* What the ranks' beats mean, and how it is said. */
#include "runtime/watch_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Beats come eight times in the stall time: named after three quarters of it is named within. */
#define PATIENCE 0.75

/* After a signal there is less of it; what is written may be the checkpoint that was asked for. */
enum { SECONDS_ASKED = 10, SECONDS_UNSAVED = 3, NAMED = 4, GROUPS = 3 };

bool watch_asked(const watch_peer *peers, int size, bool *saves)
{
    bool asked = false;
    *saves = false;
    for (int r = 0; r < size; r++) {
        asked = asked || peers[r].beat.asked;
        *saves = *saves || peers[r].beat.saves;
    }
    return asked;
}

static stall_kind stall_of(watch_peer *peer, double limit, double limit_asked, double clock)
{
    double silent = clock - peer->heard;
    if (silent >= fmin(limit, fmax(limit_asked, SECONDS_ASKED))) {
        peer->since = peer->heard;
        return STALL_SILENT;
    }
    for (int t = 0; t < ACTIVITY_THREADS; t++) {
        activity_kind kind = peer->beat.kind[t];
        if (kind == ACTIVITY_NONE || kind == ACTIVITY_WAITS) continue;
        double max = kind == ACTIVITY_WRITES ? limit : fmin(limit, limit_asked);
        if (peer->beat.still[t] < max) continue;
        peer->since = clock - silent - peer->beat.still[t];
        return STALL_STUCK;
    }
    return STALL_NONE;
}

/* All wait, and no writer is at work for whom they may. */
static bool all_wait(const watch_peer *peers, int size, double limit)
{
    for (int r = 0; r < size; r++) {
        const watch_beat *b = &peers[r].beat;
        if (b->kind[ACTIVITY_MAIN] != ACTIVITY_WAITS || b->still[ACTIVITY_MAIN] < limit ||
            b->kind[ACTIVITY_WRITER] != ACTIVITY_NONE)
            return false;
    }
    return size > 0;
}

void watch_judge(watch_peer *peers, int size, double seconds, double clock)
{
    bool saves, any = false, asked = watch_asked(peers, size, &saves);
    double limit = PATIENCE * seconds;
    double limit_asked = !asked ? INFINITY : saves ? SECONDS_ASKED : SECONDS_UNSAVED;
    for (int r = 0; r < size; r++) {
        peers[r].stall = stall_of(&peers[r], limit, limit_asked, clock);
        any = any || peers[r].stall;
    }
    /* Beats are of different moments: all have to overlap. */
    if (any || !all_wait(peers, size, fmin(limit, fmax(limit_asked, SECONDS_ASKED)))) return;
    for (int r = 0; r < size; r++) {
        peers[r].stall = STALL_LOCKED;
        peers[r].since = clock - peers[r].beat.still[ACTIVITY_MAIN];
    }
}

static void add(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

/* The thread that stands still, or the main one. */
static const char *text_of(const watch_peer *peer)
{
    const watch_beat *b = &peer->beat;
    bool writer = b->kind[ACTIVITY_WRITER] != ACTIVITY_NONE &&
                  b->still[ACTIVITY_WRITER] > b->still[ACTIVITY_MAIN];
    return b->text[peer->stall == STALL_STUCK && writer ? ACTIVITY_WRITER : ACTIVITY_MAIN];
}

static void add_rank(char *sentence, const watch_peer *peer, int rank, double clock)
{
    double seconds = clock - peer->since;
    add(sentence, STATUS_MESSAGE_SIZE, "rank %d (%s, process %d) ", rank, peer->host,
        peer->process);
    if (peer->stall == STALL_SILENT)
        add(sentence, STATUS_MESSAGE_SIZE, "has not been heard of for %.1f s, last at: %s", seconds,
            text_of(peer));
    else
        add(sentence, STATUS_MESSAGE_SIZE, "has stood still for %.1f s at: %s", seconds,
            text_of(peer));
}

static void add_number(char ranks[256], int *count, int rank)
{
    if (strlen(ranks) < 240) add(ranks, 256, "%s%d", (*count)++ ? ", " : "", rank);
}

static bool same_place(const watch_peer *a, const watch_peer *b)
{
    return a->stall == b->stall && strcmp(text_of(a), text_of(b)) == 0;
}

/* Those who do not stand still, together where they are at the same. */
static void add_others(char *sentence, const watch_peer *peers, int size)
{
    int groups = 0, left = 0;
    for (int r = 0; r < size; r++) {
        int first = 0, count = 0;
        char list[256] = "";
        if (peers[r].stall && peers[r].stall != STALL_LOCKED) continue;
        while (!same_place(&peers[first], &peers[r])) first++;
        if (first < r) continue; /* said with that one */
        if (++groups > GROUPS) {
            left++;
            continue;
        }
        for (int s = r; s < size; s++)
            if (same_place(&peers[s], &peers[r])) add_number(list, &count, s);
        add(sentence, STATUS_MESSAGE_SIZE, "; rank%s %s: %s", count > 1 ? "s" : "", list,
            text_of(&peers[r]));
    }
    if (left) add(sentence, STATUS_MESSAGE_SIZE, "; others at %d more places", left);
}

int watch_tell_stalls(watch_peer *peers, int size, double clock, bool again,
                      char sentence[STATUS_MESSAGE_SIZE], char ranks[256], double *seconds)
{
    int first = -1, count = 0, told = 0;
    *sentence = '\0';
    snprintf(ranks, 256, "[");
    for (int r = 0; r < size; r++) {
        watch_peer *peer = &peers[r];
        if (!peer->stall || (peer->told && !again)) continue;
        peer->told = peer->stall;
        peer->told_since = peer->since;
        add_number(ranks, &count, r);
        if (first < 0) {
            first = r;
            *seconds = clock - peer->since;
        }
        if (peer->stall == STALL_LOCKED || ++told > NAMED) continue;
        if (told > 1) add(sentence, STATUS_MESSAGE_SIZE, "; ");
        add_rank(sentence, peer, r, clock);
    }
    if (first < 0) return first;
    if (peers[first].stall == STALL_LOCKED)
        add(sentence, STATUS_MESSAGE_SIZE, "all ranks have waited for each other for %.1f s",
            *seconds);
    if (told > NAMED)
        add(sentence, STATUS_MESSAGE_SIZE, "; %d more ranks stand still", told - NAMED);
    add_others(sentence, peers, size);
    add(ranks, 256, "]");
    return first;
}

int watch_tell_woken(watch_peer *peers, int size, double clock, char sentence[STATUS_MESSAGE_SIZE],
                     char ranks[256], double *seconds)
{
    int first = -1, count = 0;
    char list[256] = "";
    for (int r = 0; r < size; r++) {
        watch_peer *peer = &peers[r];
        if (peer->stall || !peer->told) continue;
        peer->told = STALL_NONE;
        add_number(list, &count, r);
        if (first >= 0) continue;
        first = r;
        *seconds = clock - peer->told_since;
    }
    snprintf(ranks, 256, "[%s]", list);
    if (first >= 0)
        snprintf(sentence, STATUS_MESSAGE_SIZE, "rank%s %s %s on after %.1f s",
                 count > 1 ? "s" : "", list, count > 1 ? "go" : "goes", *seconds);
    return first;
}
