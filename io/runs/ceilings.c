/* A cache: every failure means that the ceiling is measured once more, and is forgotten here. */
#include "io/runs/ceilings.h"

#include "io/files/file.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { CACHE_PATH = 4096, CACHE_FILE = CACHE_PATH + 16, CACHE_LIMIT = 1 << 20 };

/* Value of a line "model name : VALUE". */
static bool read_name(char *name, size_t size, const char *line)
{
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || !colon) return false;
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    snprintf(name, size, "%.*s", (int)strcspn(value, "\n"), value);
    return *name;
}

void ceilings_processor(char *name, size_t size)
{
    bool found = false;
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && !found && fgets(line, sizeof line, file)) found = read_name(name, size, line);
    if (file) fclose(file);
    struct utsname system;
    if (!found) snprintf(name, size, "%s", uname(&system) == 0 ? system.machine : "processor");
}

/* The directory of the file, "" where there is none: relative paths count as none, as XDG says. */
static void find_directory(char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/')
        snprintf(path, size, "%s/vario", cache);
    else if (home && *home == '/')
        snprintf(path, size, "%s/.cache/vario", home);
    else
        *path = '\0';
}

/* The file's path, "" where there is none. */
static void find_file(char *path, size_t size)
{
    char directory[CACHE_PATH];
    find_directory(directory, sizeof directory);
    snprintf(path, size, "%s%s", directory, *directory ? "/ceilings.json" : "");
}

/* All that is remembered; a new object when there is nothing, or nothing that is JSON. */
static json_t *read_all(const char *path)
{
    char *text = NULL;
    size_t size;
    json_t *all = NULL;
    if (file_read_text(&text, &size, path, CACHE_LIMIT))
        status_clear();
    else
        all = json_loadb(text, size, 0, NULL);
    free(text);
    if (json_is_object(all)) return all;
    json_decref(all);
    return json_object();
}

void ceilings_recall(host_ceiling *wanted, size_t count)
{
    char path[CACHE_FILE];
    find_file(path, sizeof path);
    json_t *all = *path ? read_all(path) : NULL;
    for (size_t i = 0; i < count; i++) {
        double gflops = json_number_value(json_object_get(all, wanted[i].key));
        wanted[i].gflops = isfinite(gflops) && gflops > 0.0 ? gflops : 0.0;
    }
    json_decref(all);
}

/* Under a name of its own: other runs may be at the same. */
static void write_all(const json_t *all, const char *path)
{
    char other[CACHE_FILE + 16];
    snprintf(other, sizeof other, "%s.XXXXXX", path);
    int fd = mkstemp(other);
    if (fd < 0) return;
    int failed = json_dumpfd(all, fd, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
    if (close(fd) != 0 || failed || rename(other, path) != 0) unlink(other);
}

void ceilings_remember(const host_ceiling *found, size_t count)
{
    char directory[CACHE_PATH], path[CACHE_FILE];
    find_directory(directory, sizeof directory);
    find_file(path, sizeof path);
    if (!*path) return;
    if (file_make_directories(directory)) {
        status_clear();
        return;
    }
    json_t *all = read_all(path);
    for (size_t i = 0; i < count; i++)
        json_object_set_new(all, found[i].key, json_real(found[i].gflops));
    write_all(all, path);
    json_decref(all);
}

void ceilings_forget(void)
{
    char path[CACHE_FILE];
    find_file(path, sizeof path);
    if (*path) unlink(path);
}
