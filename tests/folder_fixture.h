/** Tests that write files: a folder that is there for one test. */
#ifndef VARIO_TESTS_FOLDER_FIXTURE_H
#define VARIO_TESTS_FOLDER_FIXTURE_H

#include "io/files/file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A folder of its own for every test of a suite with these before and after each. */
static char folder[64];

static void open_folder(void)
{
    strcpy(folder, "/tmp/vario-test-XXXXXX");
    cr_assert(mkdtemp(folder));
}

static void close_folder(void)
{
    file_remove_tree(folder);
}

/* Until the next call. */
static inline const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *name, const void *data, size_t bytes)
{
    FILE *file = fopen(path_of(name), "wb");
    cr_assert(file);
    cr_assert_eq(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
}

#endif
