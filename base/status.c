/* One pending message per process: failures are made where the facts are and printed once, at the
 * top. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

static char message[STATUS_MESSAGE_SIZE];

status fail(status code, const char *format, ...)
{
    if (message[0]) return code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return code;
}

const char *status_message(void)
{
    return message;
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
