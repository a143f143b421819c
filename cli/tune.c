/* vario tune: runs of a job with other values of its keys, and which of them is the best. MPI is
 * not started: the runs are processes of their own. */
#include "tune/tune.h"

#include "cli/options.h"
#include "cli/verbs.h"
#include "report/tune_report.h"
#include "train/trainer.h"
#include "tune/plan_file.h"
#include "tune/workers.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    option_list keys, sets;
    tune_request request;
    tune_options options;
    const char *best;
    double minutes; /* below 0: not given */
    bool json;
} arguments;

static status check_count(const char *name, uint64_t found, uint64_t most)
{
    if (found >= 1 && found <= most) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario tune: %s: %" PRIu64 " found, a number from 1 to %" PRIu64 " expected", name,
                found, most);
}

static status check_arguments(arguments *a)
{
    status result = STATUS_OK;
    if (comm_is_launched())
        return fail(STATUS_INPUT,
                    "vario tune: found under mpirun or srun, one process without them expected: it "
                    "starts the runs itself (--jobs side by side, --ranks each)");
    result = check_count("--ranks", a->options.ranks, 1000000);
    if (!result && a->options.jobs != UINT64_MAX)
        result = check_count("--jobs", a->options.jobs, WORKERS);
    if (!result && a->request.threads > 4096)
        result = check_count("--threads", a->request.threads, 4096);
    if (!result && a->minutes == 0.0)
        result = fail(STATUS_INPUT, "vario tune: --minutes: 0 found, a number above 0 expected");
    a->options.minutes = a->minutes < 0.0 ? INFINITY : a->minutes;
    return result;
}

/* Whether there is something to train with, and to compare by. */
static status check_data(const job *j)
{
    dataset *train = NULL, *valid = NULL;
    status result = dataset_open(&train, j, DATASET_TRAIN, NULL);
    if (!result) result = dataset_open(&valid, j, DATASET_VALID, NULL);
    dataset_close(&train);
    dataset_close(&valid);
    return result;
}

static status check_plan(const tune_plan *p, const arguments *a, const option_table *table)
{
    status result = STATUS_OK;
    for (size_t b = 0; !result && b < p->bracket_count; b++) {
        const job *j = &p->brackets[b].base;
        const char *inputs[] = {a->request.job, j->data.train, j->data.valid};
        result = trainer_check_ranks(j, "vario tune: --ranks", a->options.ranks);
        if (!result) result = options_check_outputs(table, inputs, 3);
    }
    return result ? result : check_data(&p->brackets[0].base);
}

/* As many as the processors of this process have threads for. */
static uint64_t choose_jobs(const arguments *a, const tune_plan *p)
{
    if (a->options.jobs != UINT64_MAX) return a->options.jobs;
    uint64_t each = a->options.ranks * p->threads, jobs = workers_processors() / each;
    return jobs < 1 ? 1 : jobs > WORKERS ? WORKERS : jobs;
}

/* One process at a time: several end together. */
static status write_results(const tune_report *r, const arguments *a)
{
    folder_lock *l;
    status result = plan_file_lock(&l, r->b->plan);
    if (result) return result;
    result = tune_report_write(r);
    if (!result) result = tune_report_draw(r);
    if (!result) result = tune_report_write_best(r, a->best);
    lock_release(&l);
    return result;
}

static status show(const tune_report *r, const arguments *a)
{
    const char *folder = r->b->plan->folder;
    bool best = tune_report_has_best(r);
    status result = write_results(r, a);
    if (!result && a->json) result = tune_report_json(stdout, r, best ? a->best : NULL);
    if (!result && !a->json) tune_report_print(stdout, r);
    if (!result && !best && !r->over)
        result = fail(STATUS_NUMERIC, "%s: every run diverged, smaller rates expected", folder);
    if (!result && !best && a->best)
        status_warn("%s: no run has a loss yet, and %s is not written", folder, a->best);
    return result;
}

