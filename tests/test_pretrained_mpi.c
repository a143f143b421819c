/* Weights from elsewhere: files as others write them, element after element, and what is wrong with
 * some. */
#include "checkpoint_fixture.h"
#include "io/pretrained.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"

#include <xxhash.h>

MPI_SUITE(pretrained);

typedef enum { AS_F32, AS_F16, AS_BF16 } stored;

/* The patterns of binary16 that are finite, of both signs, in turn: 1940 weights see all exponents.
 */
static uint16_t half_bits(size_t index)
{
    return (uint16_t)(index * 37 % 0x7c00 | (index % 2) << 15);
}

/* The same by the definition: (-1)^s 2^(e-15) (1 + f/1024), and without the 1 where e is 0. */
static float half_value(uint16_t bits)
{
    int e = bits >> 10 & 31;
    double f = (bits & 1023) / 1024.0, x = e ? (1.0 + f) * pow(2.0, e - 15) : f * pow(2.0, -14);
    return (float)(bits >> 15 ? -x : x);
}

static float stored_value(stored as, size_t index)
{
    float value = value_of(5, 0, index);
    return as == AS_F32   ? value
           : as == AS_F16 ? half_value(half_bits(index))
                          : bf16_to_float(bf16_from_float(value));
}

static void put_value(FILE *out, stored as, size_t index, bool zero)
{
    float value = zero ? 0.0F : stored_value(as, index);
    bf16 half = zero ? 0 : as == AS_F16 ? half_bits(index) : bf16_from_float(value);
    if (as == AS_F32)
        fwrite(&value, sizeof value, 1, out);
    else
        fwrite(&half, sizeof half, 1, out);
}

static bool is_bias(const tensor *x)
{
    return strcmp(strrchr(x->name, '.'), ".bias") == 0;
}

/* What a file is to hold: the tensors i of p with i mod of = part. */
typedef struct {
    size_t part, of;
    stored as;
    const char *prefix, *more; /* before names; one more entry of the header */
    bool no_biases, zero_biases;
} plan;

static bool is_in(const plan *b, const parameters *p, size_t i)
{
    return i % b->of == b->part && !(b->no_biases && is_bias(&p->tensors[i]));
}

static content build(const parameters *p, plan b)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    content c = {0};
    FILE *out = open_memstream(&c.bytes, &c.size);
    size_t begin = 0, width = b.as == AS_F32 ? 4 : 2;
    fprintf(out, "12345678{\"__metadata__\":{\"format\":\"pt\"}%s", b.more ? b.more : "");
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *x = &p->tensors[i];
        if (!is_in(&b, p, i)) continue;
        fprintf(out, ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%zu", b.prefix ? b.prefix : "",
                x->name, names[b.as], x->shape[0]);
        if (x->dimensions == 2) fprintf(out, ",%zu", x->shape[1]);
        fprintf(out, "],\"data_offsets\":[%zu,%zu]}", begin, begin + width * x->count);
        begin += width * x->count;
    }
    fprintf(out, "}");
    fflush(out);
    uint64_t length = c.size - 8;
    for (size_t i = 0; i < p->tensor_count; i++)
        for (size_t e = 0; is_in(&b, p, i) && e < p->tensors[i].count; e++)
            put_value(out, b.as, p->tensors[i].index + e, b.zero_biases && is_bias(&p->tensors[i]));
    fclose(out);
    for (int i = 0; i < 8; i++) c.bytes[i] = (char)(length >> 8 * i & 0xff);
    return c;
}

/* Rank 0 writes a file of the folder; the others wait. */
static void put(const setup *t, const char *name, const char *bytes, size_t size)
{
    char path[2 * PATH_LENGTH];
    bool stored_it = world.rank != 0 || store(in(path, "%s/%s", t->run, name), bytes, size);
    cr_assert(everywhere(stored_it));
}

static void put_built(const setup *t, const parameters *p, const char *name, plan b)
{
    content c = build(p, b);
    put(t, name, c.bytes, c.size);
    free(c.bytes);
}

