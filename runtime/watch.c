/* Beats go to the first and the last rank, which are probably on different nodes. A beat that was
 * not taken yet, as its watcher stands still, holds back the next. */
#include "runtime/watch.h"

#include "runtime/agree.h"
#include "runtime/guard.h"
#include "runtime/watch_parts.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WATCHERS = 2 };
#define SECONDS_STANDARD                                                                           \
    60.0 /* guard.stall_seconds of io/jobs/job_schema.c: before a job is read */
#define TICK_MIN 0.05
#define TICK_MAX 2.0
#define TICK_ASKED 0.5
#define BUSY 0.05 /* share of a processor that counts as computing */

typedef struct {
    char host[64];
    int process;
} identity;

typedef struct {
    watch_beat beat; /* under way */
    MPI_Request request;
    int rank, sent;
} receiver;

static struct {
    bool opened, running;
    MPI_Comm world; /* of the beats alone */
    int rank, size;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows, up to the next comment */
    pthread_cond_t wake, settled;
    bool ending, stop, settling;
    double seconds;
    watch_listener *listener;
    void *context;
    /* the watching thread's own */
    receiver to[WATCHERS];
    int to_count;
    watch_peer *peers; /* [size] of watchers, else NULL */
    int *received;     /* [size] beats, of watchers */
    uint64_t count[ACTIVITY_THREADS];
    double moved[ACTIVITY_THREADS]; /* clock */
    double ticked, processor;       /* clock and processor time at the last look */
} w = {.lock = PTHREAD_MUTEX_INITIALIZER,
       .settled = PTHREAD_COND_INITIALIZER,
       .seconds = SECONDS_STANDARD};

/* An event on its way to a file system that may be what stands still. */
static struct {
    pthread_t thread;
    bool started;
    atomic_bool done;
    watch_listener *listener;
    void *context;
    watch_event event;
} teller;

static void *tell(void *unused)
{
    (void)unused;
    teller.listener(teller.context, &teller.event);
    atomic_store(&teller.done, true);
    return NULL;
}

/* Nothing where the event before has not come through yet. */
static void tell_event(const char *event, const char *sentence, const char *ranks,
                       const watch_peer *first, double seconds)
{
    pthread_mutex_lock(&w.lock);
    if (teller.started && atomic_load(&teller.done)) {
        pthread_join(teller.thread, NULL);
        teller.started = false;
    }
    if (w.listener && !teller.started) {
        teller.event = (watch_event){.process = first->process, .seconds = seconds};
        snprintf(teller.event.name, sizeof teller.event.name, "%s", event);
        snprintf(teller.event.ranks, sizeof teller.event.ranks, "%s", ranks);
        snprintf(teller.event.host, sizeof teller.event.host, "%s", first->host);
        snprintf(teller.event.sentence, sizeof teller.event.sentence, "%s", sentence);
        teller.listener = w.listener;
        teller.context = w.context;
        atomic_store(&teller.done, false);
        teller.started = pthread_create(&teller.thread, NULL, tell, NULL) == 0;
    }
    pthread_mutex_unlock(&w.lock);
}

