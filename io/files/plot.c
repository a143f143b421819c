/* gnuplot reads its commands from a pipe and writes under another name. Labels are UTF-8, which it
 * asks the locale about. */
#include "io/files/plot.h"

#include "io/files/file.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLOT_PATH = 4096, PICTURE_LIMIT = 1 << 26, NOT_FOUND = 127 /* the shell's exit code */ };

/* scripts/plot reads it, too. */
static const char style[] =
#include "io/files/plot_style.inc"
    ;

static const char *ending(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot : "";
}

status plot_open(plot *p, const char *path, int width, int height)
{
    *p = (plot){.path = path};
    bool png = path && strcmp(ending(path), ".png") == 0;
    if (path && !png && strcmp(ending(path), ".svg") != 0)
        return fail(STATUS_INPUT, "%s: a picture ends in .png or .svg, '%s' found", path,
                    ending(path));
    p->commands = open_memstream(&p->text, &p->size);
    if (!p->commands) return fail(STATUS_NOMEM, "memory to draw %s", path ? path : "it");
    fprintf(p->commands, "terminal = '%s'\nwidth = %d\nheight = %d\n%s", png ? "pngcairo" : "svg",
            width, height, style);
    return STATUS_OK;
}

void plot_quote(FILE *commands, const char *text)
{
    fputc('\'', commands);
    for (const char *c = text; *c; c++) {
        if (*c == '\'') fputc('\'', commands);
        fputc((unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c, commands);
    }
    fputc('\'', commands);
}

void plot_quote_file(FILE *commands, const char *path)
{
    char name[PLOT_PATH + 2];
    snprintf(name, sizeof name, "%s%s", *path == '/' ? "" : "./", path);
    plot_quote(commands, name);
}

static bool has_controls(const char *path)
{
    while (*path && (unsigned char)*path >= ' ' && *path != 0x7f) path++;
    return *path;
}

/* What gnuplot says goes to the user. SIGPIPE would end us where it stops early. */
static int run_gnuplot(const plot *p, const char *temporary)
{
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    FILE *pipe =
        popen("command -v gnuplot >/dev/null || exit 127; exec env LC_ALL=C.UTF-8 gnuplot", "w");
    int code = -1;
    if (pipe) {
        fputs("set output ", pipe);
        plot_quote_file(pipe, temporary);
        fputc('\n', pipe);
        fwrite(p->text, 1, p->size, pipe);
        fprintf(pipe, "\nset output\n");
        code = pclose(pipe);
    }
    signal(SIGPIPE, before);
    return code;
}

static status gnuplot_failed(const char *what, int code)
{
    if (WIFEXITED(code) && WEXITSTATUS(code) == NOT_FOUND)
        return fail(STATUS_INPUT, "%s: gnuplot expected to draw it, none found", what);
    return fail(STATUS_IO, "%s: %s", what, code ? "gnuplot did not draw it" : strerror(errno));
}

static status draw(const plot *p)
{
    char temporary[PLOT_PATH];
    if (has_controls(p->path) || strlen(p->path) + 8 > sizeof temporary)
        return fail(STATUS_INPUT,
                    "%s: a shorter path without control characters expected for a picture",
                    p->path);
    int fd;
    snprintf(temporary, sizeof temporary, "%s.tmp", p->path);
    status result = file_create(&fd, temporary);
    if (result) return result;
    close(fd);
    int code = run_gnuplot(p, temporary);
    if (code == 0 && rename(temporary, p->path) == 0) return STATUS_OK;
    result = gnuplot_failed(p->path, code);
    unlink(temporary);
    return result;
}

static status draw_text(const plot *p, char **svg)
{
    const char *directory = getenv("TMPDIR");
    char temporary[PLOT_PATH];
    size_t size;
    snprintf(temporary, sizeof temporary, "%.4000s/vario-plot-XXXXXX",
             directory && *directory ? directory : "/tmp");
    int fd = mkstemp(temporary);
    if (fd < 0) return fail(STATUS_IO, "create %s: %s", temporary, strerror(errno));
    close(fd);
    int code = run_gnuplot(p, temporary);
    status result = code ? gnuplot_failed("a picture", code)
                         : file_read_text(svg, &size, temporary, PICTURE_LIMIT);
    unlink(temporary);
    return result;
}

status plot_take(plot *p, char **svg)
{
    *svg = NULL;
    status result = fclose(p->commands) == 0 ? draw_text(p, svg)
                                             : fail(STATUS_NOMEM, "memory to draw a picture");
    free(p->text);
    *p = (plot){0};
    return result;
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