static void put_text(const setup *t, const char *name, const char *text)
{
    put(t, name, text, strlen(text));
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

static status import(setup *t, const gpt2_config *config, const char *path, uint64_t *checksum)
{
    pretrained *w;
    const model_config of = {.kind = MODEL_GPT2, .gpt2 = *config};
    clear_values(t);
    status result = pretrained_open(&w, world.world, path, &of);
    if (!result) result = pretrained_load(w, &t->arrays[0], t->s.owned, t->s.owned_count, checksum);
    pretrained_close(&w);
    return result;
}

/* Values by the numbers of the elements in `numbers`, whose tensors are those of t->p or more. */
static bool holds(const setup *t, const parameters *numbers, stored as, bool zero_biases)
{
    for (size_t i = 0; i < t->s.owned_count; i++) {
        const slice *s = &t->s.owned[i];
        const tensor *x = &t->p.tensors[s->tensor];
        size_t index = numbers->tensors[parameters_find(numbers, x->name)].index + s->first;
        for (size_t e = 0; e < s->count; e++) {
            float expected = zero_biases && is_bias(x) ? 0.0F : stored_value(as, index + e);
            if (memcmp(&t->arrays[0].values[s->offset + e], &expected, sizeof expected) != 0)
                return false;
        }
    }
    return true;
}

/* As one process has it, of whole tensors. */
static uint64_t whole_checksum(const parameters *p, stored as)
{
    uint64_t sums[p->tensor_count];
    float *values = malloc(p->count * sizeof *values);
    for (size_t i = 0; i < p->count; i++) values[i] = stored_value(as, i);
    for (size_t i = 0; i < p->tensor_count; i++) {
        const slice whole = {.tensor = i, .count = p->tensors[i].count};
        sums[i] = safetensors_checksum(p, &whole, values + p->tensors[i].index);
    }
    free(values);
    return XXH3_64bits(sums, sizeof sums);
}

static void must_import(setup *t, const char *path, stored as, const char *what)
{
    uint64_t checksum = 0;
    status result = import(t, &small, path, &checksum);
    cr_assert(everywhere(result == STATUS_OK), "%s: %s", what, status_message());
    cr_assert(everywhere(holds(t, &t->p, as, false)), "%s: other values", what);
    cr_assert(everywhere(checksum == whole_checksum(&t->p, as)), "%s: another checksum", what);
}

static void must_not_import(setup *t, const gpt2_config *config, const char *path, const char *name,
                            const char *words)
{
    uint64_t checksum;
    status result = import(t, config, path, &checksum);
    cr_assert(everywhere(result == STATUS_INPUT && strstr(status_message(), t->run) &&
                         strstr(status_message(), name) && strstr(status_message(), words)),
              "'%s' and '%s' expected in: %s", name, words, status_message());
    status_clear();
}

Test(pretrained, both_kinds_of_names_in_all_types)
{
    static const char *const more[] = {
        "", ",\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[97,20],\"data_offsets\":[0,7760]}",
        ",\"h.0.attn.bias\":{\"dtype\":\"BOOL\",\"shape\":[1,1],\"data_offsets\":[0,1]}"};
    setup t;
    setup_open(&t, ivon_arrays);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        for (stored as = AS_F32; as <= AS_BF16; as++) {
            const char *prefix = (i + as) % 2 ? "transformer." : "";
            put_built(&t, &t.p, "model.safetensors", (plan){0, 1, as, prefix, more[i], 0, 0});
            must_import(&t, t.run, as, more[i]);
        }
    setup_close(&t);
}

/* An index of the tensors, dealt out to three shards; `edit` changes one entry. */
static void put_shards(setup *t, stored as, size_t edited, const char *edit)
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
        put_built(t, &t->p, name, (plan){part, 3, as, "transformer.", NULL, 0, 0});
    }
}

Test(pretrained, shards)
{
    setup t;
    setup_open(&t, ivon_arrays);
    for (stored as = AS_F32; as <= AS_BF16; as++) {
        put_shards(&t, as, SIZE_MAX, "");
        must_import(&t, t.run, as, "shards");
    }
    put_shards(&t, AS_F16, 4, "shard-9.safetensors");
    must_not_import(&t, &small, t.run, "shard-9.safetensors", "No such file");
    put_shards(&t, AS_F16, 4, "../shard-1.safetensors");
    must_not_import(&t, &small, t.run, "index.json", "'../shard-1.safetensors' found");
    put_shards(&t, AS_F16, SIZE_MAX, "");
    put_built(&t, &t.p, "shard-1.safetensors", (plan){2, 3, AS_F16, "", NULL, 0, 0});
    must_not_import(&t, &small, t.run, "tensor 'h.0.ln_1.weight' found", "has too");
    put_built(&t, &t.p, "shard-1.safetensors", (plan){1, 6, AS_F16, "", NULL, 0, 0});
    must_not_import(&t, &small, t.run, "shard-1.safetensors: tensor 'h.0.attn.c_attn.weight'",
                    "index.json says, not found");
    put_shards(&t, AS_F16, SIZE_MAX, "");
    content c = build(&t.p, (plan){1, 3, AS_F16, "", NULL, 0, 0});
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

Test(pretrained, damaged_files)
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
    };
    setup t;
    setup_open(&t, ivon_arrays);
    content c = build(&t.p, (plan){0, 1, AS_F32, "", NULL, 0, 0});
    size_t header = 8 + (size_t)(unsigned char)c.bytes[0] + 256 * (size_t)(unsigned char)c.bytes[1];
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        content changed = {malloc(c.size), c.size};
        memcpy(changed.bytes, c.bytes, c.size);
        edit(&changed, edits[i].from, edits[i].to);
        put(&t, "model.safetensors", changed.bytes, changed.size);
        must_not_import(&t, &small, t.run, edits[i].name, edits[i].words);
        free(changed.bytes);
    }
    put(&t, "model.safetensors", c.bytes, c.size - 1);
    must_not_import(&t, &small, t.run, "'ln_f.bias'", "truncated");
    put(&t, "model.safetensors", c.bytes, header);
    must_not_import(&t, &small, t.run, "'wte.weight'", "truncated");
    for (size_t size = 0; size < header; size += size < 16 ? 1 : 61) {
        put(&t, "model.safetensors", c.bytes, size);
        must_not_import(&t, &small, t.run, "model.safetensors", "header");
    }
    const float bad = INFINITY;
    memcpy(c.bytes + header + 4 * 123, &bad, sizeof bad);
    put(&t, "model.safetensors", c.bytes, c.size);
    must_not_import(&t, &small, t.run, "'wte.weight': element 123 is inf", "finite");
    free(c.bytes);
    setup_close(&t);
}

