/* A run is claimed by a lock of its own before it is started, so that of several processes one has
 * it; what it has written says whether it has come to its rung. */
#include "tune/tune.h"

#include "base/terminal.h"
#include "io/files/file.h"
#include "io/files/lock.h"
#include "runtime/timing.h"
#include "tune/command.h"
#include "tune/workers.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PATH_SIZE = COMMAND_TEXT,
    LAUNCHER = 1, /* Open MPI's code where it cannot start, and mpirun's; never vario's */
    LAUNCHES = 3  /* of a run, that fail so */
};

/* A run that a child of ours has. */
typedef struct {
    board_task task;
    folder_lock *claim;
} running;

typedef struct {
    board *b;
    const tune_options *options;
    workers workers;
    running *runs;           /* [places] */
    unsigned char *launches; /* that failed, of every run */
    char program[PATH_SIZE];
    double ends; /* seconds of the clock */
    bool over;   /* the time */
    bool stopping;
} tuning;

static const double poll_seconds = 0.5; /* for runs that others have */

static void name_of(char name[TUNE_NAME + 32], const tuning *t, const board_task *task)
{
    tune_run_name(name, t->b->plan, task->config, task->seed);
}

static bool is_ours(const tuning *t, const board_task *task)
{
    for (size_t i = 0; i < t->workers.places; i++)
        if (t->workers.children[i] != 0 && t->runs[i].task.config == task->config &&
            t->runs[i].task.seed == task->seed)
            return true;
    return false;
}

/* The lock of the run itself: a child may have outlived the process that claimed it.
 * @param claim  out: NULL: another process has it */
static status claim_run(folder_lock **claim, const tuning *t, const board_task *task)
{
    char path[PATH_SIZE], name[TUNE_NAME + 32], run[PATH_SIZE];
    name_of(name, t, task);
    snprintf(path, sizeof path, "%s/.claims", t->b->plan->folder);
    status result = file_make_directories(path);
    if (result) return result;
    snprintf(path, sizeof path, "%s/.claims/%s", t->b->plan->folder, name);
    result = lock_take(claim, path, name, "another tuning");
    if (result == STATUS_INPUT) {
        status_clear();
        return STATUS_OK;
    }
    board_path(run, sizeof run, t->b, task);
    snprintf(path, sizeof path, "%.4000s/.lock", run);
    if (!result && lock_is_held(path)) lock_release(claim);
    return result;
}

/* ---- a run is started ---- */

static void log_path(char *path, const tuning *t, const board_task *task)
{
    char run[PATH_SIZE];
    board_path(run, sizeof run, t->b, task);
    snprintf(path, PATH_SIZE, "%.4000s.log", run);
}

static status start_run(tuning *t, const board_task *task, folder_lock *claim)
{
    char path[PATH_SIZE];
    command *c = malloc(sizeof *c);
    int log = -1;
    size_t place = 0;
    status result = c ? STATUS_OK : fail(STATUS_NOMEM, "memory to start a run");
    log_path(path, t, task);
    if (!result) command_make(c, t->b->plan, task, t->program, t->options->ranks);
    if (!result) result = file_open_append(&log, path);
    if (!result) result = workers_start(&t->workers, &place, c->words, log);
    if (log >= 0) close(log);
    free(c);
    if (!result)
        t->runs[place] = (running){*task, claim};
    else
        lock_release(&claim);
    return result;
}

/* @param moved  out: it is there, or it was started */
static status try_run(tuning *t, const board_task *task, bool *moved)
{
    folder_lock *claim;
    *moved = false;
    status result = claim_run(&claim, t, task);
    if (!result) result = board_look(moved, t->b, task);
    if (result || *moved || !claim) {
        lock_release(&claim);
        return result;
    }
    *moved = true;
    return start_run(t, task, claim);
}

/* Start what is free, as long as there are places: every start or result may open another rung. */
static status start_runs(tuning *t)
{
    board_task task;
    status result = STATUS_OK;
    for (size_t i = 0; !result && t->workers.busy < t->workers.places; i++) {
        bool moved = false;
        if (!board_next(&task, t->b, i)) break;
        if (!is_ours(t, &task)) result = try_run(t, &task, &moved);
        if (moved) i = (size_t)-1; /* look at all again */
    }
    return result;
}

/* ---- a run has ended ---- */

static status refuse_end(const tuning *t, const board_task *task, int code)
{
    char path[PATH_SIZE], sentence[STATUS_MESSAGE_SIZE], how[64];
    log_path(path, t, task);
    outcome_words(sentence, path);
    if (WIFSIGNALED(code))
        snprintf(how, sizeof how, "was killed by signal %d", WTERMSIG(code));
    else
        snprintf(how, sizeof how, "ended with code %d", WEXITSTATUS(code));
    return fail(WIFEXITED(code) && WEXITSTATUS(code) == 2 ? STATUS_INPUT : STATUS_PEER,
                "%.300s: the run %s%s", path, how, sentence);
}

