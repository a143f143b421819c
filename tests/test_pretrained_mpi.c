/* Weights from elsewhere in safetensors files: element after element, in shards, with and without
 * biases, and what is wrong with some. */
#include "pretrained_fixture.h"

MPI_SUITE(pretrained, NULL, NULL)

MPI_TEST(both_kinds_of_names_in_all_types)
{
    static const char *const more[] = {
        NULL, ",\"h.0.attn.bias\":{\"dtype\":\"BOOL\",\"shape\":[1,1],\"data_offsets\":[%zu,%zu]}"};
    static const size_t more_bytes[] = {0, 1};
    setup t;
    setup_open(&t, ivon_arrays);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        for (stored as = AS_F32; as <= AS_BF16; as++) {
            const char *prefix = (i + as) % 2 ? "transformer." : "";
            plan b = {0, 1, as, prefix, more[i], 0, 0, more_bytes[i]};
            put_built(&t, &t.p, "model.safetensors", b);
            must_import(&t, t.run, as, more[i] ? more[i] : "");
        }
    setup_close(&t);
}

/* An output layer is wte again, whatever type it has and whatever file it is in, or another
 * model's. */
MPI_TEST(output_layers)
{
    setup t;
    setup_open(&t, ivon_arrays);
    for (stored as = AS_F32; as <= AS_BF16; as++) {
        const plan b = {0, 1, as, as ? "" : "transformer.", NULL, 0, 0, 0};
        const output_layer same = {.as = as == AS_F16 ? AS_F16 : AS_F32, .columns = 20};
        put_built_with(&t, &t.p, "model.safetensors", b, &same);
        must_import(&t, t.run, as, "tied");
    }
    static const struct {
        output_layer head;
        const char *words;
    } wrong[] = {{{AS_F32, 20, 0.5F}, "element 1939 is "},
                 {{AS_F32, 20, NAN}, "element 1939 is nan"},
                 {{AS_F32, 21, 0.0F}, "shape [97, 20] expected, [97, 21]"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const plan b = {0, 1, AS_F32, "", NULL, 0, 0, 0};
        put_built_with(&t, &t.p, "model.safetensors", b, &wrong[i].head);
        must_not_import(&t, &small, t.run,
                        "model.safetensors: tensor 'lm_head.weight': ", wrong[i].words);
    }
    setup_close(&t);
}

/* An index of the tensors, dealt out to three shards; `edit` changes one entry, and one shard may
 * have an output layer too. */
static void put_shards_with(setup *t, stored as, size_t edited, const char *edit, size_t headed,
                            const output_layer *head)
{
    char name[32], text[1 << 14] = "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {";
    for (size_t i = 0; i < t->p.tensor_count; i++) {
        size_t at = strlen(text);
        snprintf(name, sizeof name, "shard-%zu.safetensors", i % 3);
        snprintf(text + at, sizeof text - at, "%s\"transformer.%s\": \"%s\"", i ? ", " : "",
                 t->p.tensors[i].name, i == edited ? edit : name);
    }
    strcat(text, "}}");
    put_text(t, "model.safetensors.index.json", text);
    for (size_t part = 0; part < 3; part++) {
        snprintf(name, sizeof name, "shard-%zu.safetensors", part);
        const plan b = {part, 3, as, "transformer.", NULL, 0, 0, 0};
        put_built_with(t, &t->p, name, b, part == headed ? head : NULL);
    }
}

static void put_shards(setup *t, stored as, size_t edited, const char *edit)
{
    put_shards_with(t, as, edited, edit, SIZE_MAX, NULL);
}

MPI_TEST(shards)
{
    setup t;
    setup_open(&t, ivon_arrays);
    for (stored as = AS_F32; as <= AS_BF16; as++) {
        put_shards(&t, as, SIZE_MAX, "");
        must_import(&t, t.run, as, "shards");
    }
    output_layer head = {.as = AS_F32, .columns = 20};
    put_shards_with(&t, AS_F32, SIZE_MAX, "", 2, &head);
    must_import(&t, t.run, AS_F32, "with an output layer in another shard than wte");
    head.added = 1.0F;
    put_shards_with(&t, AS_F32, SIZE_MAX, "", 2, &head);
    must_not_import(&t, &small, t.run, "shard-2.safetensors: tensor 'lm_head.weight'", "wte");
    put_shards(&t, AS_F16, 4, "shard-9.safetensors");
    must_not_import(&t, &small, t.run, "shard-9.safetensors", "No such file");
    put_shards(&t, AS_F16, 4, "../shard-1.safetensors");
    must_not_import(&t, &small, t.run, "index.json", "'../shard-1.safetensors' found");
    put_shards(&t, AS_F16, SIZE_MAX, "");
    put_built(&t, &t.p, "shard-1.safetensors", (plan){2, 3, AS_F16, "", NULL, 0, 0, 0});
    must_not_import(&t, &small, t.run, "tensor 'h.0.ln_1.weight' found", "has too");
    put_built(&t, &t.p, "shard-1.safetensors", (plan){1, 6, AS_F16, "", NULL, 0, 0, 0});
    must_not_import(&t, &small, t.run, "shard-1.safetensors: tensor 'h.0.attn.c_attn.weight'",
                    "index.json says, not found");
    put_shards(&t, AS_F16, SIZE_MAX, "");
    content c = build(&t.p, (plan){1, 3, AS_F16, "", NULL, 0, 0, 0});
    put(&t, "shard-1.safetensors", c.bytes, c.size - 1);
    must_not_import(&t, &small, t.run, "shard-1.safetensors",
                    "truncated in tensor 'h.1.mlp.c_proj.bias'");
    free(c.bytes);
    put_text(&t, "model.safetensors.index.json", "{\"weight_map\": {");
    must_not_import(&t, &small, t.run, "index.json", "'weight_map' expected");
    put_text(&t, "model.safetensors.index.json", "{\"weight_map\": {}}");
    must_not_import(&t, &small, t.run, "index.json", "empty");
    setup_close(&t);
}

/* Change the header's text without changing its length. */
static void edit(content *c, const char *from, const char *to)
{
    cr_assert_eq(strlen(from), strlen(to));
    char *at = NULL;
    for (size_t i = 8; i + strlen(from) <= c->size && !at; i++)
        if (memcmp(c->bytes + i, from, strlen(from)) == 0) at = c->bytes + i;
    cr_assert(at, "%s expected in the header", from);
    memcpy(at, to, strlen(to));
}

/* All tensors are where they should be, and yet the data are not theirs alone. */
static void refuse_ranges(setup *t)
{
    static const struct {
        const char *more;
        size_t bytes;
        const char *words;
    } wrong[] = {
        {",\"h.0.attn.bias\":{\"data_offsets\":[0,1]}", 0,
         "tensors 'h.0.attn.bias' and 'wte.weight' overlap: bytes 0 to 1 and 0 to 7760"},
        {",\"h.0.attn.bias\":{\"data_offsets\":[7761,7770]}", 0, "'h.0.attn.bias' overlap"},
        {",\"h.0.attn.bias\":{\"data_offsets\":[7760]}", 0,
         "tensor 'h.0.attn.bias': data_offsets of two whole numbers expected"},
        {",\"h.0.attn.bias\":{\"data_offsets\":[1%zu,1%zu]}", 1,
         "'ln_f.bias' and 'h.0.attn.bias' leave a hole"},
        {"", 5, "more behind tensor 'ln_f.bias'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        plan b = {0, 1, AS_F32, "", wrong[i].more, 0, 0, wrong[i].bytes};
        put_built(t, &t->p, "model.safetensors", b);
        must_not_import(t, &small, t->run, "model.safetensors", wrong[i].words);
    }
}

MPI_TEST(damaged_files)
{
    static const struct {
        const char *from, *to, *name, *words;
    } edits[] = {
        {"\"F32\",\"shape\":[97", "\"I32\",\"shape\":[97", "'wte.weight'", "I32 found"},
        {"\"F32\",\"shape\":[97", "\"F16\",\"shape\":[97", "'wte.weight'", "3880 bytes"},
        {"[97,20]", "[20,97]", "'wte.weight'", "[97, 20] expected, [20, 97] found"},
        {"\"shape\":[20]", "\"shape\":[21]", "'h.0.ln_1.weight'", "[20] expected, [21] found"},
        {"wpe.weight", "wpe.Weight", "'wpe.Weight'", "does not have"},
        {"[0,7760]", "[0,7764]", "'wte.weight'", "7764"},
        {"[0,7760]", "[4,7760]", "'wte.weight'", "7760"},
        {"[0,7760]", "[-7,753]", "'wte.weight'", "bytes"},
        {"{\"__meta", "[\"__meta", "", "header"},
        {"\"h.1.ln_2.bias\"", "\"h.0.ln_2.bias\"", "", "duplicate object key"},
    };
    setup t;
    setup_open(&t, ivon_arrays);
    content c = build(&t.p, (plan){0, 1, AS_F32, "", NULL, 0, 0, 0});
    size_t header = 8 + (size_t)(unsigned char)c.bytes[0] + 256 * (size_t)(unsigned char)c.bytes[1];
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        content changed = {malloc(c.size), c.size};
        memcpy(changed.bytes, c.bytes, c.size);
        edit(&changed, edits[i].from, edits[i].to);
        put(&t, "model.safetensors", changed.bytes, changed.size);
        must_not_import(&t, &small, t.run, edits[i].name, edits[i].words);
        free(changed.bytes);
    }
    refuse_ranges(&t);
    put(&t, "model.safetensors", c.bytes, c.size - 1);
    must_not_import(&t, &small, t.run, "'ln_f.bias'", "truncated");
    put(&t, "model.safetensors", c.bytes, header);
    must_not_import(&t, &small, t.run, "'wte.weight'", "truncated");
    static const char *const pages[][2] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 548105171\n",
         "a Git LFS pointer found"},
        {"\n <!DOCTYPE html>\n<html><head><title>Log in</title>", "an HTML page found"},
    };
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        put_text(&t, "model.safetensors", pages[i][0]);
        must_not_import(&t, &small, t.run, "model.safetensors", pages[i][1]);
        char path[2 * PATH_LENGTH];
        must_not_import(&t, &small, in(path, "%s/%s", t.run, "model.safetensors"),
                        "model.safetensors", pages[i][1]);
    }
    for (size_t size = 0; size < header; size += size < 16 ? 1 : 61) {
        put(&t, "model.safetensors", c.bytes, size);
        must_not_import(&t, &small, t.run, "model.safetensors", "header");
    }
    free(c.bytes);
    setup_close(&t);
}

