/* A limit is known by a number, so that ranks in different control groups add up what falls under
 * each. Pages of files are given back when a group needs memory, so they count as free. */
#define _GNU_SOURCE
#include "runtime/free_memory.h"

#include "base/memory.h"
#include "runtime/agree.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_SIZE = 4096,
    LINE_SIZE = 3 * PATH_SIZE,
};

const char *free_memory_proc = "/proc";

/* How a version of control groups names things. */
typedef struct {
    const char *type, *limit, *usage, *cached[2];
} hierarchy;

static const hierarchy version_1 = {
    "cgroup",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    {"total_inactive_file", "total_active_file"},
};
static const hierarchy version_2 = {
    "cgroup2", "memory.max", "memory.current", {"inactive_file", "active_file"}};

static FILE *open_in(const char *directory, const char *name)
{
    char path[LINE_SIZE];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return fopen(path, "re");
}

/* A file of one number; NAN without one ("max"). */
static double read_number(const char *directory, const char *name)
{
    double number = NAN;
    FILE *file = open_in(directory, name);
    if (file && fscanf(file, "%lf", &number) != 1) number = NAN;
    if (file) fclose(file);
    return number;
}

/* The number behind a word that begins a line, with its colon; NAN where there is none. */
static double read_field(const char *directory, const char *name, const char *word)
{
    char line[256], found[64];
    double number = NAN, value;
    FILE *file = open_in(directory, name);
    while (file && isnan(number) && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %lf", found, &value) == 2 && strcmp(found, word) == 0)
            number = value;
    if (file) fclose(file);
    return number;
}

static void add_limit(free_memory_limit *limits, size_t *count, const free_memory_limit *found)
{
    if (!isfinite(found->allows) || !isfinite(found->free) || *count == FREE_MEMORY_LIMITS) return;
    limits[*count] = *found;
    if (limits[*count].free < 0.0) limits[*count].free = 0.0;
    ++*count;
}

/* What the kernel would give without swapping. */
static void add_node(free_memory_limit *limits, size_t *count)
{
    free_memory_limit node = {
        .allows = 1024.0 * read_field(free_memory_proc, "meminfo", "MemTotal:"),
        .free = 1024.0 * read_field(free_memory_proc, "meminfo", "MemAvailable:"),
        .shared = FREE_MEMORY_NODE,
        .name = "this host"};
    add_limit(limits, count, &node);
}

static void add_own(free_memory_limit *limits, size_t *count, const struct rlimit *found,
                    const char *name, const char *used)
{
    if (found->rlim_cur == RLIM_INFINITY) return;
    free_memory_limit own = {.allows = (double)found->rlim_cur, .shared = FREE_MEMORY_OWN};
    own.free = own.allows - 1024.0 * read_field(free_memory_proc, "self/status", used);
    snprintf(own.name, sizeof own.name, "%s", name);
    add_limit(limits, count, &own);
}

/* Where a hierarchy with the memory controller is mounted, and what of it is seen there. */
static bool find_mount(const hierarchy *h, char *root, char *mount)
{
    char line[LINE_SIZE], type[64], options[PATH_SIZE];
    bool found = false;
    FILE *file = open_in(free_memory_proc, "self/mountinfo");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *rest = strstr(line, " - ");
        found = rest && sscanf(rest, " - %63s %*s %4095s", type, options) == 2 &&
                strcmp(type, h->type) == 0 && (h == &version_2 || strstr(options, "memory")) &&
                sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) == 2;
    }
    if (file) fclose(file);
    return found;
}

/* The group of this process: of lines ID:CONTROLLERS:PATH that with the memory controller, or of
 * version 2 that without any. */
static bool find_group(const hierarchy *h, char *group)
{
    char line[LINE_SIZE];
    bool found = false;
    FILE *file = open_in(free_memory_proc, "self/cgroup");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':'),
             *path = controllers ? strchr(++controllers, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        found = h == &version_2 ? !*controllers : strstr(controllers, "memory") != NULL;
        if (found) snprintf(group, PATH_SIZE, "%s", path);
    }
    if (file) fclose(file);
    return found;
}

static void add_group(free_memory_limit *limits, size_t *count, const hierarchy *h,
                      const char *directory, const char *name)
{
    struct stat info;
    free_memory_limit group = {.allows = read_number(directory, h->limit)};
    if (isnan(group.allows) || stat(directory, &info) != 0) return;
    group.free = group.allows - read_number(directory, h->usage);
    for (int i = 0; i < 2; i++)
        group.free += fmax(0.0, read_field(directory, "memory.stat", h->cached[i]));
    group.shared = ((uint64_t)info.st_dev << 40) + (uint64_t)info.st_ino + 1;
    snprintf(group.name, sizeof group.name, "control group %s", *name ? name : "/");
    add_limit(limits, count, &group);
}

