/* Signals are blocked and waited for: nothing is interrupted. Children are told by SIGUSR1, which
 * mpirun passes on to its ranks; a terminal's Ctrl-C reaches this process alone, as they have
 * groups of their own. */
#define _GNU_SOURCE
#include "tune/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

size_t workers_processors(void)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    int count = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
    return count > 0 ? (size_t)count : 1;
}

static void hear(workers *w, int number)
{
    struct sigaction before;
    bool ignored = sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN;
    if (!ignored) sigaddset(&w->heard, number);
}

void workers_open(workers *w, size_t places)
{
    *w = (workers){.places = places < WORKERS ? places : WORKERS};
    sigemptyset(&w->heard);
    hear(w, SIGINT);
    hear(w, SIGTERM);
    hear(w, SIGHUP);
    hear(w, SIGUSR1);
    hear(w, SIGUSR2);
    sigaddset(&w->heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &w->heard, &w->before);
}

void workers_close(workers *w)
{
    sigprocmask(SIG_SETMASK, &w->before, NULL);
}

/* In the child, between fork and exec. */
static void become(const workers *w, pid_t parent, char *const *arguments, int log)
{
    int nothing = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    if (getppid() != parent || nothing < 0) _exit(STATUS_PEER);
    dup2(nothing, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    sigprocmask(SIG_SETMASK, &w->before, NULL);
    execvp(arguments[0], arguments);
    static const char said[] = "vario: the program could not be started\n";
    ssize_t written = write(STDERR_FILENO, said, sizeof said - 1);
    _exit(written > 0 ? 126 : 127);
}

status workers_start(workers *w, size_t *place, char *const *arguments, int log)
{
    pid_t parent = getpid(), child = fork();
    if (child == 0) become(w, parent, arguments, log);
    if (child < 0) return fail(STATUS_NOMEM, "start %s: %s", arguments[0], strerror(errno));
    for (*place = 0; w->children[*place] != 0;) ++*place;
    w->children[*place] = child;
    w->busy++;
    return STATUS_OK;
}

static bool reap(workers *w, size_t *place, int *code)
{
    for (size_t i = 0; i < w->places; i++) {
        if (w->children[i] == 0 || waitpid(w->children[i], code, WNOHANG) != w->children[i])
            continue;
        w->children[i] = 0;
        w->busy--;
        *place = i;
        return true;
    }
    return false;
}

bool workers_wait(workers *w, double seconds, size_t *place, int *code)
{
    if (reap(w, place, code)) return true;
    time_t whole = (time_t)seconds;
    struct timespec most = {whole, (long)(1e9 * (seconds - (double)whole))};
    int number = sigtimedwait(&w->heard, NULL, &most);
    if (number > 0 && number != SIGCHLD) w->stopped = number;
    return reap(w, place, code);
}

void workers_stop(const workers *w, int number)
{
    for (size_t i = 0; i < w->places; i++)
        if (w->children[i] != 0) kill(number == SIGKILL ? -w->children[i] : w->children[i], number);
}