/* Infinities and NaNs of every type. */
MPI_TEST(values_that_are_not_finite)
{
    static const struct {
        stored as;
        uint32_t bits;
        const char *words;
    } bad[] = {{AS_F32, 0x7f800000, "is inf"}, {AS_F32, 0x7fc00000, "is nan"},
               {AS_F16, 0xfc00, "is -inf"},    {AS_F16, 0x7c01, "is nan"},
               {AS_BF16, 0xff80, "is -inf"},   {AS_BF16, 0x7fc0, "is nan"}};
    setup t;
    setup_open(&t, ivon_arrays);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        content c = build(&t.p, (plan){0, 1, bad[i].as, "", NULL, 0, 0, 0});
        size_t width = bad[i].as == AS_F32 ? 4 : 2;
        memcpy(c.bytes + c.size - width, &bad[i].bits, width);
        put(&t, "model.safetensors", c.bytes, c.size);
        must_not_import(&t, &small, t.run, "'ln_f.bias': element 19 ", bad[i].words);
        free(c.bytes);
    }
    setup_close(&t);
}

/* Another model for the setup, in whose order values are counted. */
static void change_model(setup *t, const gpt2_config *config)
{
    sharding_close(&t->s);
    parameters_close(&t->p);
    cr_assert_eq(gpt2_parameters(&t->p, config), STATUS_OK);
    cr_assert_eq(sharding_open(&t->s, &t->p, (size_t)world.size, (size_t)world.rank), STATUS_OK);
    for (int a = 0; a < ARRAYS; a++) {
        free(t->arrays[a].values);
        t->arrays[a].values = calloc(t->s.elements + 1, sizeof(float));
    }
}