static void say_outcome(const tuning *t, const board_task *task)
{
    char name[TUNE_NAME + 32];
    const outcome *o = board_outcome(t->b, task);
    const tune_rungs *r = &t->b->plan->rungs;
    if (t->options->quiet) return;
    name_of(name, t, task);
    if (o->state == OUTCOME_DIVERGED)
        terminal_print(stdout, "%s: diverged after step %" PRIu64 "\n", name, o->step);
    else
        terminal_print(stdout, "%s: step %" PRIu64 " of %" PRIu64 ", validation loss %.4f\n", name,
                       o->step, r->steps[r->count - 1], o->loss);
    fflush(stdout);
}

static void stop_all(tuning *t)
{
    if (!t->stopping) workers_stop(&t->workers, SIGUSR1);
    t->stopping = true;
}

/* A second SIGINT means at once, as it does of a run. */
static void hear_signal(tuning *t)
{
    int number = t->workers.stopped;
    if (!number) return;
    if (t->stopping) workers_stop(&t->workers, number == SIGINT ? SIGKILL : SIGUSR1);
    stop_all(t);
    t->workers.stopped = 0;
}

/* Processes of Open MPI 4.1 make and remove one directory for all of a user's; where one removes it
 * while another begins, that one ends. It is no failure of the run. */
static bool starts_again(tuning *t, const board_task *task, int code)
{
    char path[PATH_SIZE];
    unsigned char *count = &t->launches[task->config * t->b->plan->seed_count + task->seed];
    if (!WIFEXITED(code) || WEXITSTATUS(code) != LAUNCHER || ++*count >= LAUNCHES) return false;
    log_path(path, t, task);
    status_warn("%s: MPI could not start the run (code %d), it is tried again", path, LAUNCHER);
    return true;
}

static status end_run(tuning *t, size_t place, int code)
{
    board_task task = t->runs[place].task;
    bool done = false;
    status result = board_look(&done, t->b, &task);
    lock_release(&t->runs[place].claim);
    if (!result && done) say_outcome(t, &task);
    if (result || done) return result;
    if (WIFEXITED(code) && WEXITSTATUS(code) == status_exit_code(STATUS_STOPPED)) {
        stop_all(t); /* as someone else stopped it, or the allocation ends */
        return STATUS_OK;
    }
    if (t->stopping || starts_again(t, &task, code)) return STATUS_OK;
    return refuse_end(t, &task, code);
}

/* ---- all of it ---- */

static status wait_for_event(tuning *t)
{
    size_t place;
    int code;
    bool ended = workers_wait(&t->workers, poll_seconds, &place, &code);
    t->over = timing_clock() >= t->ends;
    hear_signal(t);
    return ended ? end_run(t, place, code) : STATUS_OK;
}

static status loop(tuning *t)
{
    board_task task;
    status result = STATUS_OK;
    while (!result) {
        bool begins = !t->stopping && !t->over;
        if (begins) result = start_runs(t);
        bool waits = begins && board_next(&task, t->b, 0);
        if (result || (t->workers.busy == 0 && !waits)) break;
        result = wait_for_event(t);
    }
    return result;
}

/* After a failure: the others save what they have, and the first message stays. */
static void settle_children(tuning *t)
{
    size_t place;
    int code;
    stop_all(t);
    while (t->workers.busy > 0) {
        if (workers_wait(&t->workers, poll_seconds, &place, &code))
            lock_release(&t->runs[place].claim);
        hear_signal(t);
    }
}

static status find_program(tuning *t)
{
    ssize_t n = readlink("/proc/self/exe", t->program, sizeof t->program - 1);
    if (n > 0) return STATUS_OK;
    return fail(STATUS_IO, "/proc/self/exe: the program's own path expected, none found");
}

status tune_make(board *b, bool *over, const tune_options *options)
{
    tuning t = {.b = b, .options = options};
    t.ends = timing_clock() + 60.0 * options->minutes;
    status result = find_program(&t);
    char threads[32];
    snprintf(threads, sizeof threads, "%" PRIu64, b->plan->threads);
    setenv("OMP_NUM_THREADS", threads, 1);
    workers_open(&t.workers, (size_t)options->jobs);
    t.runs = calloc(t.workers.places, sizeof *t.runs);
    t.launches = calloc(tune_configs(b->plan) * b->plan->seed_count, 1);
    if (!t.runs || !t.launches) result = fail(STATUS_NOMEM, "memory for the runs");
    if (!result) result = loop(&t);
    if (result) settle_children(&t);
    workers_close(&t.workers);
    free(t.runs);
    free(t.launches);
    board_task left;
    *over = t.over && board_next(&left, b, 0);
    if (!result && t.stopping)
        result = fail(STATUS_STOPPED, "%s: stopped, run the same command again to go on",
                      b->plan->folder);
    return result;
}
