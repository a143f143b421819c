/* vario VERB ...: find the verb and run it. */
#include "cli/manual.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const verb verbs[] = {
    {"train", train_main, "train a job file, or go on with its run"},
    {"tune", tune_main, "find good values of a job's keys by many short runs"},
    {"eval", eval_main, "how good a run's predictions are, at the mean and averaged"},
    {"ood", ood_main, "how well a run tells data of another kind from its own"},
    {"sensitivity", sensitivity_main, "examples that a run remembers most, and leave-one-out loss"},
    {"exact", exact_main, "the posterior with all correlations, and how far a run is from it"},
    {"generate", generate_main, "write text with a run's model"},
    {"report", report_main, "a page of curves and numbers of runs"},
    {"top", top_main, "follow a run while it goes on"},
    {"merge", merge_main, "merge the weights and posteriors of runs"},
    {"curvature", curvature_main, "give a model a posterior, by squared gradients"},
    {"import", import_main, "make a run of weights from elsewhere"},
    {"export", export_main, "write a run's model as transformers loads it"},
    {"prepare", prepare_main, "make token files of text files"},
    {"plan", plan_main, "memory and bytes of a job on a number of ranks"},
    {"schema", schema_main, "print every key of a job file"},
    {"bench", bench_main, "measure this machine's ceilings and vario against them"},
};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void print_usage(FILE *out)
{
    fprintf(out, "usage: vario VERB ...   (vario VERB --help says what it takes)\n\n");
    for (size_t i = 0; i < VERBS; i++) fprintf(out, "  %-12s %s\n", verbs[i].name, verbs[i].help);
}

/* A session, as mpirun ends all ranks once one has failed: none may before rank 0 has spoken. */
static status refuse_verb(session *s, void *word, const char **rest)
{
    (void)s, (void)rest;
    char names[256] = "";
    for (size_t i = 0, length = 0; i < VERBS && length < sizeof names; i++)
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i ? ", " : "",
                                   verbs[i].name);
    return fail(STATUS_INPUT, "verb '%s' found, one of %s expected", (char *)word, names);
}

/* Where one of the three is closed, the next file that is opened would get its number, and what is
 * printed would go into that file. */
static void hold_standard_files(void)
{
    int fd;
    do fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
}

/* A result that could not be printed is no success. Who no longer reads a pipe wants none. */
static int print_out(int code)
{
    struct pollfd reader = {.fd = STDOUT_FILENO, .events = POLLOUT};
    bool gone = poll(&reader, 1, 0) == 1 && reader.revents & POLLERR;
    bool failed = ferror(stdout) != 0;
    errno = 0;
    /* Some file systems tell at a close what they could not keep. */
    int copy = fflush(stdout) == 0 ? dup(STDOUT_FILENO) : -1;
    bool whole = copy >= 0 && close(copy) == 0 && !failed;
    if (code != 0 || whole || gone) return code;
    fail(STATUS_IO, "standard output: what was printed could not be written whole%s%s",
         errno ? ": " : "", errno ? strerror(errno) : "");
    return options_exit(STATUS_IO, true);
}

static int run_verb(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(word, verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
    if (strcmp(word, "--manuals") == 0 && argc == 3)
        return options_exit(manual_write(argv[2], verbs, VERBS), true);
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        if (options_speaks()) print_usage(stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        if (options_speaks()) printf("vario %s\n", VARIO_VERSION);
        return 0;
    }
    const option_table table = {.verb = word};
    return session_main(&table, 1, argv, refuse_verb, (void *)word);
}

int main(int argc, char **argv)
{
    hold_standard_files();
    return print_out(run_verb(argc, argv));
}