Test(pretrained, of_another_model)
{
    gpt2_config deep = small, shallow = small;
    deep.n_layer = 3;
    shallow.n_layer = 1;
    setup t;
    setup_open(&t, ivon_arrays);
    must_not_import(&t, &small, t.run, "model.safetensors", "No such file");
    put_built(&t, &t.p, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, 0, 0});
    change_model(&t, &deep);
    must_not_import(&t, &deep, t.run, "'h.2.ln_1.weight'", "not found");
    change_model(&t, &shallow);
    must_not_import(&t, &shallow, t.run, "'h.1.ln_1.weight'", "does not have");
    setup_close(&t);
}

/* Zeros stand for no biases, both ways; nothing else does. */
Test(pretrained, biases)
{
    gpt2_config plain = small;
    parameters all;
    uint64_t checksum, other;
    setup t;
    plain.bias = false;
    setup_open(&t, ivon_arrays);
    cr_assert_eq(gpt2_parameters(&all, &small), STATUS_OK);
    put_built(&t, &all, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, true, false});
    status result = import(&t, &small, t.run, &checksum);
    cr_assert(everywhere(result == STATUS_OK && holds(&t, &all, AS_F32, true)), "%s",
              status_message());
    put_built(&t, &all, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, false, true});
    result = import(&t, &small, t.run, &other);
    cr_assert(everywhere(result == STATUS_OK && other == checksum));
    change_model(&t, &plain);
    result = import(&t, &plain, t.run, &checksum);
    cr_assert(everywhere(result == STATUS_OK && holds(&t, &all, AS_F32, false)), "%s",
              status_message());
    put_built(&t, &all, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, false, false});
    must_not_import(&t, &plain, t.run, ".bias'", "does not have");
    change_model(&t, &small);
    content c = build(&all, (plan){0, 1, AS_F32, "", NULL, false, false});
    edit(&c, "h.1.ln_2.bias", "h.1.attn.bias");
    put(&t, "model.safetensors", c.bytes, c.size);
    must_not_import(&t, &small, t.run, "'h.1.ln_2.bias'", "not found");
    free(c.bytes);
    parameters_close(&all);
    setup_close(&t);
}

Test(pretrained, configurations)
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
    put_built(&t, &t.p, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, 0, 0});
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
    put_text(&t, "config.json", "not JSON");
    must_not_import(&t, &small, t.run, "config.json", "JSON object expected");
    snprintf(text, sizeof text, "%s, \"n_inner\": null, \"activation_function\": \"gelu_new\"}",
             sizes);
    put_text(&t, "config.json", text);
    must_import(&t, t.run, AS_F32, "a good configuration");
    setup_close(&t);
}

enum { PADDED = 112 };

