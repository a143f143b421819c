/* gnuplot reads its commands from a pipe and writes under another name. */
#include "io/plot.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLOT_PATH = 4096, NOT_FOUND = 127 /* the shell's exit code */ };

/* scripts/plot reads it, too. */
static const char style[] =
#include "io/plot_style.inc"
    ;

static const char *ending(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot : "";
}

status plot_open(plot *p, const char *path, int width, int height)
{
    *p = (plot){.path = path};
    bool png = strcmp(ending(path), ".png") == 0;
    if (!png && strcmp(ending(path), ".svg") != 0)
        return fail(STATUS_INPUT, "%s: a picture ends in .png or .svg, '%s' found", path,
                    ending(path));
    p->commands = open_memstream(&p->text, &p->size);
    if (!p->commands) return fail(STATUS_NOMEM, "memory to draw %s", path);
    fprintf(p->commands, "terminal = '%s'\nwidth = %d\nheight = %d\n%s", png ? "pngcairo" : "svg",
            width, height, style);
    return STATUS_OK;
}

/* What gnuplot says goes to the user. SIGPIPE would end us where it stops early. */
static int run_gnuplot(const plot *p, const char *temporary)
{
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    FILE *pipe = popen("command -v gnuplot >/dev/null || exit 127; exec gnuplot", "w");
    int code = -1;
    if (pipe) {
        fprintf(pipe, "set output '%s'\n", temporary);
        fwrite(p->text, 1, p->size, pipe);
        fprintf(pipe, "\nset output\n");
        code = pclose(pipe);
    }
    signal(SIGPIPE, before);
    return code;
}

static status draw(const plot *p)
{
    char temporary[PLOT_PATH];
    if (strchr(p->path, '\'') || strlen(p->path) + 8 > sizeof temporary)
        return fail(STATUS_INPUT, "%s: a shorter path without quotes expected for a picture",
                    p->path);
    snprintf(temporary, sizeof temporary, "%s.tmp", p->path);
    int code = run_gnuplot(p, temporary);
    if (WIFEXITED(code) && WEXITSTATUS(code) == NOT_FOUND)
        return fail(STATUS_INPUT, "%s: gnuplot expected to draw it, none found", p->path);
    if (code == 0 && rename(temporary, p->path) == 0) return STATUS_OK;
    unlink(temporary);
    return fail(STATUS_IO, "%s: %s", p->path, code ? "gnuplot did not draw it" : strerror(errno));
}

status plot_close(plot *p, bool wanted)
{
    status result = STATUS_OK;
    bool whole = p->commands && fclose(p->commands) == 0;
    if (wanted && p->path)
        result = whole ? draw(p) : fail(STATUS_NOMEM, "memory to draw %s", p->path);
    free(p->text);
    *p = (plot){0};
    return result;
}
