/* What is free, told by a tree of files as the kernel makes them. */
#include "base/memory.h"
#include "folder_fixture.h"
#include "runtime/free_memory.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void make(const char *directory)
{
    cr_assert_eq(file_make_directories(path_of(directory)), STATUS_OK);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void write_group(const char *directory, const char *limit, const char *limit_text,
                        const char *usage, const char *usage_text, const char *stat)
{
    char name[64];
    make(directory);
    snprintf(name, sizeof name, "%s/%s", directory, limit);
    write_text(name, limit_text);
    snprintf(name, sizeof name, "%s/%s", directory, usage);
    write_text(name, usage_text);
    snprintf(name, sizeof name, "%s/memory.stat", directory);
    write_text(name, stat);
}

/* A node of 10 GB of which 8 are free, and a process of 300 kB. */
static void open_node(void)
{
    open_folder();
    make("self");
    write_text("meminfo", "MemTotal:  10000000 kB\nMemFree: 1 kB\nMemAvailable:  8000000 kB\n");
    write_text("self/status", "Name:\tx\nVmSize:\t     300 kB\nVmData:\t 200 kB\n");
    static char path[128];
    snprintf(path, sizeof path, "%s", folder);
    free_memory_proc = path;
}

static void write_mount(const char *root, const char *tree, const char *type, const char *options)
{
    char text[512];
    snprintf(
        text, sizeof text,
        "22 1 0:5 / / rw - ext4 /dev/vda rw\n31 22 0:28 %s %s/%s rw,nosuid shared:9 - %s %s %s\n",
        root, folder, tree, type, type, options);
    write_text("self/mountinfo", text);
}

static const free_memory_limit *find(const free_memory_limit *limits, size_t count,
                                     const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(limits[i].name, name) == 0) return &limits[i];
    return NULL;
}

static void expect(const char *name, double allows, double free)
{
    free_memory_limit limits[FREE_MEMORY_LIMITS];
    const free_memory_limit *found = find(limits, free_memory_limits(limits), name);
    cr_assert(found, "%s", name);
    cr_expect_eq(found->allows, allows, "%s: %g allowed", name, found->allows);
    cr_expect_eq(found->free, free, "%s: %g free", name, found->free);
}

TestSuite(free_memory, .init = open_node, .fini = close_folder);

Test(free_memory, node)
{
    free_memory_limit limits[FREE_MEMORY_LIMITS];
    cr_expect_eq(free_memory_limits(limits), 1);
    expect("this host", 10000000.0 * 1024, 8000000.0 * 1024);
}

/* The group has no limit of its own; the one above it has, and the root has no files at all. */
Test(free_memory, groups_of_version_2)
{
    free_memory_limit limits[FREE_MEMORY_LIMITS];
    write_text("self/cgroup", "0::/slurm/job_7/step_0\n");
    write_mount("/", "unified", "cgroup2", "rw");
    write_group("unified/slurm/job_7", "memory.max", "5000000\n", "memory.current", "4000000\n",
                "anon 100\ninactive_file 300000\nactive_file 200000\n");
    write_group("unified/slurm/job_7/step_0", "memory.max", "max\n", "memory.current", "1\n", "");
    cr_expect_eq(free_memory_limits(limits), 2);
    expect("control group /slurm/job_7", 5e6, 1.5e6);
}

Test(free_memory, groups_of_version_1)
{
    write_text("self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/job/step\n0::/\n");
    write_mount("/", "memory", "cgroup", "rw,memory");
    write_group("memory/job/step", "memory.limit_in_bytes", "2000000", "memory.usage_in_bytes",
                "1900000", "total_inactive_file 50000\ninactive_file 7\ntotal_active_file 0\n");
    write_group("memory/job", "memory.limit_in_bytes", "3000000", "memory.usage_in_bytes",
                "3900000", "");
    expect("control group /job/step", 2e6, 150000.0);
    expect("control group /job", 3e6, 0.0);
}

/* A container sees its part of the hierarchy, and in a name space of its own not even its name. */
Test(free_memory, groups_of_a_container)
{
    write_group("seen", "memory.max", "1000000", "memory.current", "0", "");
    write_group("seen/inner", "memory.max", "500000", "memory.current", "0", "");
    write_text("self/cgroup", "0::/docker/abc/inner\n");
    write_mount("/docker/abc", "seen", "cgroup2", "rw");
    expect("control group /", 1e6, 1e6);
    expect("control group /inner", 5e5, 5e5);
    write_text("self/cgroup", "0::/../elsewhere\n");
    expect("control group /", 1e6, 1e6);
}

Test(free_memory, own_limits)
{
    struct rlimit limit = {.rlim_cur = UINT64_C(1) << 40, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    expect("RLIMIT_AS (ulimit -v)", 0x1p40, 0x1p40 - 300 * 1024);
}

/* The sentence has both figures, the ranks that share, and which limit it is. */
Test(free_memory, sentence)
{
    char text[512] = "";
    write_text("self/cgroup", "0::/job\n");
    write_mount("/", "unified", "cgroup2", "rw");
    write_group("unified/job", "memory.max", "5000000000", "memory.current", "1000000000", "");
    cr_expect(free_memory_has(2e9, 2, text, sizeof text), "%s", text);
    cr_expect_not(free_memory_has(2e9, 3, text, sizeof text));
    cr_expect(strstr(text, "(3) need 6 GB, and 4 GB are free of the 5 GB of control group /job"),
              "%s", text);
}

/* What arenas have promised and not used. */
Test(free_memory, untouched)
{
    enum { BYTES = 1 << 24 };
    arena a;
    size_t before = memory_untouched();
    cr_assert_eq(arena_open(&a, "test", BYTES), STATUS_OK);
    cr_expect_eq(memory_untouched() - before, BYTES);
    memset(arena_take(&a, BYTES), 1, BYTES);
    cr_expect_eq(memory_untouched(), before);
    arena_close(&a);
    cr_expect_eq(memory_untouched(), before);
}

/* An arena of nothing hands out nothing, without arithmetic on NULL. */
Test(free_memory, empty_arena)
{
    arena a;
    cr_assert_eq(arena_open(&a, "test", 0), STATUS_OK);
    cr_expect_null(arena_take(&a, 0));
    arena_close(&a);
}
