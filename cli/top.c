/* vario top: follow a run by what it writes. It asks nothing of the run, and the lock of its folder
 * says whether a process still has it. */
#include "report/top.h"

#include "base/terminal.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "io/files/lock.h"
#include "io/runs/job_of_run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const char *path;
    bool once, wait;
    bool terminal;
    bool waited;      /* it has been said that there is nothing yet */
    uint64_t printed; /* steps of the last row that was printed */
} following;

static volatile sig_atomic_t ended; /* by this signal */

static void on_signal(int number)
{
    if (number != SIGWINCH) ended = number;
}

static void hear_signals(void)
{
    struct sigaction act = {.sa_handler = on_signal}; /* nothing is restarted: sleeps end */
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    sigaction(SIGWINCH, &act, NULL);
}

static void pause_a_second(void)
{
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
}

static void window(int *columns, int *lines)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    *columns = size.ws_col > 0 ? size.ws_col : 80;
    *lines = size.ws_row > 0 ? size.ws_row : 24;
}

/* The other screen of the terminal, so that a resized window leaves nothing behind. */
static void enter_screen(const following *f)
{
    if (f->terminal && !f->once) fputs("\033[?1049h\033[?25l", stdout);
}

static void leave_screen(const following *f)
{
    if (f->terminal && !f->once) fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
}

/* As much of a text as the window holds. */
static void print_window(const char *text)
{
    int columns, lines;
    window(&columns, &lines);
    fputs("\033[H", stdout);
    for (int line = 0; *text && line + 1 < lines; line++) {
        for (int length = 0; *text && *text != '\n'; text++) {
            length += (*text & 0xc0) != 0x80; /* UTF-8: bytes that begin a character */
            if (length <= columns) putchar(*text);
        }
        fputs("\033[K\n", stdout);
        text += *text == '\n';
    }
    fputs("\033[J", stdout);
    fflush(stdout);
}

static status show_screen(const following *f, const history *h, bool last)
{
    char *text = NULL;
    size_t size = 0;
    int columns, lines;
    window(&columns, &lines);
    FILE *out = open_memstream(&text, &size);
    if (!out) return fail(STATUS_NOMEM, "memory for a screen");
    top_print_block(out, h, columns);
    fclose(out);
    if (last || f->once)
        fputs(text, stdout);
    else
        print_window(text);
    free(text);
    return STATUS_OK;
}

/* Every row since the last look; of a run that went on before the first the newest alone. */
static void show_rows(following *f, const history *h)
{
    const metrics_table *t = &h->metrics;
    if (t->count > 0 && t->rows[t->count - 1].step < f->printed) f->printed = 0; /* begun anew */
    size_t k = t->count;
    while (k > 0 && t->rows[k - 1].step > f->printed) k--;
    if (f->printed == 0 && !f->waited && t->count > 0) k = t->count - 1;
    for (; k < t->count; k++) {
        top_print_line(stdout, h, k);
        f->printed = t->rows[k].step;
    }
    fflush(stdout);
}

static void say_waiting(following *f, const char *why)
{
    if (f->terminal) fputs("\033[H", stdout);
    if (f->terminal || !f->waited) terminal_print(stdout, "%s: %s", f->path, why);
    if (f->terminal)
        fputs("; ctrl-c ends\033[K\n\033[J", stdout);
    else if (!f->waited)
        fputc('\n', stdout);
    f->waited = true;
    fflush(stdout);
}

static bool begins(const char *path)
{
    char name[4096];
    snprintf(name, sizeof name, "%.4000s/.lock", path);
    return lock_is_held(name);
}

static bool goes_on(const following *f, history_state state)
{
    if (f->once || state == HISTORY_FINISHED) return false;
    return state == HISTORY_RUNNING || state == HISTORY_WAITING || f->wait;
}

static status end_of(const history *h)
{
    uint64_t step = h->metrics.count ? h->metrics.rows[h->metrics.count - 1].step : 0;
    switch (h->state) {
    case HISTORY_STOPPED:
        return fail(STATUS_STOPPED,
                    "%s: stopped with a checkpoint, run the same command again to go on", h->path);
    case HISTORY_BROKEN:
        return fail(STATUS_PEER,
                    "%s: broken off after step %" PRIu64 " of %" PRIu64
                    ": no process runs it, and it has not said that it ended; the same command "
                    "goes on from its newest checkpoint",
                    h->path, step, h->job.steps);
    case HISTORY_UNTRAINED:
        return fail(STATUS_INPUT, "%s: a run that trains expected, this one was never begun",
                    h->path);
    default:
        terminal_print(stdout, "%s: finished at step %" PRIu64 "\n", h->path, step);
        return STATUS_OK;
    }
}

static status look(following *f, bool *again)
{
    history h;
    *again = true;
    if (!job_run_exists(f->path) && !f->once && (f->wait || begins(f->path))) {
        say_waiting(f, begins(f->path) ? "begins" : "nothing is there yet");
        return STATUS_OK;
    }
    status result = history_read(&h, f->path);
    if (result) return result;
    *again = goes_on(f, h.state);
    if (h.metrics.count == 0 && *again)
        say_waiting(f, h.state == HISTORY_WAITING ? "begins" : "waits to be run");
    else if (f->terminal || f->once)
        result = *again ? show_screen(f, &h, false) : STATUS_OK;
    else
        show_rows(f, &h);
    if (!result && !*again) {
        leave_screen(f);
        if ((f->terminal || f->once) && h.metrics.count > 0) result = show_screen(f, &h, true);
        if (f->once && h.metrics.count == 0)
            terminal_print(stdout, "%s: no step is logged yet\n", h.path);
        if (!result && !f->once) result = end_of(&h);
    }
    history_close(&h);
    return result;
}

static status follow(following *f)
{
    bool again = true;
    status result = STATUS_OK;
    hear_signals();
    enter_screen(f);
    while (!result && again && !ended) {
        result = look(f, &again);
        if (!result && again) pause_a_second();
    }
    if (again || ended) leave_screen(f);
    if (!ended) return result;
    signal(ended, SIG_DFL);
    raise(ended);
    return result;
}

int top_main(int argc, char **argv)
{
    following f = {.terminal = isatty(STDOUT_FILENO) == 1};
    bool helped;
    const option options[] = {
        {"--once", OPTION_FLAG, &f.once, NULL, "say how it stands, and end"},
        {"--wait", OPTION_FLAG, &f.wait, NULL,
         "wait for a run that is not there yet, and through interruptions"},
    };
    const option_table table = {
        "top",
        "RUN [--once] [--wait]",
        "Follow a run until it ends: progress, loss, speed, time left, and "
        "where a step's time goes.\nWithout a terminal, a line for every row "
        "of metrics.csv.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    size_t count;
    status result = options_parse(&table, argc, argv, &f.path, &count, &helped);
    if (!result && helped) return 0;
    if (!result) result = follow(&f);
    return options_exit(result, true);
}
