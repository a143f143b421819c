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

static void expect_plain(bool drawn)
{
    cr_expect(drawn, "%s", status_message());
    cr_expect_neq(access("RUN", F_OK), 0, "a command was run");
}

/* gnuplot would open a pipe where a name begins with "|", run what stands in backquotes and end a
 * text at a quote. */
Test(plot, runs_nothing_of_a_name)
{
    static const char *const names[] = {"|touch RUN;.svg", "`touch RUN`.svg",
                                        "it's.svg",        "'.system('touch RUN').'.svg",
                                        "a b@x.svg",       "-.svg"};
    cr_assert_eq(chdir(path_of("")), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_plain(draw(names[i], "plot x\n") == STATUS_OK);
        cr_expect_eq(access(names[i], F_OK), 0, "%s", names[i]);
    }
}

Test(plot, runs_nothing_of_a_text)
{
    plot p;
    const char *text = "`touch RUN`\n!touch RUN\n'.system('touch RUN').'\";@x";
    cr_assert_eq(chdir(path_of("")), 0);
    cr_assert_eq(plot_open(&p, "a.svg", 400, 300), STATUS_OK);
    fputs("set title ", p.commands);
    plot_quote(p.commands, text);
    fputs(" noenhanced\nplot x\n", p.commands);
    expect_plain(plot_close(&p, true) == STATUS_OK);
}

Test(plot, refuses_what_it_cannot_draw)
{
    cr_expect_eq(draw(path_of("c.jpeg"), ""), STATUS_INPUT);
    cr_expect(strstr(status_message(), "'.jpeg' found"), "%s", status_message());
    status_clear();
    cr_expect_eq(draw(path_of("a\nb.png"), "plot x\n"), STATUS_INPUT);
    cr_expect(strstr(status_message(), "control characters"), "%s", status_message());
    status_clear();
    setenv("PATH", "/nowhere", 1);
    cr_expect_eq(draw(path_of("d.png"), "plot x\n"), STATUS_INPUT);
    cr_expect(strstr(status_message(), "gnuplot expected"), "%s", status_message());
}