/* The event has two seconds to be written. A stop that had something to save has lost it. */
static void end_run(const char *sentence, bool asked, bool saves)
{
    status result = asked && !saves ? STATUS_STOPPED : STATUS_PEER;
    const char *why = !asked ? "guard.on_stall" : guard_stop() ? guard_reason() : "a signal";
    fprintf(stderr, "vario: ended (%s): %s\n", why, sentence);
    for (int i = 0; teller.started && !atomic_load(&teller.done) && i < 200; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (w.size == 1) _exit(status_exit_code(result));
    MPI_Abort(w.world, status_exit_code(result));
}

static bool any_stall(void)
{
    for (int r = 0; r < w.size; r++)
        if (w.peers[r].stall) return true;
    return false;
}

static void speak(double seconds, bool stop)
{
    char sentence[STATUS_MESSAGE_SIZE], ranks[256];
    double clock = timing_clock(), stalled;
    bool saves, asked = watch_asked(w.peers, w.size, &saves), ends = any_stall() && (asked || stop);
    int first = watch_tell_stalls(w.peers, w.size, clock, ends, sentence, ranks, &stalled);
    if (first >= 0) {
        if (!ends) status_warn("%s (guard.stall_seconds: %g)", sentence, seconds);
        tell_event("stalled", sentence, ranks, &w.peers[first], stalled);
        if (ends) end_run(sentence, asked, saves);
    }
    first = watch_tell_woken(w.peers, w.size, clock, sentence, ranks, &stalled);
    if (first < 0) return;
    status_warn("%s", sentence);
    tell_event("woke", sentence, ranks, &w.peers[first], stalled);
}

/* Of this rank. Who computes gets on as long as the processor works for it. */
static void look(watch_beat *beat, double clock)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    double processor = (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
    bool busy = processor - w.processor >= BUSY * (clock - w.ticked);
    *beat = (watch_beat){.asked = guard_stop(), .saves = guard_saving()};
    for (int t = 0; t < ACTIVITY_THREADS; t++) {
        uint64_t count;
        activity_kind kind = activity_look((activity_thread)t, &count, beat->text[t]);
        if (count != w.count[t] || (kind == ACTIVITY_COMPUTES && busy)) w.moved[t] = clock;
        w.count[t] = count;
        beat->kind[t] = kind;
        beat->still[t] = clock - w.moved[t];
    }
    w.processor = processor;
    w.ticked = clock;
}

static void send_beat(receiver *to, const watch_beat *beat)
{
    int taken;
    MPI_Test(&to->request, &taken, MPI_STATUS_IGNORE);
    if (!taken) return;
    to->beat = *beat;
    to->sent++;
    MPI_Isend(&to->beat, (int)sizeof to->beat, MPI_BYTE, to->rank, 0, w.world, &to->request);
}

static void receive_beat(int from)
{
    MPI_Recv(&w.peers[from].beat, (int)sizeof(watch_beat), MPI_BYTE, from, 0, w.world,
             MPI_STATUS_IGNORE);
    w.peers[from].heard = timing_clock();
    w.received[from]++;
}

static void receive_beats(void)
{
    for (int there = 1; there;) {
        MPI_Status report;
        MPI_Iprobe(MPI_ANY_SOURCE, 0, w.world, &there, &report);
        if (there) receive_beat(report.MPI_SOURCE);
    }
}

/* This process itself was stopped: others are not silent for that. Rank 0 tells of itself, as
 * nobody may have been there to do so. */
static void wake_up(double clock, double slept, bool tells)
{
    char sentence[120];
    for (int t = 0; t < ACTIVITY_THREADS; t++) w.moved[t] = clock;
    for (int r = 0; w.peers && r < w.size; r++) w.peers[r].heard = clock;
    if (!tells || w.rank != 0) return;
    watch_peer *me = &w.peers[0];
    snprintf(sentence, sizeof sentence,
             "rank 0 (%s, process %d) did not run for %.1f s and goes on", me->host, me->process,
             slept);
    status_warn("%s", sentence);
    tell_event("woke", sentence, "[0]", me, slept);
}

static void tick(double seconds, bool stop)
{
    watch_beat beat;
    double clock = timing_clock(), slept = clock - w.ticked;
    if (w.peers) receive_beats();
    if (slept >= 0.5 * seconds) wake_up(clock, slept, slept >= 0.75 * seconds);
    look(&beat, clock);
    for (int i = 0; i < w.to_count; i++) send_beat(&w.to[i], &beat);
    if (!w.peers) return;
    w.peers[w.rank].beat = beat;
    w.peers[w.rank].heard = timing_clock();
    watch_judge(w.peers, w.size, seconds, timing_clock());
    if (w.rank == 0 || w.peers[0].stall == STALL_SILENT || w.peers[0].told) speak(seconds, stop);
}

static double interval(double seconds)
{
    double wanted = fmin(fmax(seconds / 8.0, TICK_MIN), TICK_MAX);
    return guard_stop() ? fmin(wanted, TICK_ASKED) : wanted;
}

/* Who was said to stand still goes on, though no look at it has seen that yet. */
static void settle(void)
{
    char sentence[STATUS_MESSAGE_SIZE], ranks[256];
    double stalled;
    if (!w.peers || (w.rank != 0 && !w.peers[0].told)) return;
    for (int r = 0; r < w.size; r++) w.peers[r].stall = STALL_NONE;
    int first = watch_tell_woken(w.peers, w.size, timing_clock(), sentence, ranks, &stalled);
    if (first < 0) return;
    status_warn("%s", sentence);
    tell_event("woke", sentence, ranks, &w.peers[first], stalled);
}

static void *watch(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&w.lock);
    while (!w.ending) {
        double seconds = w.seconds > 0.0 ? w.seconds : INFINITY;
        bool stop = w.stop, settles = w.settling;
        pthread_mutex_unlock(&w.lock);
        tick(seconds, stop);
        if (settles) settle();
        pthread_mutex_lock(&w.lock);
        if (settles) {
            w.settling = false;
            pthread_cond_signal(&w.settled);
        }
        if (w.ending) break;
        if (w.settling) continue;
        double until = timing_clock() + interval(w.seconds > 0.0 ? w.seconds : INFINITY);
        struct timespec at = {.tv_sec = (time_t)until};
        at.tv_nsec = (long)(1e9 * (until - (double)at.tv_sec));
        pthread_cond_timedwait(&w.wake, &w.lock, &at);
    }
    pthread_mutex_unlock(&w.lock);
    return NULL;
}

