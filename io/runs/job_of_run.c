#include "io/runs/job_of_run.h"

#include "io/checkpoints/checkpoint_list.h"
#include "io/checkpoints/checkpoint_state.h"
#include "io/files/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, YAML_LIMIT = 1 << 20 };

static bool is_there(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

bool job_run_exists(const char *path)
{
    return is_there(path, "job.yaml") || checkpoint_exists(path);
}

static status read_state(job *j, const char *directory)
{
    char path[PATH_SIZE + 16], *text;
    snprintf(path, sizeof path, "%s/state.json", directory);
    status result = checkpoint_job_text(&text, directory);
    if (!result) result = job_parse(j, path, text, strlen(text), NULL, 0);
    free(text);
    return result;
}

/* The first state.json that has a job: of a checkpoint, or of a run's from the newest on.
 * @param used  out: its directory */
static status read_states(job *j, const char *path, char used[PATH_SIZE])
{
    uint64_t *steps = NULL;
    size_t count = 0;
    snprintf(used, PATH_SIZE, "%s", path);
    if (is_there(path, "state.json")) return read_state(j, path);
    status result = checkpoint_list(&steps, &count, path);
    if (!result && count == 0) result = fail(STATUS_INPUT, "%s: no checkpoint found", path);
    for (size_t i = 0; !result && i < count; i++) {
        snprintf(used, PATH_SIZE, "%s/step-%08" PRIu64, path, steps[i]);
        result = read_state(j, used);
        if (result != STATUS_INPUT || i + 1 == count) break;
        status_clear();
        result = STATUS_OK;
    }
    free(steps);
    return result;
}

/* As job_parse, which takes paths as they were when the run began. */
static status read_yaml(job *j, const char *path)
{
    char *text;
    size_t size;
    status result = file_read_text(&text, &size, path, YAML_LIMIT);
    if (!result) result = job_parse(j, path, text, size, NULL, 0);
    free(text);
    return result;
}

/* The pending message says what is wrong with job.yaml. */
static status read_without_yaml(job *j, const char *path, char said[STATUS_MESSAGE_SIZE])
{
    char why[STATUS_MESSAGE_SIZE], used[PATH_SIZE];
    snprintf(why, sizeof why, "%s", status_message());
    status_clear();
    status result = read_states(j, path, used);
    if (!result) {
        snprintf(said, STATUS_MESSAGE_SIZE, "%.500s; the job of %.400s/state.json is taken", why,
                 used);
        return STATUS_OK;
    }
    if (result != STATUS_INPUT) return result;
    status_clear();
    return fail(STATUS_INPUT,
                "%.700s, and no checkpoint's state.json has the job: put the run's job file there "
                "(vario train JOB.yaml --fresh starts over)",
                why);
}

status job_of_run(job *j, const char *path, char said[STATUS_MESSAGE_SIZE])
{
    char yaml[PATH_SIZE];
    struct stat info;
    said[0] = '\0';
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return fail(STATUS_INPUT, "%s: a run directory expected, none found", path);
    bool own = is_there(path, "job.yaml"), above = is_there(path, "../job.yaml");
    bool is_run = !is_there(path, "state.json");
    if (!own && is_run && checkpoint_exists(path)) above = false;
    if (!own && !above && is_run && !checkpoint_exists(path))
        return fail(STATUS_INPUT, "%s: job.yaml of a run expected, none found", path);
    snprintf(yaml, sizeof yaml, "%s/%sjob.yaml", path, own || !above ? "" : "../");
    status result = own || above ? read_yaml(j, yaml) : fail(STATUS_INPUT, "%s: not found", yaml);
    return result == STATUS_INPUT ? read_without_yaml(j, path, said) : result;
}