/* The group and all above it, up to where the hierarchy is mounted. A container may see a part of
 * the hierarchy only, and not the beginning of its group's path. */
static void add_groups(free_memory_limit *limits, size_t *count, const hierarchy *h)
{
    char root[PATH_SIZE], directory[2 * PATH_SIZE], group[PATH_SIZE];
    if (!find_group(h, group) || !find_mount(h, root, directory)) return;
    size_t top = strlen(directory), hidden = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool below = strncmp(group, root, hidden) == 0 && strncmp(group, "/..", 3) != 0;
    const char *name = below ? group + hidden : "";
    if (strcmp(name, "/") != 0) snprintf(directory + top, PATH_SIZE, "%s", name);
    for (;;) {
        add_group(limits, count, h, directory, directory + top);
        char *slash = strrchr(directory + top, '/');
        if (!slash) return;
        *slash = '\0';
    }
}

size_t free_memory_limits(free_memory_limit limits[FREE_MEMORY_LIMITS])
{
    size_t count = 0;
    struct rlimit own;
    add_node(limits, &count);
    if (getrlimit(RLIMIT_AS, &own) == 0)
        add_own(limits, &count, &own, "RLIMIT_AS (ulimit -v)", "VmSize:");
    if (getrlimit(RLIMIT_DATA, &own) == 0)
        add_own(limits, &count, &own, "RLIMIT_DATA (ulimit -d)", "VmData:");
    add_groups(limits, &count, &version_2);
    add_groups(limits, &count, &version_1);
    return count;
}

/* The limit that is missed by most. */
static void say_lack(char *text, size_t size, const free_memory_limit *limit, double wanted,
                     int ranks)
{
    char host[256] = "this host";
    gethostname(host, sizeof host - 1);
    snprintf(text, size,
             "the ranks on %s (%d) need %.4g GB, and %.4g GB are free of the %.4g GB of %s", host,
             ranks, 1e-9 * wanted, 1e-9 * limit->free, 1e-9 * limit->allows, limit->name);
}

bool free_memory_has(double bytes, size_t ranks, char *text, size_t size)
{
    free_memory_limit limits[FREE_MEMORY_LIMITS];
    size_t count = free_memory_limits(limits);
    double max = 0.0;
    for (size_t i = 0; i < count; i++) {
        size_t sharing = limits[i].shared == FREE_MEMORY_OWN ? 1 : ranks;
        double wanted = (double)sharing * bytes, lack = wanted - limits[i].free;
        if (lack <= max) continue;
        max = lack;
        say_lack(text, size, &limits[i], wanted, (int)sharing);
    }
    return max == 0.0;
}

/* What a rank takes, and under which limits. */
typedef struct {
    double bytes, promised;
    uint64_t shared[FREE_MEMORY_LIMITS];
} claim;

/* Of the ranks of this node that share a limit. */
static double add_claims(const free_memory_limit *limit, const claim *own, const claim *all,
                         int size, int *ranks)
{
    double wanted = 0.0;
    *ranks = 1;
    if (limit->shared == FREE_MEMORY_OWN) return own->bytes;
    *ranks = 0;
    for (int rank = 0; rank < size; rank++)
        for (size_t i = 0; i < FREE_MEMORY_LIMITS; i++) {
            if (all[rank].shared[i] != limit->shared) continue;
            wanted += all[rank].bytes + all[rank].promised;
            ++*ranks;
        }
    return wanted;
}

/* The claims of a node's ranks come together when all have looked what is free, and none has taken
 * anything. */
static bool find_lack(MPI_Comm node, double bytes, char *text, size_t size)
{
    free_memory_limit limits[FREE_MEMORY_LIMITS];
    claim own = {.bytes = bytes, .promised = (double)memory_untouched()};
    int ranks, sharing;
    MPI_Comm_size(node, &ranks);
    size_t count = free_memory_limits(limits);
    for (size_t i = 0; i < FREE_MEMORY_LIMITS; i++)
        own.shared[i] = i < count ? limits[i].shared : FREE_MEMORY_OWN;
    claim all[ranks];
    MPI_Allgather(&own, sizeof own, MPI_BYTE, all, sizeof own, MPI_BYTE, node);
    double max = 0.0;
    for (size_t i = 0; i < count; i++) {
        double wanted = add_claims(&limits[i], &own, all, ranks, &sharing);
        if (wanted - limits[i].free <= max) continue;
        max = wanted - limits[i].free;
        say_lack(text, size, &limits[i], wanted, sharing);
    }
    return max > 0.0;
}

status free_memory_check(MPI_Comm world, double bytes, const char *format, ...)
{
    char what[512], lack[512];
    MPI_Comm node;
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    bool lacks = find_lack(node, bytes, lack, sizeof lack);
    MPI_Comm_free(&node);
    if (!lacks) return agree(world, STATUS_OK);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return agree(world, fail(STATUS_NOMEM, "%s; %s", what, lack));
}
