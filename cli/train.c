/* vario train: a job file, trained or gone on with. */
#include "train/train.h"

#include "analysis/sensitivity.h"
#include "base/terminal.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/files/file.h"
#include "io/weights/pretrained.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"
#include "runtime/guard.h"
#include "train/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    option_list overrides;
    bool dry_run;
    uint64_t until; /* UINT64_MAX: not given */
    train_options train;
} arguments;

/* The weights that the first step would begin with. */
static status check_init(const job *j)
{
    pretrained *w;
    char path[2 * JOB_TEXT + 2];
    const model_config config = job_model(j);
    snprintf(path, sizeof path, "%s/%s", j->output, j->name);
    if (!job_init(j) || checkpoint_exists(path)) return STATUS_OK;
    status result = pretrained_open(&w, MPI_COMM_SELF, j->model.init, &config);
    pretrained_close(&w);
    return result;
}

/* Whether the nodes of this launch have the memory for it; collective. */
static status warn_of_memory(const session *s, const job *j, dtype precision, char *warning)
{
    plan p;
    *warning = '\0';
    const plan_rank here = {.ranks = (size_t)s->c.size,
                            .rank = (size_t)s->c.rank,
                            .nodes = (size_t)s->c.nodes.count,
                            .place = (size_t)s->c.nodes.place};
    status result = agree(s->c.world, plan_make(&p, j, &here, precision, &sensitivity_estimator));
    if (result || !trainer_check_memory(j, &s->c, &p.memory)) return result;
    snprintf(warning, STATUS_MESSAGE_SIZE, "%s", status_message());
    status_clear();
    return STATUS_OK;
}

static void print_settings(const job *j, uint64_t rows)
{
    char line[STATUS_MESSAGE_SIZE];
    job_settings_say(j, rows, line, sizeof line);
    terminal_print(stdout, "%s\n\n", line);
}

/* Validate, print the resolved job, the plan and every warning; train nothing.
 * @param shortage  a warning, or "" */
static status dry_run(const session *s, const job *j, dtype precision, const char *shortage)
{
    dataset *data = NULL;
    char path[2 * JOB_TEXT + 2];
    status result = check_init(j);
    if (!result) result = dataset_open(&data, j, DATASET_TRAIN, NULL);
    if (result) return result;
    result = job_write(j, stdout);
    printf("\n");
    if (j->optimizer.settings == SETTINGS_AUTO) print_settings(j, dataset_rows(data));
    size_t nodes = (size_t)(s->c.nodes.count > 0 ? s->c.nodes.count : s->c.size);
    if (!result)
        result = plan_print(stdout, j, (size_t)s->c.size, nodes, precision, false,
                            &sensitivity_estimator);
    char lines[8][STATUS_MESSAGE_SIZE];
    size_t count = job_warnings(j, dataset_rows(data), lines, 8);
    snprintf(path, sizeof path, "%s/%s", j->output, j->name);
    const char *begun = checkpoint_exists(path) ? path : job_init(j);
    bool other = dataset_check_tokens(data, "the training data", begun, "the weights");
    if (count || other || *s->placement.warning || *shortage) printf("\n");
    if (other) terminal_print(stdout, "warning: %s\n", status_message());
    status_clear();
    if (*shortage) terminal_print(stdout, "warning: %s\n", shortage);
    if (*s->placement.warning) terminal_print(stdout, "warning: %s\n", s->placement.warning);
    for (size_t i = 0; i < count; i++) terminal_print(stdout, "warning: %s\n", lines[i]);
    dataset_close(&data);
    return result;
}

static bool names_place(const option_list *overrides)
{
    for (size_t i = 0; i < overrides->count; i++)
        if (strncmp(overrides->values[i], "name=", 5) == 0 ||
            strncmp(overrides->values[i], "output=", 7) == 0)
            return true;
    return false;
}

/* The job.yaml of a run that was renamed or moved names another folder: the user means this run,
 * and a new one would begin there. */
static status check_moved(const arguments *a, const job *j, const char *path)
{
    char folder[4096], place[2 * JOB_TEXT + 2];
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    snprintf(place, sizeof place, "%s/%s", j->output, j->name);
    if (strcmp(file, "job.yaml") != 0 || !checkpoint_exists(folder) || file_same(folder, place) ||
        names_place(&a->overrides))
        return STATUS_OK;
    char *parent = realpath(folder, NULL), *name = parent ? strrchr(parent, '/') : NULL;
    if (name) *name++ = '\0';
    status result =
        fail(STATUS_INPUT,
             "%.300s: the job of %.300s found in a run that was renamed or moved; to go on with "
             "this run, --set name=%.100s --set output=%.300s expected beside it",
             path, place, name ? name : "NAME", parent && *parent ? parent : "/");
    free(parent);
    return result;
}

static status set_until(arguments *a)
{
    if (a->until == 0)
        return fail(STATUS_INPUT, "vario train: --until: 0 found, a step from 1 expected");
    a->train.until = a->until == UINT64_MAX ? 0 : a->until;
    return STATUS_OK;
}

static status train_verb(session *s, void *context, const char **rest)
{
    arguments *a = context;
    job j;
    status result = set_until(a);
    if (!result) result = session_read_job(s, &j, rest[0], &a->overrides);
    if (!result)
        result = agree(s->c.world, s->c.rank == 0 ? check_moved(a, &j, rest[0]) : STATUS_OK);
    if (!result) result = agree(s->c.world, trainer_check_ranks(&j, "launch", (uint64_t)s->c.size));
    /* Quiet: the run warns, in its events too. */
    if (!result) result = session_compute(s, j.parallel.threads, true);
    if (result) return result;
    a->train.precision = precision_here(&j, s->bf16);
    a->train.placement = &s->placement;
    a->train.estimator = &sensitivity_estimator;
    if (!a->dry_run) return train_run(&j, &s->c, &a->train);
    char shortage[STATUS_MESSAGE_SIZE];
    result = warn_of_memory(s, &j, a->train.precision, shortage);
    if (result) return result;
    return agree(s->c.world,
                 s->c.rank == 0 ? dry_run(s, &j, a->train.precision, shortage) : STATUS_OK);
}

int train_main(int argc, char **argv)
{
    arguments a = {.until = UINT64_MAX};
    const option options[] = {
        {"--set", OPTION_LIST, &a.overrides, "KEY=VALUE",
         "override a key of the job, as often as you like"},
        {"--until", OPTION_COUNT, &a.until, "STEP",
         "pause after that step, with an evaluation and a checkpoint; the schedule is the job's"},
        {"--dry-run", OPTION_FLAG, &a.dry_run, NULL,
         "validate, print the resolved job, the plan and warnings; train nothing"},
        {"--fresh", OPTION_FLAG, &a.train.fresh, NULL,
         "start over; refused while the run has checkpoints, unless --force"},
        {"--force", OPTION_FLAG, &a.train.force, NULL, "with --fresh: delete the run's results"},
        OPTION_JSON(a.train.json),
        OPTION_QUIET(a.train.quiet),
    };
    const option_table table = {
        "train",
        "JOB.yaml [--set KEY=VALUE]... [--until STEP] [--dry-run] [--fresh]",
        "Train a job, or go on from its newest checkpoint.",
        options,
        sizeof options / sizeof options[0],
        1,
        1};
    guard_catch();
    return session_main(&table, argc, argv, train_verb, &a);
}
