/* A small run whose values follow from their place: any rank can tell what any file must hold. */
#ifndef VARIO_TESTS_CHECKPOINT_FIXTURE_H
#define VARIO_TESTS_CHECKPOINT_FIXTURE_H

#include "io/files/file.h"
#include "io/runs/job_checkpoint.h"
#include "mpi_fixture.h"
#include "runtime/agree.h"
#include "runtime/sharding.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARRAYS = 3, PATH_LENGTH = 512 };

typedef struct {
    job job;
    parameters p;
    sharding s;
    saved_array arrays[ARRAYS];
    checkpoint_facts facts;
    char run[PATH_LENGTH];
    char used[2 * PATH_LENGTH]; /* by the last read */
} setup;

static const saved_array ivon_arrays[ARRAYS] = {
    {"model.safetensors", "", NULL, false, NULL},
    {"posterior.safetensors", "", NULL, false, NULL},
    {"optimizer.safetensors", "momentum.", NULL, false, NULL}};
static const saved_array adamw_arrays[ARRAYS] = {
    {"model.safetensors", "", NULL, false, NULL},
    {"optimizer.safetensors", "exp_avg.", NULL, false, NULL},
    {"optimizer.safetensors", "exp_avg_sq.", NULL, false, NULL}};

/* Neither tensors nor units are multiples of 256 elements, and chunks of ranks differ in size. */
static const gpt2_config small = {
    .n_layer = 2, .n_head = 2, .n_embd = 20, .block_size = 16, .vocab_size = 97, .bias = true};

static const char *in(char *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, 2 * PATH_LENGTH, format, arguments);
    va_end(arguments);
    return path;
}

static void make_run(char *run)
{
    strcpy(run, "/tmp/vario-test-checkpoint-XXXXXX");
    bool made = world.rank != 0 || mkdtemp(run);
    MPI_Bcast(run, PATH_LENGTH, MPI_BYTE, 0, world.world);
    cr_assert(everywhere(made));
}

static inline void setup_open(setup *t, const saved_array arrays[ARRAYS])
{
    memset(t, 0, sizeof *t);
    t->job = (job){.name = "a \"quoted\" name",
                   .seed = UINT64_MAX,
                   .output = "runs",
                   .model = {.gpt2 = small, .init = "scratch"},
                   .batch = {.sequences = 2, .length = 16, .microbatches = 5},
                   .steps = 100,
                   .optimizer = {.kind = OPTIMIZER_IVON, .ess = 1e6, .weight_decay = 1e-4},
                   .clip = {.norm = INFINITY, .update = INFINITY}};
    t->facts = (checkpoint_facts){.updates = 7,
                                  .skipped_in_row = 2,
                                  .seed = UINT64_MAX,
                                  .item = 1234567,
                                  .threads = 3,
                                  .ranks = (uint64_t)world.size,
                                  .instruction_set = "a \"quoted\" set",
                                  .libraries = "a\\b, c 1.0"};
    cr_assert_eq(gpt2_parameters(&t->p, &small), STATUS_OK);
    cr_assert_eq(sharding_open(&t->s, &t->p, (size_t)world.size, (size_t)world.rank), STATUS_OK);
    memcpy(t->arrays, arrays, sizeof t->arrays);
    for (int a = 0; a < ARRAYS; a++) t->arrays[a].values = calloc(t->s.elements + 1, sizeof(float));
    make_run(t->run);
}

static inline void setup_close(setup *t)
{
    MPI_Barrier(world.world);
    if (world.rank == 0) file_remove_tree(t->run);
    for (int a = 0; a < ARRAYS; a++) free(t->arrays[a].values);
    sharding_close(&t->s);
    parameters_close(&t->p);
}

/* What element index of array a holds after some step. */
static float value_of(uint64_t steps, size_t a, size_t index)
{
    uint64_t mixed = (steps * 31 + a * 7 + index + 1) * 0x9e3779b97f4a7c15u;
    return (float)(mixed >> 40) * 0x1p-20f - 8.0f;
}

static void set_values(setup *t, uint64_t steps)
{
    for (size_t a = 0; a < ARRAYS; a++)
        for (size_t i = 0; i < t->s.owned_count; i++) {
            const slice *s = &t->s.owned[i];
            for (size_t e = 0; e < s->count; e++)
                t->arrays[a].values[s->offset + e] = value_of(steps, a, slice_index(&t->p, s) + e);
        }
}

static void clear_values(setup *t)
{
    for (size_t a = 0; a < ARRAYS; a++)
        memset(t->arrays[a].values, 0xff, t->s.elements * sizeof(float));
}

