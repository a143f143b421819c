/* Checkpoints that are not as they were written: each refused, by a sentence that says where. */
#include "checkpoint_fixture.h"

MPI_SUITE(damage, NULL, NULL)

static size_t header_size(const content *c)
{
    size_t length = 0;
    for (int i = 0; i < 8; i++) length |= (size_t)(unsigned char)c->bytes[i] << 8 * i;
    return 8 + length;
}

/* Rank 0 replaces the file's content; the others wait. */
static void put(const char *path, const char *bytes, size_t size)
{
    bool stored = world.rank != 0 || store(path, bytes, size);
    cr_assert(everywhere(stored));
}

static void check_cut(setup *t, const char *path, const content *c, size_t size, const char *file,
                      const char *where)
{
    char what[64];
    snprintf(what, sizeof what, "cut to %zu bytes", size);
    put(path, c->bytes, size);
    must_refuse(t, what, file, where);
}

static void check_flip(setup *t, const char *path, content *c, size_t at, const char *file,
                       const char *where)
{
    char what[64], bit = (char)(1 << at % 8);
    snprintf(what, sizeof what, "another byte %zu", at);
    c->bytes[at] ^= bit;
    put(path, c->bytes, c->size);
    c->bytes[at] ^= bit;
    must_refuse(t, what, file, where);
}

/* A tensor of one array of the file, and the bytes it takes there. */
static size_t place(const setup *t, const content *c, size_t a, size_t first, size_t i,
                    char quoted[160])
{
    const tensor *x = &t->p.tensors[i];
    snprintf(quoted, 160, "'%s%s'", t->arrays[a].prefix, x->name);
    return header_size(c) + 4 * ((a - first) * t->p.count + x->index);
}

static content load_own(const setup *t, size_t a, char *path, char *file)
{
    in(file, "step-00000010/%s", t->arrays[a].file);
    in(path, "%s/%s", t->run, file);
    content c = load(path);
    bool read = c.size > 0;
    cr_assert(everywhere(read)); /* no rank edits it before all have read it */
    return c;
}

static void check_cuts(const saved_array arrays[ARRAYS], size_t first, size_t end)
{
    setup t;
    char path[2 * PATH_LENGTH], file[2 * PATH_LENGTH], quoted[160];
    setup_open(&t, arrays);
    must_write(&t, 10, 0);
    content c = load_own(&t, first, path, file);
    size_t header = header_size(&c), inside[] = {0, 7, 8, 9, header - 1};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        check_cut(&t, path, &c, inside[i], file, "header");
    for (size_t a = first; a < end; a++)
        for (size_t i = 0; i < t.p.tensor_count; i++) {
            size_t begin = place(&t, &c, a, first, i, quoted);
            check_cut(&t, path, &c, begin, file, quoted);
            check_cut(&t, path, &c, begin + 4 * t.p.tensors[i].count - 1, file, quoted);
        }
    put(path, c.bytes, c.size + 1); /* load ends with a NUL */
    must_refuse(&t, "a byte more", file, "altered");
    put(path, c.bytes, c.size);
    must_read(&t, 10);
    free(c.bytes);
    setup_close(&t);
}

MPI_TEST(cut_model)
{
    check_cuts(ivon_arrays, 0, 1);
}

MPI_TEST(cut_shared_file)
{
    check_cuts(adamw_arrays, 1, 3);
}

static void check_flips(const saved_array arrays[ARRAYS], size_t first, size_t end)
{
    setup t;
    char path[2 * PATH_LENGTH], file[2 * PATH_LENGTH], quoted[160];
    setup_open(&t, arrays);
    must_write(&t, 10, 0);
    content c = load_own(&t, first, path, file);
    size_t header = header_size(&c);
    for (size_t at = 0; at < header; at += at < 8 ? 1 : 97)
        check_flip(&t, path, &c, at, file, "header");
    check_flip(&t, path, &c, header - 1, file, "header");
    for (size_t a = first; a < end; a++)
        for (size_t i = 0; i < t.p.tensor_count; i++) {
            size_t begin = place(&t, &c, a, first, i, quoted);
            check_flip(&t, path, &c, begin, file, quoted);
            check_flip(&t, path, &c, begin + 4 * t.p.tensors[i].count - 1, file, quoted);
        }
    put(path, c.bytes, c.size);
    must_read(&t, 10);
    free(c.bytes);
    setup_close(&t);
}

MPI_TEST(other_bytes_in_model)
{
    check_flips(ivon_arrays, 0, 1);
}

MPI_TEST(other_bytes_in_posterior)
{
    check_flips(ivon_arrays, 1, 2);
}

MPI_TEST(other_bytes_in_shared_file)
{
    check_flips(adamw_arrays, 1, 3);
}

/* Two equal blocks that change places are noticed: checksums know where a block was. */
MPI_TEST(blocks_that_change_places)
{
    setup t;
    char path[2 * PATH_LENGTH], file[2 * PATH_LENGTH], block[1024], quoted[160];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    content c = load_own(&t, 0, path, file);
    char *begin = c.bytes + place(&t, &c, 0, 0, 0, quoted);
    memcpy(block, begin, sizeof block);
    memcpy(begin, begin + sizeof block, sizeof block);
    memcpy(begin + sizeof block, block, sizeof block);
    put(path, c.bytes, c.size);
    must_refuse(&t, "blocks changed places", file, quoted);
    free(c.bytes);
    setup_close(&t);
}

static void check_json(const char *name, size_t stride)
{
    setup t;
    char path[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    content c = load(in(path, "%s/step-00000010/%s", t.run, name));
    bool read = c.size > 0;
    cr_assert(everywhere(read));
    for (size_t at = 0; at < c.size; at += stride) {
        check_flip(&t, path, &c, at, name, NULL);
        check_cut(&t, path, &c, at, name, NULL);
    }
    for (size_t at = c.size - 24; at < c.size; at++) check_flip(&t, path, &c, at, name, NULL);
    check_cut(&t, path, &c, c.size - 1, name, NULL);
    put(path, c.bytes, c.size);
    must_read(&t, 10);
    free(c.bytes);
    setup_close(&t);
}

MPI_TEST(state)
{
    check_json("state.json", 131);
}

MPI_TEST(config)
{
    check_json("config.json", 37);
}

MPI_TEST(files_gone)
{
    static const char *const names[] = {"model.safetensors", "posterior.safetensors",
                                        "optimizer.safetensors", "state.json", "config.json"};
    setup t;
    char path[2 * PATH_LENGTH], away[2 * PATH_LENGTH];
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        in(path, "%s/step-00000010/%s", t.run, names[i]);
        in(away, "%s/away", t.run);
        bool moved = world.rank != 0 || rename(path, away) == 0;
        cr_assert(everywhere(moved));
        must_refuse(&t, "a file is gone", names[i], "No such file");
        moved = world.rank != 0 || rename(away, path) == 0;
        cr_assert(everywhere(moved));
    }
    must_read(&t, 10);
    setup_close(&t);
}

/* A whole checkpoint, but of another model. */
MPI_TEST(of_another_model)
{
    setup t;
    gpt2_config other = small;
    setup_open(&t, ivon_arrays);
    must_write(&t, 10, 0);
    sharding_close(&t.s);
    parameters_close(&t.p);
    other.vocab_size = 90;
    cr_assert_eq(gpt2_parameters(&t.p, &other), STATUS_OK);
    cr_assert_eq(sharding_open(&t.s, &t.p, (size_t)world.size, (size_t)world.rank), STATUS_OK);
    must_refuse(&t, "a smaller vocabulary", "model.safetensors", "another model");
    setup_close(&t);
}
