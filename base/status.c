/* One pending message a thread: failures are made where the facts are and printed once, at the
 * top. */
#include "base/status.h"

#include "base/terminal.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[STATUS_MESSAGE_SIZE];

status fail(status code, const char *format, ...)
{
    char sentence[STATUS_MESSAGE_SIZE];
    if (message[0]) return code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    terminal_sentence(message, sizeof message, sentence);
    return code;
}

const char *status_message(void)
{
    return message;
}

static void print_warning(const char *sentence)
{
    fprintf(stderr, "vario: warning: %s\n", sentence);
}

static status_listener *listener = print_warning;

void status_warn(const char *format, ...)
{
    char sentence[STATUS_MESSAGE_SIZE], shown[STATUS_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    terminal_sentence(shown, sizeof shown, sentence);
    listener(shown);
}

void status_listen(status_listener *heard)
{
    listener = heard;
}

void status_clear(void)
{
    message[0] = '\0';
}

int status_exit_code(status code)
{
    switch (code) {
    case STATUS_OK: return 0;
    case STATUS_INPUT: return 2;
    case STATUS_STOPPED: return 75;
    default: return 3;
    }
}
