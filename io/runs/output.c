/* Paths are compared as what they lead to: links, "..", and other names of one file count. */
#include "io/runs/output.h"

#include "io/files/file.h"
#include "io/runs/run.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static bool has(const char *directory, const char *name)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static bool is_run(const char *directory)
{
    return has(directory, "job.yaml") && has(directory, "events.jsonl");
}

static bool matches(const char *path, const char *pattern)
{
    glob_t found = {0};
    bool same = file_same(path, pattern);
    if (!same && glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; !same && i < found.gl_pathc; i++)
            same = file_same(path, found.gl_pathv[i]);
    globfree(&found);
    return same;
}

/* An input is "PATTERN", "KIND:PATTERN" or "KIND:FILE,FILE". */
static bool is_input(const char *path, const char *input)
{
    char text[PATH_SIZE];
    if (matches(path, input)) return true;
    const char *colon = strchr(input, ':');
    if (!colon) return false;
    snprintf(text, sizeof text, "%s", colon + 1);
    if (matches(path, text)) return true;
    char *comma = strchr(text, ',');
    if (!comma) return false;
    *comma = '\0';
    return matches(path, text) || matches(path, comma + 1);
}

/* Of the directories that a path lies in, and the path itself, one that is a checkpoint. */
static status refuse_checkpoint(const char *path)
{
    char at[PATH_SIZE];
    if (!file_resolve(at, sizeof at, path)) return STATUS_OK;
    for (char *slash; (slash = strrchr(at, '/')); *slash = '\0')
        if (has(at, "state.json") && has(at, "model.safetensors"))
            return fail(STATUS_INPUT,
                        "%s: a place of its own expected for the result, it lies in the checkpoint "
                        "%s",
                        path, at);
    return STATUS_OK;
}

/* metrics.csv of a run and its like; a run's report is made anew each time. */
static status refuse_run_file(const char *path)
{
    char at[PATH_SIZE];
    if (!file_resolve(at, sizeof at, path)) return STATUS_OK;
    char *slash = strrchr(at, '/');
    if (!slash) return STATUS_OK;
    *slash = '\0';
    if (!is_run(at)) return STATUS_OK;
    for (size_t i = 0; run_files[i]; i++)
        if (strcmp(slash + 1, run_files[i]) == 0 && strcmp(slash + 1, "report.html") != 0)
            return fail(STATUS_INPUT,
                        "%s: a place of its own expected for the result, that of a file of the run "
                        "found",
                        path);
    return STATUS_OK;
}

status output_check_file(const char *path, const char *const *inputs, size_t count)
{
    struct stat info;
    bool there = stat(path, &info) == 0;
    if (there && !S_ISREG(info.st_mode))
        return fail(STATUS_INPUT,
                    "%s: a regular file or none expected for the result, something "
                    "else found",
                    path);
    for (size_t i = 0; there && i < count; i++)
        if (inputs[i] && is_input(path, inputs[i]))
            return fail(STATUS_INPUT,
                        "%s: a place of its own expected for the result, the input %s found", path,
                        inputs[i]);
    status result = refuse_checkpoint(path);
    return result ? result : refuse_run_file(path);
}

static status check_directory(const char *path, const char *const *inputs, size_t count,
                              bool (*takes)(const char *name))
{
    char name[PATH_SIZE];
    for (size_t i = 0; i < count; i++)
        if (inputs[i] && file_inside(name, sizeof name, inputs[i], path) && (!*name || takes(name)))
            return fail(STATUS_INPUT,
                        "%s: a place of its own expected for the result, it holds the input %s",
                        path, inputs[i]);
    return refuse_checkpoint(path);
}

status output_check_directory(const char *path, const char *const *inputs, size_t count,
                              bool (*takes)(const char *name))
{
    status result = check_directory(path, inputs, count, takes);
    if (result || !is_run(path)) return result;
    return fail(STATUS_INPUT,
                "%s: a place of its own expected for the result, the directory of a run found, "
                "which has such files",
                path);
}

/* What stands in a run's directory, and its checkpoints. */
static bool run_takes(const char *name)
{
    return !strchr(name, '/') || strncmp(name, "step-", 5) == 0;
}

status output_check_run(const char *path, const char *const *inputs, size_t count)
{
    return check_directory(path, inputs, count, run_takes);
}