/* Signals are for the main thread: they end its calls. */
static bool start_thread(void)
{
    sigset_t all, before;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool started = pthread_create(&w.thread, NULL, watch, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* Every rank sends to both ends but itself; they keep a table. */
static status open_tables(identity *all)
{
    const int ends[WATCHERS] = {0, w.size - 1};
    double clock = timing_clock();
    w.to_count = 0;
    for (int i = 0; i < WATCHERS; i++)
        if (ends[i] != w.rank && (i == 0 || ends[i] != ends[0]))
            w.to[w.to_count++] = (receiver){.rank = ends[i], .request = MPI_REQUEST_NULL};
    for (int t = 0; t < ACTIVITY_THREADS; t++) w.moved[t] = clock;
    w.ticked = clock;
    if (w.rank != 0 && w.rank != w.size - 1) return STATUS_OK;
    w.peers = calloc((size_t)w.size, sizeof *w.peers);
    w.received = calloc((size_t)w.size, sizeof *w.received);
    if (!w.peers || !w.received) return fail(STATUS_NOMEM, "memory to watch %d ranks", w.size);
    for (int r = 0; r < w.size; r++) {
        memcpy(w.peers[r].host, all[r].host, sizeof all[r].host);
        w.peers[r].process = all[r].process;
        w.peers[r].heard = clock;
        snprintf(w.peers[r].beat.text[ACTIVITY_MAIN], ACTIVITY_TEXT, "start");
    }
    return STATUS_OK;
}

/* What was sent is received, or it would be lost with the communicator. */
static void drain(void)
{
    const int ends[WATCHERS] = {0, w.size - 1};
    for (int i = 0; i < (ends[1] > 0 ? WATCHERS : 1); i++) {
        int sent = 0, counts[w.size];
        for (int k = 0; k < w.to_count; k++)
            if (w.to[k].rank == ends[i]) sent = w.to[k].sent;
        MPI_Gather(&sent, 1, MPI_INT, counts, 1, MPI_INT, ends[i], w.world);
        for (int r = 0; r < w.size && w.rank == ends[i]; r++)
            while (w.received[r] < counts[r]) receive_beat(r);
    }
    for (int i = 0; i < w.to_count; i++) MPI_Wait(&w.to[i].request, MPI_STATUS_IGNORE);
}

static status open_watch(void)
{
    identity mine = {.process = (int)getpid()}, *all = calloc((size_t)w.size, sizeof *all);
    status result = agree(w.world, all ? STATUS_OK : fail(STATUS_NOMEM, "memory to watch ranks"));
    gethostname(mine.host, sizeof mine.host - 1);
    if (!result) {
        MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, w.world);
        result = agree(w.world, open_tables(all));
    }
    free(all);
    if (result) return result;
    w.running = start_thread();
    return agree(w.world,
                 w.running ? STATUS_OK
                           : fail(STATUS_NOMEM, "a thread cannot be started: a limit of processes "
                                                "(ulimit -u, pids.max of the control group)"));
}

status watch_open(comm *c)
{
    activity_enter(ACTIVITY_MAIN);
    MPI_Comm_dup(c->world, &w.world);
    w.rank = c->rank;
    w.size = c->size;
    w.opened = true;
    w.ending = false;
    return open_watch();
}

void watch_settle(void)
{
    if (!w.running || !w.peers) return;
    pthread_mutex_lock(&w.lock);
    w.settling = true;
    pthread_cond_signal(&w.wake);
    while (w.settling) pthread_cond_wait(&w.settled, &w.lock);
    pthread_mutex_unlock(&w.lock);
}

/* All are here before the first falls silent. */
void watch_close(void)
{
    if (!w.opened) return;
    MPI_Barrier(w.world);
    watch_settle();
    if (w.running) {
        pthread_mutex_lock(&w.lock);
        w.ending = true;
        pthread_cond_signal(&w.wake);
        pthread_mutex_unlock(&w.lock);
        pthread_join(w.thread, NULL);
        pthread_cond_destroy(&w.wake);
    }
    watch_listen(NULL, NULL);
    MPI_Allreduce(MPI_IN_PLACE, &w.running, 1, MPI_C_BOOL, MPI_LAND, w.world);
    if (w.running) drain();
    free(w.peers);
    free(w.received);
    MPI_Comm_free(&w.world);
    w.opened = w.running = false;
}

void watch_set(double seconds, bool stop)
{
    pthread_mutex_lock(&w.lock);
    w.seconds = seconds;
    w.stop = stop;
    if (w.running) pthread_cond_signal(&w.wake);
    pthread_mutex_unlock(&w.lock);
}

void watch_listen(watch_listener *heard, void *context)
{
    pthread_mutex_lock(&w.lock);
    w.listener = heard;
    w.context = context;
    bool started = teller.started;
    teller.started = false;
    pthread_mutex_unlock(&w.lock);
    if (started) pthread_join(teller.thread, NULL);
}