/* llm.c's file: the tensors of all layers kind by kind, linear layers the other way round. */
static content build_llmc(const parameters *p, const gpt2_config *config, int version)
{
    static const char *const kinds[] = {
        "ln_1.weight",        "ln_1.bias",        "attn.c_attn.weight", "attn.c_attn.bias",
        "attn.c_proj.weight", "attn.c_proj.bias", "ln_2.weight",        "ln_2.bias",
        "mlp.c_fc.weight",    "mlp.c_fc.bias",    "mlp.c_proj.weight",  "mlp.c_proj.bias"};
    const stored as = version == 3 ? AS_F32 : AS_BF16;
    int32_t header[256] = {20240326,
                           version,
                           (int32_t)config->block_size,
                           (int32_t)config->vocab_size,
                           (int32_t)config->n_layer,
                           (int32_t)config->n_head,
                           (int32_t)config->n_embd,
                           PADDED};
    content c = {0};
    FILE *out = open_memstream(&c.bytes, &c.size);
    fwrite(header, sizeof header, 1, out);
    for (size_t i = 0; i < PADDED * config->n_embd; i++)
        put_value(out, as, i < config->vocab_size * config->n_embd ? i : 7, false);
    for (size_t i = 0; i < p->tensors[1].count; i++)
        put_value(out, as, p->tensors[1].index + i, false);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t l = 0; l < config->n_layer; l++) {
            char name[64];
            snprintf(name, sizeof name, "h.%zu.%s", l, kinds[k]);
            const tensor *x = &p->tensors[parameters_find(p, name)];
            for (size_t o = 0; o < x->shape[1]; o++)
                for (size_t i = 0; i < x->shape[0]; i++)
                    put_value(out, as, x->index + i * x->shape[1] + o, false);
        }
    for (size_t i = p->tensors[p->tensor_count - 2].index; i < p->count; i++)
        put_value(out, as, i, false);
    fclose(out);
    return c;
}

static void put_header(setup *t, content *c, int entry, int32_t value)
{
    int32_t before;
    memcpy(&before, c->bytes + 4 * entry, 4);
    memcpy(c->bytes + 4 * entry, &value, 4);
    put(t, "llmc.bin", c->bytes, c->size);
    memcpy(c->bytes + 4 * entry, &before, 4);
}

Test(pretrained, llmc)
{
    static const struct {
        int entry;
        int32_t value;
        const char *words;
    } wrong[] = {{1, 2, "version 2 of llm.c's checkpoints found, 3 or 5 expected"},
                 {3, 96, "vocab_size is 96, 97 expected as in the model"},
                 {4, 3, "n_layer is 3, 2 expected as in the model"},
                 {5, 4, "n_head is 4, 2 expected as in the model"},
                 {5, 0, "n_head is 0, 1 to 1000 expected"},
                 {6, -20, "n_embd is -20, 1 to 65536 expected"},
                 {7, 90, "padded vocabulary of 90 tokens, at least vocab_size (97) expected"},
                 {7, 113, "truncated"},
                 {7, 111, "longer than its model"}};
    char path[2 * PATH_LENGTH];
    setup t;
    setup_open(&t, ivon_arrays);
    in(path, "%s/llmc.bin", t.run);
    for (int version = 5; version >= 3; version -= 2) {
        content c = build_llmc(&t.p, &small, version);
        put(&t, "llmc.bin", c.bytes, c.size);
        must_import(&t, path, version == 3 ? AS_F32 : AS_BF16, "llm.c");
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            put_header(&t, &c, wrong[i].entry, wrong[i].value);
            must_not_import(&t, &small, path, "llmc.bin", wrong[i].words);
        }
        put(&t, "llmc.bin", c.bytes, c.size - 1);
        must_not_import(&t, &small, path, "llmc.bin", "truncated");
        put(&t, "llmc.bin", c.bytes, 1000);
        must_not_import(&t, &small, path, "llmc.bin", "a header of 1024 bytes expected");
        free(c.bytes);
    }
    setup_close(&t);
}

Test(pretrained, sizes_of_what_is_there)
{
    gpt2_config found;
    char path[2 * PATH_LENGTH], text[1024];
    setup t;
    setup_open(&t, ivon_arrays);
    for (int without = 0; without < 2; without++) {
        put_built(&t, &t.p, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, without, 0});
        snprintf(text, sizeof text,
                 "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, \"n_embd\": 20, "
                 "\"n_positions\": 16, \"vocab_size\": 97}");
        put_text(&t, "config.json", text);
        status result = pretrained_model(&found, t.run);
        cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
        cr_assert(everywhere(found.n_layer == 2 && found.n_head == 2 && found.n_embd == 20 &&
                             found.block_size == 16 && found.vocab_size == 97 &&
                             found.bias == !without));
    }
    content c = build_llmc(&t.p, &small, 5);
    put(&t, "llmc.bin", c.bytes, c.size);
    status result = pretrained_model(&found, in(path, "%s/llmc.bin", t.run));
    cr_assert(everywhere(result == STATUS_OK && found.n_embd == 20 && found.vocab_size == 97 &&
                         found.bias),
              "%s", status_message());
    free(c.bytes);
    setup_close(&t);
}
