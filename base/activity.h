/** What the threads of this process are at, for who watches over them (runtime/watch.h).
 *
 * Calls mark where a thread may stand still: before a message or a file is waited for, and after.
 * They cost some dozen nanoseconds, and nothing in threads that nobody watches. */
#ifndef VARIO_BASE_ACTIVITY_H
#define VARIO_BASE_ACTIVITY_H

#include <stdint.h>

/** The watched threads. */
typedef enum { ACTIVITY_MAIN, ACTIVITY_WRITER, ACTIVITY_THREADS } activity_thread;

typedef enum {
    ACTIVITY_NONE, /**< no such thread runs */
    ACTIVITY_COMPUTES,
    ACTIVITY_WAITS, /**< for other ranks, or another thread */
    ACTIVITY_READS,
    ACTIVITY_WRITES,
} activity_kind;

enum { ACTIVITY_TEXT = 240 };

/** Watch the calling thread from now on, or no longer. */
void activity_enter(activity_thread thread);
void activity_leave(void);

/** What the calling thread computes.
 * @param step  counted from 1; 0 for none
 * @param name  static: "forward pass" */
void activity_step(uint64_t step);
void activity_phase(const char *name);

/** The calling thread begins to wait.
 * @param what  static, to follow "waits for": "all ranks"; "gradients of rank" where rank says
 * which
 * @param rank  below 0: none is said */
void activity_wait(const char *what, int rank);

/** The calling thread begins to read or write a file.
 * @param what  static: "reads", "opens"; @param path  copied */
void activity_file(activity_kind kind, const char *what, const char *path);

/** The same of an open file, whose path is only looked for when somebody asks. */
void activity_descriptor(activity_kind kind, const char *what, int fd);

/** What it waited for has come. @return code, so that a call may be wrapped */
int activity_done(int code);
long activity_done_long(long code);

/** What a thread is at.
 * @param count  out: another one than before where the thread got on
 * @param text   out: "step 58, backward pass, waits for gradients of rank 2" */
activity_kind activity_look(activity_thread thread, uint64_t *count, char text[ACTIVITY_TEXT]);

#endif
