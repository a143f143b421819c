/* llm.c's checkpoint: 256 int32, then for each kind of tensor those of all layers. Linear layers
 * are stored as (out, in); rows of the vocabulary's padding are passed over. */
#include "io/files/file.h"
#include "io/jobs/job_schema.h"
#include "io/weights/pretrained_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 20240326, HEADER = 256, VERSION_F32 = 3, VERSION_BF16 = 5 };

/* Names of header entries are llm.c's. */
enum { BLOCK_SIZE = 2, VOCAB_SIZE, N_LAYER, N_HEAD, N_EMBD, PADDED_VOCAB_SIZE, HEADER_SIZES };

typedef struct {
    int32_t version, sizes[HEADER_SIZES];
    uint64_t bytes; /* of the file */
} llmc_header;

static status read_header(llmc_header *h, const char *path)
{
    unsigned char raw[4 * HEADER];
    FILE *file;
    *h = (llmc_header){0};
    status result = file_open_stream(&file, &h->bytes, path, "a checkpoint of llm.c");
    if (result) return result;
    size_t got = fread(raw, 1, sizeof raw, file);
    fclose(file);
    if (got != sizeof raw)
        return fail(STATUS_INPUT, "%s: truncated: a header of %zu bytes expected, %zu found", path,
                    sizeof raw, got);
    for (int i = 0; i < HEADER_SIZES; i++) {
        const unsigned char *b = raw + 4 * i;
        h->sizes[i] = (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
                                (uint32_t)b[3] << 24);
    }
    h->version = h->sizes[1];
    if (h->version == VERSION_F32 || h->version == VERSION_BF16) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: version %d of llm.c's checkpoints found, %d or %d expected",
                path, h->version, VERSION_F32, VERSION_BF16);
}

bool stored_is_llmc(const char *path)
{
    unsigned char raw[4] = {0};
    FILE *file;
    if (file_open_stream(&file, NULL, path, "a checkpoint of llm.c")) {
        status_clear();
        return false;
    }
    bool whole = fread(raw, 1, sizeof raw, file) == sizeof raw;
    fclose(file);
    return whole && ((uint32_t)raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 |
                     (uint32_t)raw[3] << 24) == MAGIC;
}

static status check_size(const llmc_header *h, const char *path, int entry, const char *key)
{
    const schema_row *row = schema_find(key);
    double found = h->sizes[entry];
    if (found >= row->min && found <= row->max) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: header: %s is %d, %.0f to %.0f expected", path,
                strchr(key, '.') + 1, h->sizes[entry], row->min, row->max);
}

static status check_sizes(const llmc_header *h, const char *path)
{
    status result = check_size(h, path, BLOCK_SIZE, "model.block_size");
    if (!result) result = check_size(h, path, VOCAB_SIZE, "model.vocab_size");
    if (!result) result = check_size(h, path, N_LAYER, "model.n_layer");
    if (!result) result = check_size(h, path, N_HEAD, "model.n_head");
    if (!result) result = check_size(h, path, N_EMBD, "model.n_embd");
    if (result) return result;
    if (h->sizes[PADDED_VOCAB_SIZE] < h->sizes[VOCAB_SIZE])
        return fail(STATUS_INPUT,
                    "%s: header: padded vocabulary of %d tokens, at least vocab_size (%d) expected",
                    path, h->sizes[PADDED_VOCAB_SIZE], h->sizes[VOCAB_SIZE]);
    if (h->sizes[N_EMBD] % h->sizes[N_HEAD])
        return fail(STATUS_INPUT, "%s: header: n_embd is %d, a multiple of n_head (%d) expected",
                    path, h->sizes[N_EMBD], h->sizes[N_HEAD]);
    return STATUS_OK;
}

status stored_llmc_model(gpt2_config *c, const char *path)
{
    llmc_header h;
    status result = read_header(&h, path);
    if (!result) result = check_sizes(&h, path);
    if (result) return result;
    *c = (gpt2_config){.n_layer = (size_t)h.sizes[N_LAYER],
                       .n_head = (size_t)h.sizes[N_HEAD],
                       .n_embd = (size_t)h.sizes[N_EMBD],
                       .block_size = (size_t)h.sizes[BLOCK_SIZE],
                       .vocab_size = (size_t)h.sizes[VOCAB_SIZE],
                       .bias = true};
    return STATUS_OK;
}

