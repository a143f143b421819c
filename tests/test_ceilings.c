/* The cache of measured ceilings: found again, replaced when damaged, and never in the way. */
#include "io/files/file.h"
#include "io/runs/ceilings.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char home[] = "/tmp/vario-ceilings-XXXXXX";
static char path[200];

static void open_home(void)
{
    cr_assert(mkdtemp(home));
    setenv("XDG_CACHE_HOME", home, 1);
    unsetenv("HOME");
    snprintf(path, sizeof path, "%s/vario/ceilings.json", home);
}

static void close_home(void)
{
    file_remove_tree(home);
}

TestSuite(ceilings, .init = open_home, .fini = close_home);

static double recall(const char *key)
{
    host_ceiling wanted = {.gflops = -1.0};
    snprintf(wanted.key, sizeof wanted.key, "%s", key);
    ceilings_recall(&wanted, 1);
    cr_expect_str_empty(status_message());
    return wanted.gflops;
}

static void remember(const char *key, double gflops)
{
    host_ceiling found = {.gflops = gflops};
    snprintf(found.key, sizeof found.key, "%s", key);
    ceilings_remember(&found, 1);
    cr_expect_str_empty(status_message());
}

static void write_file(const char *text)
{
    cr_assert_eq(file_write_atomic(path, text, strlen(text)), STATUS_OK, "%s", status_message());
}

Test(ceilings, are_found_again)
{
    cr_expect_eq(recall("one"), 0.0);
    remember("one", 1234.5);
    remember("two", 2.0);
    cr_expect_float_eq(recall("one"), 1234.5, 0.01);
    cr_expect_eq(recall("two"), 2.0);
    cr_expect_eq(recall("three"), 0.0);
    remember("one", 7.0);
    cr_expect_eq(recall("one"), 7.0);
    cr_expect_eq(recall("two"), 2.0);
    ceilings_forget();
    cr_expect_eq(recall("one"), 0.0);
}

Test(ceilings, damaged_files_are_replaced)
{
    static const char *const damaged[] = {"", "{\"one\": 5.0", "[1]", "{\"one\": \"5\"}",
                                          "{\"one\": -5.0}"};
    remember("other", 1.0);
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        write_file(damaged[i]);
        cr_expect_eq(recall("one"), 0.0, "%s", damaged[i]);
        remember("one", 6.0);
        cr_expect_eq(recall("one"), 6.0, "%s", damaged[i]);
    }
}

/* XDG takes no relative path; without any directory, or with a file in its place, nothing is kept
 * and nothing fails. */
Test(ceilings, the_directory_may_be_missing)
{
    setenv("XDG_CACHE_HOME", "relative", 1);
    remember("one", 1.0);
    cr_expect_eq(recall("one"), 0.0);
    setenv("HOME", home, 1);
    remember("one", 2.0);
    cr_expect_eq(recall("one"), 2.0);
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    remember("one", 3.0);
    cr_expect_eq(recall("one"), 0.0);
}

Test(ceilings, the_processor_has_a_name)
{
    char name[100] = "";
    ceilings_processor(name, sizeof name);
    cr_expect_str_not_empty(name);
    cr_expect_null(strchr(name, '\n'));
}
