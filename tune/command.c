/* Every word is one argument: no shell reads them. */
#include "tune/command.h"

#include <inttypes.h>
#include <stdio.h>

static void add(command *c, const char *word)
{
    c->words[c->count++] = (char *)word;
    c->words[c->count] = NULL;
}

static char *room(command *c)
{
    return c->texts[c->used++];
}

static void add_set(command *c, const char *key, const char *value)
{
    char *text = room(c);
    snprintf(text, COMMAND_TEXT, "%s=%s", key, value);
    add(c, "--set");
    add(c, text);
}

static void add_number(command *c, const char *option, uint64_t number)
{
    char *text = room(c);
    snprintf(text, COMMAND_TEXT, "%" PRIu64, number);
    add(c, option);
    add(c, text);
}

static void add_launch(command *c, uint64_t ranks)
{
    if (ranks < 2) return;
    add(c, "mpirun");
    add(c, "--bind-to");
    add(c, "none");
    add_number(c, "-n", ranks);
}

static void add_settings(command *c, const tune_plan *p, size_t config)
{
    const char *sets[TUNE_KEYS];
    size_t count = tune_sets(p, config, c->settings, sets);
    for (size_t i = 0; i < count; i++) {
        add(c, "--set");
        add(c, sets[i]);
    }
}

/* A run keeps the checkpoint that it goes on from, and no more. */
void command_make(command *c, const tune_plan *p, const board_task *task, const char *program,
                  uint64_t ranks)
{
    char name[TUNE_NAME + 32], threads[32], seed[32];
    *c = (command){0};
    tune_run_name(name, p, task->config, task->seed);
    snprintf(threads, sizeof threads, "%" PRIu64, p->threads);
    snprintf(seed, sizeof seed, "%" PRIu64, p->seeds[task->seed]);
    add_launch(c, ranks);
    add(c, program);
    add(c, "train");
    char *base = room(c);
    tune_base_path(base, COMMAND_TEXT, p, p->configs[task->config].bracket);
    add(c, base);
    add_settings(c, p, task->config);
    add_set(c, "name", name);
    add_set(c, "output", p->folder);
    add_set(c, "checkpoint.keep", "1");
    add_set(c, "parallel.threads", threads);
    add_set(c, "seed", seed);
    add_number(c, "--until", p->rungs.steps[task->rung]);
}
