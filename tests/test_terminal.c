/* What others wrote, on a terminal and as JSON: it is shown, and nothing obeys it. */
#include "base/status.h"
#include "base/terminal.h"
#include "base/utf8.h"
#include "io/files/json_text.h"
#include "train/progress.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Clears the screen, names the window, rings, begins a line anew; C1's CSI as UTF-8 and as a byte.
 */
#define EVIL "a\x1b[2J\x1b]0;b\x07\rc\x7f\xc2\x9b\x31m\x9b\x32md\xc3\xa9"
#define SHOWN "a\\x1b[2J\\x1b]0;b\\x07\\x0dc\\x7f\\xc2\\x9b1m\\x9b2md\xc3\xa9"

static char *kept;
static size_t kept_size;

static FILE *keep(void)
{
    return open_memstream(&kept, &kept_size);
}

static void expect_kept(FILE *out, const char *expected)
{
    fclose(out);
    cr_expect_str_eq(kept, expected);
    free(kept);
}

Test(terminal, failures_are_shown)
{
    fail(STATUS_INPUT, "tensor '%s' found", EVIL);
    cr_expect_str_eq(status_message(), "tensor '" SHOWN "' found");
    status_clear();
    fail(STATUS_INPUT, "line\nline\t");
    cr_expect_str_eq(status_message(), "line\\x0aline\\x09");
    char again[STATUS_MESSAGE_SIZE];
    snprintf(again, sizeof again, "%s", status_message());
    status_clear();
    fail(STATUS_INPUT, "%s", again); /* as causes are passed on */
    cr_expect_str_eq(status_message(), again);
}

Test(terminal, failures_are_cut_between_characters)
{
    char name[STATUS_MESSAGE_SIZE];
    memset(name, 0x1b, sizeof name - 1);
    name[sizeof name - 1] = '\0';
    fail(STATUS_INPUT, "%s", name);
    size_t length = strlen(status_message());
    cr_expect_eq(length, (STATUS_MESSAGE_SIZE - 1) / 4 * 4);
    cr_expect_str_eq(status_message() + length - 4, "\\x1b");
}

static const char *heard;

static void listen(const char *sentence)
{
    static char copy[STATUS_MESSAGE_SIZE];
    snprintf(copy, sizeof copy, "%s", sentence);
    heard = copy;
}

Test(terminal, warnings_are_shown)
{
    status_listen(listen);
    status_warn("column '%s'", EVIL);
    cr_expect_str_eq(heard, "column '" SHOWN "'");
}

Test(terminal, progress_is_shown)
{
    char line[256] = "";
    progress p;
    cr_redirect_stdout();
    setenv("VARIO_PROGRESS", "lines", 1);
    progress_open(&p, true, "tokens", 0, 1);
    progress_say(&p, "begins with the weights of %s", EVIL);
    fflush(stdout);
    FILE *out = cr_get_redirected_stdout();
    size_t n = fread(line, 1, sizeof line - 1, out);
    line[n] = '\0';
    cr_expect_str_eq(line, "begins with the weights of " SHOWN "\n");
}

Test(terminal, lines_and_tabs_stay_in_what_is_printed)
{
    FILE *out = keep();
    terminal_print(out, "%s\n\t%s", EVIL, "\xf0\x9f\x98\x80");
    expect_kept(out, SHOWN "\n\t\xf0\x9f\x98\x80");
}

/* However a text is cut into tokens, its characters are whole and its controls are shown. */
Test(terminal, streams_wait_for_whole_characters)
{
    static const char text[] = EVIL "\n\t\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x82x\xf0\x9f\x98";
    for (size_t step = 1; step < sizeof text; step++) {
        FILE *out = keep();
        terminal_stream s = {.out = out};
        for (size_t at = 0; at < sizeof text - 1; at += step) {
            size_t left = sizeof text - 1 - at;
            terminal_write(&s, text + at, left < step ? left : step);
        }
        terminal_close(&s);
        expect_kept(out, SHOWN "\n\t\xe2\x82\xac\xf0\x9f\x98\x80\\xe2\\x82x\\xf0\\x9f\\x98");
    }
}

