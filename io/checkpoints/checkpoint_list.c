/* A name counts when printing its number again gives the same name. */
#include "io/checkpoints/checkpoint_list.h"

#include "io/checkpoints/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_name(const char *name, uint64_t *steps)
{
    char again[32];
    if (strncmp(name, "step-", 5) != 0) return false;
    *steps = strtoull(name + 5, NULL, 10);
    snprintf(again, sizeof again, "step-%08" PRIu64, *steps);
    return strcmp(name, again) == 0;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static status append(uint64_t **steps, size_t *count, size_t *capacity, uint64_t value)
{
    if (*count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 16;
        uint64_t *grown = realloc(*steps, more * sizeof *grown);
        if (!grown) return fail(STATUS_NOMEM, "memory to list %zu checkpoints", more);
        *steps = grown;
        *capacity = more;
    }
    (*steps)[(*count)++] = value;
    return STATUS_OK;
}

status checkpoint_list(uint64_t **steps, size_t *count, const char *run)
{
    size_t capacity = 0;
    uint64_t found;
    status result = STATUS_OK;
    *steps = NULL;
    *count = 0;
    DIR *directory = opendir(run);
    if (!directory)
        return fail(errno == ENOENT || errno == ENOTDIR ? STATUS_INPUT : STATUS_IO, "%s: %s", run,
                    strerror(errno));
    for (struct dirent *e = readdir(directory); e && !result; e = readdir(directory))
        if (read_name(e->d_name, &found)) result = append(steps, count, &capacity, found);
    closedir(directory);
    if (*count > 0) qsort(*steps, *count, sizeof **steps, newest_first);
    return result;
}

bool checkpoint_exists(const char *run)
{
    uint64_t found;
    DIR *directory = opendir(run);
    if (!directory) return false;
    bool there = false;
    for (struct dirent *e = readdir(directory); e && !there; e = readdir(directory))
        there = read_name(e->d_name, &found);
    closedir(directory);
    return there;
}
