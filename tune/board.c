/* A rung is over when all that go to it are there; the next one's are chosen by their scores, so
 * the same ones whoever made the runs, and in whatever order. */
#include "tune/board.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status board_open(board *b, const tune_plan *p)
{
    size_t configs = tune_configs(p), each = p->rungs.count * p->seed_count;
    *b = (board){.plan = p};
    b->entries = calloc(configs, sizeof *b->entries);
    b->outcomes = calloc(configs * each, sizeof *b->outcomes);
    if (!b->entries || !b->outcomes) return fail(STATUS_NOMEM, "memory for %zu runs", configs);
    for (size_t c = 0; c < configs; c++) b->entries[c].outcomes = b->outcomes + c * each;
    return STATUS_OK;
}

void board_close(board *b)
{
    free(b->entries);
    free(b->outcomes);
    *b = (board){0};
}

void board_path(char *path, size_t size, const board *b, const board_task *task)
{
    char name[TUNE_NAME + 32];
    tune_run_name(name, b->plan, task->config, task->seed);
    snprintf(path, size, "%s/%s", b->plan->folder, name);
}

static outcome *outcome_of(const board *b, const board_task *task)
{
    return &b->entries[task->config].outcomes[task->rung * b->plan->seed_count + task->seed];
}

const outcome *board_outcome(const board *b, const board_task *task)
{
    return outcome_of(b, task);
}

bool board_next(board_task *task, const board *b, size_t i)
{
    const tune_plan *p = b->plan;
    for (size_t c = 0; c < tune_configs(p); c++) {
        size_t rung = b->rungs[p->configs[c].bracket];
        if (rung == p->rungs.count || b->entries[c].rung != rung) continue;
        for (size_t s = 0; s < p->seed_count; s++) {
            *task = (board_task){c, s, rung};
            if (board_outcome(b, task)->state == OUTCOME_PENDING && i-- == 0) return true;
        }
    }
    return false;
}

/* Mean and deviation at a rung. */
static void score(board_line *line, const board *b, size_t config, size_t rung)
{
    size_t seeds = b->plan->seed_count;
    double sum = 0.0, squares = 0.0;
    *line = (board_line){.config = config, .rungs = rung + 1, .step = UINT64_MAX, .spread = NAN};
    for (size_t s = 0; s < seeds; s++) {
        const outcome *o = board_outcome(b, &(board_task){config, s, rung});
        line->diverged += o->state == OUTCOME_DIVERGED;
        line->seconds += o->seconds;
        if (o->step < line->step) line->step = o->step;
        sum += o->loss;
    }
    line->loss = sum / (double)seeds;
    for (size_t s = 0; s < seeds; s++) {
        double off = board_outcome(b, &(board_task){config, s, rung})->loss - line->loss;
        squares += off * off;
    }
    if (seeds > 1 && line->diverged == 0) line->spread = sqrt(squares / (double)(seeds - 1));
}

static bool is_done(const board *b, size_t config, size_t rung)
{
    for (size_t s = 0; s < b->plan->seed_count; s++)
        if (board_outcome(b, &(board_task){config, s, rung})->state == OUTCOME_PENDING)
            return false;
    return true;
}

/* @return false: some are still on their way */
static bool scores_of(double *scores, const board *b, size_t bracket)
{
    const tune_plan *p = b->plan;
    for (size_t i = 0; i < p->each; i++) {
        size_t config = bracket * p->each + i, rung = b->rungs[bracket];
        board_line line = {.loss = INFINITY};
        bool goes = b->entries[config].rung == rung;
        if (goes && !is_done(b, config, rung)) return false;
        if (goes) score(&line, b, config, rung);
        scores[i] = line.loss;
    }
    return true;
}

/* The bracket is through after its last rung, or where nothing is left to go on. */
static void advance(board *b, size_t bracket)
{
    const tune_plan *p = b->plan;
    double scores[TUNE_CONFIGS];
    size_t kept[TUNE_CONFIGS], *rung = &b->rungs[bracket];
    if (*rung == p->rungs.count || !scores_of(scores, b, bracket)) return;
    bool last = *rung + 1 == p->rungs.count;
    size_t count = last ? 0 : rungs_best(kept, p->rungs.runs[*rung + 1], scores, p->each);
    *rung = count > 0 ? *rung + 1 : p->rungs.count;
    for (size_t i = 0; i < count; i++) b->entries[bracket * p->each + kept[i]].rung = *rung;
}

status board_look(bool *done, board *b, const board_task *task)
{
    char path[4096];
    outcome *o = outcome_of(b, task);
    board_path(path, sizeof path, b, task);
    status result = outcome_read(o, path, b->plan->rungs.steps[task->rung]);
    *done = !result && o->state != OUTCOME_PENDING;
    if (*done) advance(b, b->plan->configs[task->config].bracket);
    return result;
}

static int compare_lines(const void *a, const void *b)
{
    const board_line *x = a, *y = b;
    if (x->rungs != y->rungs) return x->rungs > y->rungs ? -1 : 1;
    if (x->loss != y->loss && x->rungs > 0) return x->loss < y->loss ? -1 : 1;
    return x->config < y->config ? -1 : 1;
}

void board_rank(board_line *lines, const board *b)
{
    size_t count = tune_configs(b->plan);
    for (size_t c = 0; c < count; c++) {
        size_t done = 0;
        while (done < b->plan->rungs.count && is_done(b, c, done)) done++;
        lines[c] = (board_line){.config = c, .loss = NAN, .spread = NAN};
        if (done > 0) score(&lines[c], b, c, done - 1);
    }
    qsort(lines, count, sizeof *lines, compare_lines);
}
