/** Expected failures: a status says what kind, one message says what happened. */
#ifndef VARIO_BASE_STATUS_H
#define VARIO_BASE_STATUS_H

typedef enum {
    STATUS_OK = 0,
    STATUS_INPUT,   /**< the user's input is wrong: exit code 2 */
    STATUS_IO,      /**< a disk or file operation failed: exit code 3 */
    STATUS_NOMEM,   /**< memory ran out: exit code 3 */
    STATUS_PEER,    /**< another rank or the launcher failed: exit code 3 */
    STATUS_NUMERIC, /**< training broke down (see guard.max_skipped): exit code 3 */
    STATUS_STOPPED, /**< stopped by a signal or a deadline, checkpoint written: exit code 75 */
} status;

enum { STATUS_MESSAGE_SIZE = 1024 };

/** Record a failure of this thread; not collective.
 *
 * The first failure wins: while a message is pending, later ones are dropped, so the
 * message is the cause and not a consequence. Control characters and what is no text become
 * \xNN (base/terminal.h): names come from files of others.
 *
 * @param code    not STATUS_OK
 * @param format  printf format of one sentence that names the place, what was found and
 *                what was expected; no newline
 * @return code
 */
status fail(status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** The pending message, "" when there is none; valid until the next call of this module. */
const char *status_message(void);

/** Say what does not end the work: "vario: warning: SENTENCE" on stderr; where all ranks know of it
 * rank 0 alone calls this. */
void status_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Give warnings to someone else, as a library must who never prints. Once, before there are any.
 */
typedef void status_listener(const char *sentence);
void status_listen(status_listener *heard);

/** Forget the pending message (after it was printed, or when the failure was expected). */
void status_clear(void);

/** The process's exit code for a status: 0, 2, 3 or 75. */
int status_exit_code(status code);

#endif