static bool has_values(const float *values, const parameters *p, const slice *slices, size_t count,
                       uint64_t steps, size_t a)
{
    for (size_t i = 0; i < count; i++)
        for (size_t e = 0; e < slices[i].count; e++) {
            float expected = value_of(steps, a, slice_index(p, &slices[i]) + e);
            if (memcmp(&values[slices[i].offset + e], &expected, sizeof expected) != 0)
                return false;
        }
    return true;
}

static status begin(setup *t, checkpoint_writer **w, uint64_t steps)
{
    t->facts.steps = steps;
    set_values(t, steps);
    status result = job_checkpoint_begin(w, world.checkpoint, t->run, &t->job, &t->facts, &t->p,
                                         t->arrays, ARRAYS, t->s.owned, t->s.owned_count);
    clear_values(t); /* the writer has its copy */
    return result;
}

static status write_steps(setup *t, uint64_t steps, uint64_t keep)
{
    checkpoint_writer *w;
    status result = begin(t, &w, steps);
    return result ? result : checkpoint_finish(&w, keep);
}

static inline void must_write(setup *t, uint64_t steps, uint64_t keep)
{
    status result = write_steps(t, steps, keep);
    cr_assert(everywhere(result == STATUS_OK), "step %d: %s", (int)steps, status_message());
}

static status read_back(setup *t, checkpoint_facts *facts)
{
    memset(facts, 0, sizeof *facts);
    memset(t->used, 0, sizeof t->used);
    clear_values(t);
    return checkpoint_read(world.world, t->run, &t->p, t->arrays, ARRAYS, t->s.owned,
                           t->s.owned_count, facts, t->used, sizeof t->used);
}

/* The newest whole checkpoint is that of steps, with all of its values. */
static inline void must_read(setup *t, uint64_t steps)
{
    checkpoint_facts facts;
    char path[2 * PATH_LENGTH];
    status result = read_back(t, &facts);
    cr_assert(everywhere(result == STATUS_OK), "step %d: %s", (int)steps, status_message());
    bool same = facts.steps == steps && status_message()[0] == '\0' &&
                strcmp(t->used, in(path, "%s/step-%08" PRIu64, t->run, steps)) == 0;
    for (size_t a = 0; a < ARRAYS; a++)
        same =
            same && has_values(t->arrays[a].values, &t->p, t->s.owned, t->s.owned_count, steps, a);
    cr_assert(everywhere(same), "step %d expected, %s read", (int)steps, t->used);
}

/* Reading is refused on all ranks by a sentence with these words (NULL: no matter). */
static inline void must_refuse(setup *t, const char *what, const char *file, const char *place)
{
    checkpoint_facts facts;
    status result = read_back(t, &facts);
    bool named = result == STATUS_INPUT && (!file || strstr(status_message(), file)) &&
                 (!place || strstr(status_message(), place));
    cr_assert(everywhere(named), "%s: status %d, '%s' and '%s' expected in: %s", what, (int)result,
              file ? file : "", place ? place : "", status_message());
    status_clear();
}

typedef struct {
    char *bytes;
    size_t size;
} content;

static inline content load(const char *path)
{
    content c = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return c;
    fseek(file, 0, SEEK_END);
    c.size = (size_t)ftell(file);
    rewind(file);
    c.bytes = malloc(c.size + 1);
    c.size = fread(c.bytes, 1, c.size, file);
    c.bytes[c.size] = '\0';
    fclose(file);
    return c;
}

static inline bool store(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    bool good = file && fwrite(bytes, 1, size, file) == size;
    return file && fclose(file) == 0 && good;
}

/* Past the limit a write fails as one to a full disk does. */
static inline void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* A safetensors file as one process writes it, element after element: the arrays [first, end). */
static inline content build_file(const setup *t, uint64_t steps, size_t first, size_t end)
{
    content c = {0};
    FILE *out = open_memstream(&c.bytes, &c.size);
    uint64_t begin = 0;
    fprintf(out, "12345678{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t a = first; a < end; a++)
        for (size_t i = 0; i < t->p.tensor_count; i++) {
            const tensor *x = &t->p.tensors[i];
            fprintf(out, ",\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%zu", t->arrays[a].prefix,
                    x->name, x->shape[0]);
            if (x->dimensions == 2) fprintf(out, ",%zu", x->shape[1]);
            fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin,
                    begin + 4 * x->count);
            begin += 4 * x->count;
        }
    fprintf(out, "}");
    fflush(out);
    while (c.size % 8 != 0) {
        fprintf(out, " ");
        fflush(out);
    }
    uint64_t length = c.size - 8;
    for (size_t a = first; a < end; a++)
        for (size_t i = 0; i < t->p.count; i++) {
            float value = value_of(steps, a, i);
            fwrite(&value, sizeof value, 1, out);
        }
    fclose(out);
    for (int i = 0; i < 8; i++) c.bytes[i] = (char)(length >> 8 * i & 0xff);
    return c;
}

#endif