Test(terminal, what_leads_elsewhere_is_as_it_was)
{
    char found[sizeof EVIL] = "";
    FILE *file = tmpfile();
    terminal_stream s;
    terminal_open(&s, file);
    terminal_write(&s, EVIL, sizeof EVIL - 1);
    terminal_close(&s);
    rewind(file);
    cr_expect_eq(fread(found, 1, sizeof found, file), sizeof EVIL - 1);
    cr_expect_arr_eq(found, EVIL, sizeof EVIL - 1);
    fclose(file);
}

/* Every beginning of every length of a character, and nothing else, waits for more. */
Test(terminal, beginnings_of_characters)
{
    cr_expect(utf8_begins((const unsigned char *)"\xc3", 1));
    cr_expect(utf8_begins((const unsigned char *)"\xe0", 1));
    cr_expect(utf8_begins((const unsigned char *)"\xed\x9f", 2));
    cr_expect(utf8_begins((const unsigned char *)"\xf4\x8f\xbf", 3));
    cr_expect(utf8_begins((const unsigned char *)"\xf0\x90", 2));
    cr_expect_not(utf8_begins((const unsigned char *)"a", 1));
    cr_expect_not(utf8_begins((const unsigned char *)"\x80", 1));
    cr_expect_not(utf8_begins((const unsigned char *)"\xc1", 1));
    cr_expect_not(utf8_begins((const unsigned char *)"\xed\xa0", 2));
    cr_expect_not(utf8_begins((const unsigned char *)"\xf4\x90", 2));
    cr_expect_not(utf8_begins((const unsigned char *)"\xe2\x82x", 3));
    cr_expect_not(utf8_begins((const unsigned char *)"\xc3\xa9", 2));
}

/* A path is given back as it was, and a terminal that shows the JSON has nothing to obey. */
Test(terminal, json_is_escaped)
{
    static const char path[] = "r\"u\\n\x1b\n\x7f\xc2\x9b\xc3\xa9";
    FILE *out = keep();
    cr_expect_eq(json_text_print_run(out, path, json_pack("{si}", "step", 3)), STATUS_OK);
    fclose(out);
    for (size_t i = 0; i + 1 < kept_size; i++)
        cr_expect((unsigned char)kept[i] >= ' ' && kept[i] != 0x7f, "byte %zu of %s", i, kept);
    cr_expect_not(strstr(kept, "\xc2\x9b"));
    json_t *line = json_loads(kept, 0, NULL);
    cr_assert(line, "%s", kept);
    cr_expect_str_eq(json_string_value(json_object_get(line, "run")), path);
    cr_expect_eq(json_integer_value(json_object_get(line, "step")), 3);
    json_decref(line);
    free(kept);
}

/* Where memory ran out, which jansson tells by NULL, nothing is printed instead of a part. */
Test(terminal, json_is_whole_or_refused)
{
    FILE *out = keep();
    json_t *o = json_pack("{si}", "step", 3), *list = json_array();
    json_text_set(&o, "run", NULL);
    cr_expect_null(o);
    json_text_set(&o, "run", json_string("a"));
    json_text_put(&o, "loss", 1.0);
    json_text_join(&o, json_object());
    json_text_add(&list, o);
    cr_expect_null(list);
    cr_expect_eq(json_text_print(out, list, 0), STATUS_NOMEM);
    status_clear();
    cr_expect_eq(json_text_print_run(out, "a", NULL), STATUS_NOMEM);
    status_clear();
    expect_kept(out, "");
}

Test(terminal, numbers_that_json_has_not)
{
    FILE *out = keep();
    json_t *o = json_object();
    json_text_put(&o, "nan", NAN);
    json_text_put(&o, "inf", INFINITY);
    json_text_put(&o, "third", 1.0 / 3.0);
    json_text_set(&o, "most", json_text_count(INT64_MAX));
    json_text_set(&o, "more", json_text_count(UINT64_MAX));
    cr_expect_eq(json_text_print(out, o, 0), STATUS_OK);
    expect_kept(out, "{\"inf\": null, \"third\": 0.33333333333333331, \"most\": "
                     "9223372036854775807, \"more\": \"18446744073709551615\"}\n");
}

Test(terminal, json_of_no_utf8_is_json)
{
    FILE *out = keep();
    cr_expect_eq(json_text_print(out, json_text_string("a\xff"), 0), STATUS_OK);
    expect_kept(out, "\"a\xef\xbf\xbd\"\n");
}
