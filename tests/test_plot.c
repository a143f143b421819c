/* Pictures: whole under their name, or not there. */
#include "io/files/plot.h"
#include "tests/folder_fixture.h"

#include <unistd.h>

TestSuite(plot, .init = open_folder, .fini = close_folder);

static status draw(const char *path, const char *commands)
{
    plot p;
    status result = plot_open(&p, path, 400, 300);
    if (!result) fputs(commands, p.commands);
    status closed = plot_close(&p, result == STATUS_OK);
    return result ? result : closed;
}

Test(plot, is_whole)
{
    static const unsigned char png[] = {0x89, 'P', 'N', 'G'};
    unsigned char found[4] = {0};
    const char *path = path_of("a.png");
    cr_assert_eq(draw(path, "$d << EOD\n0 1\n1 2\nEOD\nplot $d with lines ls 1 title 'd'\n"),
                 STATUS_OK, "%s", status_message());
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    cr_expect_eq(fread(found, 1, sizeof found, file), sizeof found);
    cr_expect_arr_eq(found, png, sizeof png);
    fclose(file);
}

Test(plot, of_an_error_leaves_nothing)
{
    const char *path = path_of("b.svg");
    cr_expect_eq(draw(path, "plot nothing_of_this_name\n"), STATUS_IO);
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_neq(access(path_of("b.svg.tmp"), F_OK), 0);
}

Test(plot, refuses_what_it_cannot_draw)
{
    cr_expect_eq(draw(path_of("c.jpeg"), ""), STATUS_INPUT);
    cr_expect(strstr(status_message(), "'.jpeg' found"), "%s", status_message());
    status_clear();
    setenv("PATH", "/nowhere", 1);
    cr_expect_eq(draw(path_of("d.png"), "plot x\n"), STATUS_INPUT);
    cr_expect(strstr(status_message(), "gnuplot expected"), "%s", status_message());
}
