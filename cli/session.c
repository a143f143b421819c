/* MPI is started before arguments are looked at, so that one rank alone speaks of them. */
#include "cli/session.h"

#include "base/threads.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"
#include "runtime/guard.h"
#include "runtime/watch.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Threads of MPI and of the watchdog, and what a singleton starts. */
enum { THREADS_LAUNCHED = 4, THREADS_ALONE = 7 };

/* Of OpenMP. All ranks of a node hold theirs at once. */
static status try_threads(const session *s)
{
    thread_trial trial;
    status result = thread_trial_open(&trial, s->threads - 1);
    result = agree(s->c.world, result);
    thread_trial_close(&trial);
    return result;
}

status session_compute(session *s, uint64_t threads, bool quiet)
{
    s->placement = placement_choose(&s->c, threads);
    s->threads = s->placement.threads;
    if (s->placement.oversubscribed && !quiet && s->c.rank == 0)
        status_warn("%s", s->placement.warning);
    status result = try_threads(s);
    if (result) return result;
    omp_set_dynamic(0);
    omp_set_num_threads(s->threads);
    int native = kernels_open();
    MPI_Allreduce(MPI_IN_PLACE, &native, 1, MPI_INT, MPI_MIN, s->c.world);
    s->bf16 = native;
    return STATUS_OK;
}

/* Its data are inputs, whatever the verb reads of them. */
status session_check_outputs(const session *s, const job *j, const char *path)
{
    const char *inputs[] = {path, j->data.train, j->data.valid};
    return agree(s->c.world,
                 s->c.rank == 0 ? options_check_outputs(s->table, inputs, 3) : STATUS_OK);
}

status session_read_job(session *s, job *j, const char *path, const option_list *overrides)
{
    status result = job_read_shared(&s->c, j, path, overrides ? overrides->values : NULL,
                                    overrides ? overrides->count : 0);
    return result ? result : session_check_outputs(s, j, path);
}

status session_read_run(session *s, job *j, const char *path)
{
    status result = job_read_of_run(&s->c, j, path);
    return result ? result : session_check_outputs(s, j, path);
}

status session_name_run(job *j, const char *verb, const char *out)
{
    char text[2 * JOB_TEXT];
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') length--;
    snprintf(text, sizeof text, "%.*s", (int)length, out);
    char *slash = strrchr(text, '/');
    const char *name = slash ? slash + 1 : text, *parent = slash ? text : ".";
    if (slash) *slash = '\0';
    if (slash == text) parent = "/";
    if (length >= sizeof text || strlen(name) >= JOB_TEXT || strlen(parent) >= JOB_TEXT)
        return fail(STATUS_INPUT, "vario %s: --out: at most %d bytes expected, %zu found", verb,
                    JOB_TEXT - 1, length);
    if (!job_name_fits(name))
        return fail(STATUS_INPUT,
                    "vario %s: --out: '%s' found, a name of letters, digits and ._+=- that does "
                    "not begin with '.' expected",
                    verb, name);
    if (!job_output_fits(parent))
        return fail(STATUS_INPUT,
                    "vario %s: --out: '%s' found, a path without control characters and ' \" ` \\ "
                    "$ ; & | < > that does not begin with '-' expected",
                    verb, text);
    snprintf(j->name, sizeof j->name, "%s", name);
    snprintf(j->output, sizeof j->output, "%s", parent);
    return STATUS_OK;
}

static status open_session(session *s, const option_table *table, int argc, char **argv,
                           const char **rest, bool *helped)
{
    size_t count;
    *s = (session){.table = table, .threads = 1};
    status result = comm_open(&s->c);
    if (!result) result = watch_open(&s->c);
    guard_started();
    if (!result) result = options_parse(table, argc, argv, rest, &count, helped);
    if (!result && !*helped) result = guard_launch(s->c.size);
    return agree(s->c.world, result);
}

int session_main(const option_table *table, int argc, char **argv, session_verb *run,
                 void *arguments)
{
    session s;
    bool helped = false;
    if (options_describe(table, argc, argv)) return 0;
    const char *rest[table->max + 1];
    for (size_t i = 0; i <= table->max; i++) rest[i] = NULL;
    status result = guard_launch(0);
    if (result) return options_exit(result, guard_speaks(0));
    result = thread_trial_run(comm_is_launched() ? THREADS_LAUNCHED : THREADS_ALONE);
    if (result) {
        /* mpirun ends the others once one has failed: the first should have spoken by then. */
        if (!options_speaks()) sleep(1);
        return options_exit(result, true);
    }
    result = open_session(&s, table, argc, argv, rest, &helped);
    if (!result && !helped) result = run(&s, arguments, rest);
    int code = options_exit(result, guard_speaks(s.c.rank));
    kernels_close();
    watch_close();
    comm_close(&s.c);
    return code;
}
