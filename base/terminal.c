/* Characters are taken one by one: those that are plain go on as they are. */
#include "base/terminal.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static bool is_control(const unsigned char *character, size_t size)
{
    if (size == 1) return character[0] < 0x20 || character[0] == 0x7f;
    return size == 2 && character[0] == 0xc2 && character[1] < 0xa0;
}

size_t terminal_show(char shown[TERMINAL_SHOWN], const char *text, size_t left)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t size = utf8_character(bytes, left);
    if (size > 0 && !is_control(bytes, size)) {
        memcpy(shown, text, size);
        shown[size] = '\0';
        return size;
    }
    if (size == 0) size = 1;
    for (size_t i = 0; i < size; i++) snprintf(shown + 4 * i, 5, "\\x%02x", bytes[i]);
    return size;
}

void terminal_sentence(char *out, size_t size, const char *text)
{
    char shown[TERMINAL_SHOWN];
    size_t used = 0, left = strlen(text);
    while (left > 0) {
        size_t taken = terminal_show(shown, text, left), length = strlen(shown);
        if (used + length >= size) break;
        memcpy(out + used, shown, length);
        used += length;
        text += taken;
        left -= taken;
    }
    out[used] = '\0';
}

static bool stays(char byte)
{
    return byte == '\n' || byte == '\t';
}

/* Shows the characters of a text; returns how many bytes of it were taken: all, or all but the
 * beginning of a character that may still become one. */
static size_t show_text(FILE *out, const char *text, size_t size, bool ended)
{
    char shown[TERMINAL_SHOWN];
    size_t at = 0;
    while (at < size) {
        if (!ended && utf8_begins((const unsigned char *)text + at, size - at)) break;
        if (stays(text[at])) {
            fputc(text[at++], out);
            continue;
        }
        at += terminal_show(shown, text + at, size - at);
        fputs(shown, out);
    }
    return at;
}

void terminal_print(FILE *out, const char *format, ...)
{
    char text[TERMINAL_LINE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    show_text(out, text, strlen(text), true);
}

void terminal_open(terminal_stream *s, FILE *out)
{
    *s = (terminal_stream){.out = out, .raw = isatty(fileno(out)) != 1};
}

void terminal_write(terminal_stream *s, const void *bytes, size_t size)
{
    if (s->raw) {
        fwrite(bytes, 1, size, s->out);
        return;
    }
    for (const unsigned char *byte = bytes; size > 0; byte++, size--) {
        s->part[s->count++] = *byte;
        size_t taken = show_text(s->out, (const char *)s->part, s->count, false);
        s->count -= taken;
        memmove(s->part, s->part + taken, s->count);
    }
}

void terminal_close(terminal_stream *s)
{
    show_text(s->out, (const char *)s->part, s->count, true);
    s->count = 0;
}