MPI_TEST(of_another_model)
{
    gpt2_config deep = small, shallow = small;
    deep.n_layer = 3;
    shallow.n_layer = 1;
    setup t;
    setup_open(&t, ivon_arrays);
    must_not_import(&t, &small, t.run, "model.safetensors", "No such file");
    put_built(&t, &t.p, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, 0, 0, 0});
    change_model(&t, &deep);
    must_not_import(&t, &deep, t.run, "'h.2.ln_1.weight'", "not found");
    change_model(&t, &shallow);
    must_not_import(&t, &shallow, t.run, "'h.1.ln_1.weight'", "does not have");
    setup_close(&t);
}

/* Zeros stand for no biases, both ways; nothing else does. */
MPI_TEST(biases)
{
    gpt2_config plain = small;
    parameters all;
    uint64_t checksum, other;
    setup t;
    plain.bias = false;
    setup_open(&t, ivon_arrays);
    cr_assert_eq(gpt2_parameters(&all, &small), STATUS_OK);
    put_built(&t, &all, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, true, false, 0});
    status result = import(&t, &small, t.run, &checksum);
    cr_assert(everywhere(result == STATUS_OK && holds(&t, &all, AS_F32, true)), "%s",
              status_message());
    put_built(&t, &all, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, false, true, 0});
    result = import(&t, &small, t.run, &other);
    cr_assert(everywhere(result == STATUS_OK && other == checksum));
    change_model(&t, &plain);
    result = import(&t, &plain, t.run, &checksum);
    cr_assert(everywhere(result == STATUS_OK && holds(&t, &all, AS_F32, false)), "%s",
              status_message());
    put_built(&t, &all, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, false, false, 0});
    must_not_import(&t, &plain, t.run, ".bias'", "does not have");
    change_model(&t, &small);
    content c = build(&all, (plan){0, 1, AS_F32, "", NULL, false, false, 0});
    edit(&c, "h.1.ln_2.bias", "h.1.attn.bias");
    put(&t, "model.safetensors", c.bytes, c.size);
    must_not_import(&t, &small, t.run, "'h.1.ln_2.bias'", "not found");
    free(c.bytes);
    parameters_close(&all);
    setup_close(&t);
}

