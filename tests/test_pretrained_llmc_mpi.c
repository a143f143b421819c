/* llm.c's checkpoints, and the sizes of a model that a file of either kind tells. */
#include "pretrained_fixture.h"

MPI_SUITE(pretrained_llmc, NULL, NULL)

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

MPI_TEST(llmc)
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

MPI_TEST(sizes_of_what_is_there)
{
    gpt2_config found;
    char path[2 * PATH_LENGTH], text[1024];
    setup t;
    setup_open(&t, ivon_arrays);
    for (int without = 0; without < 2; without++) {
        put_built(&t, &t.p, "model.safetensors", (plan){0, 1, AS_F32, "", NULL, without, 0, 0});
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
