/* Training with EVON against implementations in float64 of their own
 * (fixtures/make_evon_fixture.py): what vario's checkpoint holds in the end, on any number of
 * ranks. */
#include "io/files/file.h"
#include "io/runs/job_checkpoint.h"
#include "train/read_job.h"
#include "trainer_fixture.h"

#include <math.h>

MPI_SUITE(evon, start, stop)

enum { TRAININGS = 2, NAME = 80 };

/* Of the largest difference, in units of what a tensor has learned (the fixture says which). */
static const double LIMIT = 1e-4;

/* What is left of a file. */
typedef struct {
    const char *at, *end;
} reader;

static const void *take(reader *r, size_t bytes)
{
    const void *here = r->at;
    cr_assert_leq(bytes, (size_t)(r->end - r->at), "the fixture is cut off");
    r->at += bytes;
    return here;
}

static uint32_t take_count(reader *r)
{
    uint32_t n;
    memcpy(&n, take(r, sizeof n), sizeof n);
    return n;
}

static const char *take_text(reader *r, size_t *length)
{
    *length = take_count(r);
    return take(r, *length);
}

static void take_name(reader *r, char name[NAME])
{
    size_t length;
    const char *text = take_text(r, &length);
    snprintf(name, NAME, "%.*s", (int)length, text);
}

static reader file_read(const char *path)
{
    reader r = {0};
    FILE *file = fopen(path, "rb");
    cr_assert(file, "%s", path);
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    char *text = calloc(bytes + 1, 1);
    rewind(file);
    cr_assert_eq(fread(text, 1, bytes, file), bytes);
    fclose(file);
    r.at = text;
    r.end = text + bytes;
    return r;
}

/* The fixture's job on its tokens; collective. */
static void read_training(reader *fixture, job *j)
{
    char train[160], valid[160], path[128];
    const char *const overrides[] = {train, valid};
    size_t length;
    const char *text = take_text(fixture, &length);
    uint32_t tokens = take_count(fixture);
    const void *values = take(fixture, tokens * sizeof(uint16_t));
    if (world.rank == 0) {
        write_file("job.yaml", text, length);
        write_file("tokens.bin", values, tokens * sizeof(uint16_t));
    }
    snprintf(path, sizeof path, "%s", path_of("job.yaml"));
    snprintf(train, sizeof train, "data.train=%s", path_of("tokens.bin"));
    snprintf(valid, sizeof valid, "data.valid=%s", path_of("tokens.bin"));
    status result = job_read_shared(&world, j, path, overrides, 2);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
}

static void save(running *x, const char *run)
{
    saved_array arrays[SAVED_ARRAYS];
    const state *s = &x->r.rounds.state;
    size_t count = state_saved_arrays(s, arrays);
    checkpoint_facts facts = {.steps = x->j.steps, .updates = s->updates, .seed = x->j.seed};
    checkpoint_writer *writer;
    status result =
        job_checkpoint_begin(&writer, world.checkpoint, run, &x->j, &facts, &x->r.rounds.p, arrays,
                             count, s->owned->owned, s->owned->owned_count);
    if (!result) result = checkpoint_finish(&writer, 0);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
}

static void train(const job *j, const char *run)
{
    static running x;
    step_result result;
    running_open(&x, *j, j->data.train, true);
    for (uint64_t t = 0; t < j->steps; t++) {
        cr_assert_eq(trainer_step(&x.r, x.data, t, true, &result, NULL), STATUS_OK);
        cr_expect_not(result.skipped);
    }
    save(&x, run);
    running_close(&x);
}

/* A tensor's values in a file of safetensors, which header and data stand in. */
static const char *find_tensor(const reader *file, const char *name, size_t count)
{
    char key[NAME + 4];
    uint64_t header;
    unsigned long long begin, end;
    memcpy(&header, file->at, sizeof header);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(file->at + 8, key);
    if (found) found = strstr(found, "\"data_offsets\":[");
    if (!found || sscanf(found, "\"data_offsets\":[%llu,%llu]", &begin, &end) != 2) return NULL;
    if (end - begin != count * sizeof(float)) return NULL;
    return file->at + 8 + header + begin;
}

