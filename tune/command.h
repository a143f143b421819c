/** The command of a run: `vario train`, alone or under mpirun. */
#ifndef VARIO_TUNE_COMMAND_H
#define VARIO_TUNE_COMMAND_H

#include "tune/board.h"

enum { COMMAND_WORDS = 48, COMMAND_TEXT = 4096 };

/** What a child is told: words, and where they stand. */
typedef struct {
    char *words[COMMAND_WORDS]; /**< NULL behind the last */
    size_t count;
    char texts[10][COMMAND_TEXT];
    size_t used;
    tune_settings settings;
} command;

/** Make the command that brings a task's run to its rung.
 * @param program  path of vario
 * @param ranks    above 1: mpirun starts them */
void command_make(command *c, const tune_plan *p, const board_task *task, const char *program,
                  uint64_t ranks);

#endif