MPI_TEST(configurations)
{
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"{\"model_type\": \"llama\"", "'model_type' is \"llama\", \"gpt2\" expected"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 0", "'n_layer' is 0, 1 to 1000 expected"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_embd\": 20", "'n_head' expected"},
    };
    static const struct {
        const char *member, *words;
    } facts[] = {
        {"\"n_head\": 4", "'n_head' is 4, 2 expected as in the model"},
        {"\"n_head\": 3", "a multiple of n_head (3) expected"},
        {"\"activation_function\": \"relu\"", "\"relu\", \"gelu_new\" expected"},
        {"\"layer_norm_epsilon\": 0.001", "'layer_norm_epsilon' is 0.001, 1e-05 expected"},
        {"\"n_inner\": 60", "'n_inner' is 60, 80 expected"},
        {"\"tie_word_embeddings\": false", "'tie_word_embeddings' is false, true expected"},
        {"\"scale_attn_weights\": false", "'scale_attn_weights' is false"},
        {"\"scale_attn_by_inverse_layer_idx\": true", "is true, false expected"},
    };
    static const char sizes[] = "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, "
                                "\"n_embd\": 20, \"n_positions\": 16, \"vocab_size\": 97";
    char text[1024];
    setup t;
    setup_open(&t, ivon_arrays);
    put_built(&t, &t.p, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, 0, 0, 0});
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text, "%s}", wrong[i].text);
        put_text(&t, "config.json", text);
        must_not_import(&t, &small, t.run, "config.json", wrong[i].words);
    }
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        snprintf(text, sizeof text, "%s, %s}", sizes, facts[i].member);
        put_text(&t, "config.json", text);
        must_not_import(&t, &small, t.run, "config.json", facts[i].words);
    }
    put_text(&t, "config.json",
             "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 665\n");
    must_not_import(&t, &small, t.run, "config.json", "a Git LFS pointer found");
    put_text(&t, "config.json", "not JSON");
    must_not_import(&t, &small, t.run, "config.json:1:", "JSON expected");
    snprintf(text, sizeof text,
             "\xef\xbb\xbf%s, \"n_inner\": null, \"not_read\": [NaN, -Infinity, 1e999, "
             "18446744073709551616], \"activation_function\": \"gelu_new\"}",
             sizes);
    put_text(&t, "config.json", text);
    must_import(&t, t.run, AS_F32, "a good configuration");
    setup_close(&t);
}