static status tune(const tune_plan *p, arguments *a)
{
    board b;
    bool over = false;
    a->options.jobs = choose_jobs(a, p);
    status result = plan_file_settle(p);
    if (result) return result;
    result = board_open(&b, p);
    if (!result) result = tune_make(&b, &over, &a->options);
    tune_report r = {0};
    if (!result) result = tune_report_open(&r, &b, over);
    if (!result) result = show(&r, a);
    tune_report_close(&r);
    board_close(&b);
    return result;
}

static status tune_verb(arguments *a, const option_table *table)
{
    tune_plan *p = malloc(sizeof *p);
    if (!p) return fail(STATUS_NOMEM, "memory for a plan");
    signal(SIGPIPE, SIG_IGN); /* lost output is no reason to lose runs */
    a->request.keys = a->keys.values;
    a->request.key_count = a->keys.count;
    a->request.sets = a->sets.values;
    a->request.set_count = a->sets.count;
    a->options.quiet = a->options.quiet || a->json;
    status result = tune_plan_make(p, &a->request);
    if (!result) result = check_plan(p, a, table);
    if (!result) result = tune(p, a);
    tune_plan_close(p);
    free(p);
    return result;
}

int tune_main(int argc, char **argv)
{
    arguments a = {.request = {.runs = UINT64_MAX, .eta = 3, .first = UINT64_MAX, .draw = 1},
                   .options = {.jobs = UINT64_MAX, .ranks = 1},
                   .minutes = -1.0};
    const option options[] = {
        {"--key", OPTION_LIST, &a.keys, "KEY=LOW:HIGH:log",
         "a key and its range, :log or :linear, or KEY=VALUE,VALUE; x0.1:x10 of the job's value"},
        {"--runs", OPTION_COUNT, &a.request.runs, "N",
         "runs, of every optimizer (9; of lists alone every choice)"},
        {"--optimizers", OPTION_TEXT, &a.request.optimizers, "NAME,NAME",
         "the same for each of these; without --key schedule.peak=x0.1:x10:log"},
        {"--seeds", OPTION_TEXT, &a.request.seeds, "1,2,3",
         "every run once a seed, compared by the mean (the job's)"},
        {"--halving", OPTION_COUNT, &a.request.eta, "ETA",
         "of every ETA runs one goes on to ETA times the steps (3); 1: all go to the end"},
        {"--first", OPTION_COUNT, &a.request.first, "STEP",
         "no run is dropped before that step (the warm-up's end)"},
        {"--draw", OPTION_COUNT, &a.request.draw, "SEED", "seed of the points of several keys (1)"},
        {"--minutes", OPTION_NUMBER, &a.minutes, "M", "begin no run after that time"},
        {"--jobs", OPTION_COUNT, &a.options.jobs, "N",
         "runs side by side (as many as the processors have threads for)"},
        {"--ranks", OPTION_COUNT, &a.options.ranks, "N", "ranks of a run, by mpirun (1)"},
        {"--threads", OPTION_COUNT, &a.request.threads, "N",
         "threads of a rank (parallel.threads, or 1)"},
        {"--set", OPTION_LIST, &a.sets, "KEY=VALUE", "override a key of the job"},
        {"--out", OPTION_PATH, &a.request.folder, "DIR",
         "folder of the runs (output/NAME-tune of the job)"},
        {"--best", OPTION_OUTPUT, &a.best, "FILE.yaml", "write the job with the best values"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.options.quiet),
    };
    const option_table table = {
        "tune",
        "JOB.yaml --key KEY=LOW:HIGH:log [--runs N] [--seeds 1,2,3] [--best FILE.yaml]",
        "Find good values of a job's keys by successive halving: runs on the job's own schedule,\n"
        "of which the best go on. The same command goes on with it, and several processes with\n"
        "the same command and folder share the runs.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    const char *rest[1];
    size_t count;
    bool helped;
    status result = options_parse(&table, argc, argv, rest, &count, &helped);
    if (!result && helped) return 0;
    a.request.job = rest[0];
    if (!result) result = check_arguments(&a);
    if (!result) result = tune_verb(&a, &table);
    return options_exit(result, options_speaks());
}