static double difference(const char *found, const char *expected, size_t count)
{
    double max = 0.0;
    for (size_t i = 0; i < count; i++) {
        float a, b;
        memcpy(&a, found + i * sizeof a, sizeof a);
        memcpy(&b, expected + i * sizeof b, sizeof b);
        double off = fabs((double)a - (double)b);
        max = off <= max ? max : off; /* NaN stays */
    }
    return max;
}

/* On one rank. @return whether all arrays are as close as they should be */
static bool compare(reader *fixture, const char *step, bool looks)
{
    uint32_t arrays = take_count(fixture);
    char file_name[NAME], name[NAME], path[256];
    reader file = {0};
    bool good = arrays > 0;
    for (uint32_t a = 0; a < arrays; a++) {
        double typical;
        take_name(fixture, file_name);
        take_name(fixture, name);
        memcpy(&typical, take(fixture, sizeof typical), sizeof typical);
        uint32_t count = take_count(fixture);
        const char *expected = take(fixture, count * sizeof(float));
        if (!looks) continue;
        snprintf(path, sizeof path, "%s/%s", step, file_name);
        file = file_read(path);
        const char *found = find_tensor(&file, name, count);
        double off = found ? difference(found, expected, count) / typical : NAN;
        if (!(off <= LIMIT)) {
            fprintf(stderr, "%s of %s: off by %.3g times %.3g\n", name, file_name, off, typical);
            good = false;
        }
        free((void *)(size_t)file.at);
    }
    return good;
}

MPI_TEST(training_is_that_in_float64)
{
    reader fixture = file_read(TEST_DATA "/evon.bin");
    const char *all = fixture.at;
    cr_assert_eq(take_count(&fixture), TRAININGS);
    for (int i = 0; i < TRAININGS; i++) {
        job j;
        char run[128], step[160];
        read_training(&fixture, &j);
        snprintf(run, sizeof run, "%s", path_of(i ? "plain" : "whitened"));
        if (world.rank == 0) cr_assert_eq(file_make_directories(run), STATUS_OK);
        MPI_Barrier(world.world);
        train(&j, run);
        snprintf(step, sizeof step, "%s/step-%08llu", run, (unsigned long long)j.steps);
        bool good = compare(&fixture, step, world.rank == 0);
        cr_expect(everywhere(good), "training %d", i);
    }
    cr_assert_eq(fixture.at, fixture.end);
    free((void *)(size_t)all);
}

/* With the right checksums, as of another program's making. */
MPI_TEST(what_is_no_basis_is_refused)
{
    static running x;
    char run[128];
    checkpoint_facts facts;
    reader fixture = file_read(TEST_DATA "/evon.bin");
    const char *all = fixture.at;
    job j;
    cr_assert_eq(take_count(&fixture), TRAININGS);
    read_training(&fixture, &j);
    free((void *)(size_t)all);
    snprintf(run, sizeof run, "%s", path_of("skewed"));
    running_open(&x, j, j.data.train, true);
    if (world.rank == 0) cr_assert_eq(file_make_directories(run), STATUS_OK);
    MPI_Barrier(world.world);
    state *s = &x.r.rounds.state;
    for (size_t i = 0; i < s->sets[OF_BASES].count; i++) {
        const slice *part = &s->sets[OF_BASES].slices[i];
        const char *name = s->sets[OF_BASES].p.tensors[part->tensor].name;
        if (strcmp(name, "h.1.attn.c_attn.weight.right.2") == 0)
            s->bases.values[part->offset + 3] += 0.02F;
    }
    save(&x, run);
    status result = trainer_read(&x.r, run, &facts);
    bool named = result == STATUS_INPUT &&
                 strstr(status_message(), "tensor 'basis.h.1.attn.c_attn.weight.right.2' is no "
                                          "basis: orthonormal columns expected");
    cr_expect(everywhere(named), "%s", status_message());
    status_clear();
    running_close(&x);
}