static status check_model(const llmc_header *h, const char *path, const gpt2_config *c)
{
    const struct {
        const char *name;
        int entry;
        size_t expected;
    } sizes[] = {{"block_size", BLOCK_SIZE, c->block_size},
                 {"vocab_size", VOCAB_SIZE, c->vocab_size},
                 {"n_layer", N_LAYER, c->n_layer},
                 {"n_head", N_HEAD, c->n_head},
                 {"n_embd", N_EMBD, c->n_embd}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((size_t)h->sizes[sizes[i].entry] != sizes[i].expected)
            return fail(STATUS_INPUT, "%s: header: %s is %d, %zu expected as in the model", path,
                        sizes[i].name, h->sizes[sizes[i].entry], sizes[i].expected);
    return STATUS_OK;
}

typedef struct {
    stored_tensor *found;
    const parameters *p;
    stored_type type;
    uint64_t offset; /* of the next tensor */
} placing;

static void pretrained_llmc_place(placing *at, const char *name, uint64_t count, bool transposed)
{
    at->found[parameters_find(at->p, name)] =
        (stored_tensor){.offset = at->offset, .type = at->type, .transposed = transposed};
    at->offset += count * stored_bytes(at->type);
}

static void place_all(placing *at, const gpt2_config *c, uint64_t padded_vocab)
{
    const uint64_t C = c->n_embd;
    const struct {
        const char *name;
        uint64_t count;
        bool transposed;
    } kinds[] = {{"ln_1.weight", C, false},
                 {"ln_1.bias", C, false},
                 {"attn.c_attn.weight", 3 * C * C, true},
                 {"attn.c_attn.bias", 3 * C, false},
                 {"attn.c_proj.weight", C * C, true},
                 {"attn.c_proj.bias", C, false},
                 {"ln_2.weight", C, false},
                 {"ln_2.bias", C, false},
                 {"mlp.c_fc.weight", 4 * C * C, true},
                 {"mlp.c_fc.bias", 4 * C, false},
                 {"mlp.c_proj.weight", 4 * C * C, true},
                 {"mlp.c_proj.bias", C, false}};
    char name[64];
    pretrained_llmc_place(at, "wte.weight", padded_vocab * C, false);
    pretrained_llmc_place(at, "wpe.weight", c->block_size * C, false);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t l = 0; l < c->n_layer; l++) {
            snprintf(name, sizeof name, "h.%zu.%s", l, kinds[k].name);
            pretrained_llmc_place(at, name, kinds[k].count, kinds[k].transposed);
        }
    pretrained_llmc_place(at, "ln_f.weight", C, false);
    pretrained_llmc_place(at, "ln_f.bias", C, false);
}

status stored_find_llmc(stored_tensor *found, stored_files *files, const char *path,
                        const parameters *p, const gpt2_config *c)
{
    llmc_header h;
    status result = read_header(&h, path);
    if (!result) result = check_sizes(&h, path);
    if (!result) result = check_model(&h, path, c);
    if (result) return result;
    placing at = {found, p, h.version == VERSION_F32 ? STORED_F32 : STORED_BF16, 4 * HEADER};
    place_all(&at, c, (uint64_t)h.sizes[PADDED_VOCAB_SIZE]);
    if (h.bytes != at.offset)
        return fail(STATUS_INPUT, "%s: %s: %" PRIu64 " bytes expected, %" PRIu64 " found", path,
                    h.bytes < at.offset ? "truncated" : "longer than its model", at.offset,
                    h.bytes);
    files->paths = calloc(1, sizeof *files->paths);
    if (!files->paths) return fail(STATUS_NOMEM, "memory for the name of a file");
    files->count = 1;
    snprintf(files->paths[0], sizeof files->paths[0], "%s", path);
    return STATUS_OK;
}
