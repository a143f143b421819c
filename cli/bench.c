/* vario bench: what this machine can do, and how near to it training comes. */
#include "bench/cluster.h"
#include "bench/decode.h"
#include "bench/dense.h"
#include "bench/encode.h"
#include "bench/loops.h"
#include "bench/steps.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/files/file.h"
#include "kernels/ceiling.h"
#include "kernels/kernels.h"
#include "runtime/agree.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t sequences, length, microbatches, steps, layers;
    const char *optimizer, *reference, *rows, *pytorch, *llmc, *text, *tokenizer, *out;
    bool json, fp32, busy, package;
} arguments;

enum { STEPS_MAX = 64 };

typedef struct {
    session *s;
    const arguments *a;
    report *r;
    comm alone;
    machine_memory memory; /* measured when a section asks */
} bench;

/* OPTIMIZER_KINDS: none has this name. */
static optimizer_kind optimizer_named(const char *name)
{
    int kind = 0;
    while (kind < OPTIMIZER_KINDS && strcmp(optimizer_row((optimizer_kind)kind)->name, name) != 0)
        kind++;
    return (optimizer_kind)kind;
}

static bench_size chosen_size(const arguments *a)
{
    bench_size size = bench_size_124m();
    size.model.n_layer = a->layers;
    size.sequences = a->sequences;
    size.length = a->length;
    size.microbatches = a->microbatches;
    size.steps = a->steps;
    size.precision = a->fp32 ? DTYPE_F32 : DTYPE_BF16;
    size.optimizer = optimizer_named(a->optimizer);
    return size;
}

static const machine_memory *memory_of(bench *b)
{
    if (b->memory.copy == 0.0) b->memory = machine_memory_rates();
    return &b->memory;
}

static void product_row(bench *b, dtype type, const char *name)
{
    report_add(b->r, name, ceiling_product_rate(type), "GFLOP/s", machine_multiply_add(type));
}

static status section_ceilings(bench *b)
{
    product_row(b, DTYPE_F32, "products fp32, packed; multiply-adds in registers");
    if (b->s->bf16) product_row(b, DTYPE_BF16, "products bf16, packed; multiply-adds in registers");
    report_add(b->r, "memory, a = b + s c", memory_of(b)->triad, "GB/s", NAN);
    report_add(b->r, "memory, a = b", b->memory.copy, "GB/s", NAN);
    report_add(b->r, "memory, a = s a + b", b->memory.update, "GB/s", NAN);
    return STATUS_OK;
}

static status section_kernels(bench *b)
{
    return bench_kernels(b->r, memory_of(b), b->a->fp32 ? DTYPE_F32 : DTYPE_BF16);
}

static status section_optimizer(bench *b)
{
    return bench_optimizer(b->r, memory_of(b));
}

static status section_step(bench *b)
{
    bench_size size = chosen_size(b->a);
    char name[REPORT_TEXT];
    snprintf(name, sizeof name, "%zu layers %s %zu x %zu", size.model.n_layer,
             size.precision == DTYPE_BF16 ? "bf16" : "fp32", (size_t)size.sequences,
             (size_t)size.length);
    return bench_steps(b->r, &b->alone, name, &size);
}

/* The sizes that claims are made of, whatever the arguments say. */
static status section_steps(bench *b)
{
    static const struct {
        const char *name;
        dtype precision;
        uint64_t microbatches, sequences, length, steps;
    } rows[] = {
        {"124M bf16 4 x 1024", DTYPE_BF16, 1, 4, 1024, 5},
        {"124M bf16 4 x (4 x 1024)", DTYPE_BF16, 4, 4, 1024, 2},
        {"124M bf16 1 x 1024", DTYPE_BF16, 1, 1, 1024, 9},
        {"124M bf16 1 x 256", DTYPE_BF16, 1, 1, 256, 15},
        {"124M fp32 4 x 1024", DTYPE_F32, 1, 4, 1024, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bench_size size = bench_size_124m();
        size.precision = rows[i].precision;
        size.microbatches = rows[i].microbatches;
        size.sequences = rows[i].sequences;
        size.length = rows[i].length;
        size.steps = rows[i].steps;
        size.optimizer = optimizer_named(b->a->optimizer);
        if (size.precision == DTYPE_BF16 && !b->s->bf16) continue;
        status result = bench_steps(b->r, &b->alone, rows[i].name, &size);
        if (result) return result;
    }
    return STATUS_OK;
}

static bench_size small_size(void)
{
    return (bench_size){
        .model = {.n_layer = 4, .n_head = 4, .n_embd = 128, .block_size = 64, .vocab_size = 256},
        .sequences = 12,
        .length = 64,
        .microbatches = 1,
        .precision = DTYPE_F32,
        .shard = SHARD_GRADIENTS,
        .steps = STEPS_MAX};
}

static status section_small(bench *b)
{
    int threads = omp_get_max_threads();
    bench_size size = small_size();
    bench_threads(1);
    status result = bench_steps(b->r, &b->alone, "4 layers of 128, fp32 12 x 64, 1 thread", &size);
    bench_threads(threads);
    return result;
}

/* One size beside PyTorch with both optimizers and, where told, beside llm.c at its own size. */
static status peers_of(bench *b, const char *name, const bench_size *size, bool llmc)
{
    static const char *const kinds[] = {"adamw", "ivon", "package"};
    static const char *const names[] = {"tokens/s, PyTorch's AdamW", "tokens/s, PyTorch's IVON",
                                        "tokens/s, PyTorch's ivon package"};
    char commands[3][512];
    bench_peer peers[4];
    size_t count = 0, pytorch = !b->a->pytorch ? 0 : b->a->package ? 3 : 2;
    for (size_t i = 0; i < pytorch; i++) {
        snprintf(commands[i], sizeof commands[i],
                 "%s --kind %s --layers %zu --heads %zu --width %zu --vocabulary %zu --sequences "
                 "%llu --length %llu --microbatches %llu --threads %d --steps %llu%s",
                 b->a->pytorch, kinds[i], size->model.n_layer, size->model.n_head,
                 size->model.n_embd, size->model.vocab_size, (unsigned long long)size->sequences,
                 (unsigned long long)size->length, (unsigned long long)size->microbatches,
                 omp_get_max_threads(), (unsigned long long)size->steps,
                 size->precision == DTYPE_F32 ? " --fp32" : "");
        peers[count++] = (bench_peer){names[i], commands[i]};
    }
    if (b->a->llmc && llmc)
        peers[count++] = (bench_peer){"tokens/s, llm.c's at 4 x 64", b->a->llmc};
    if (count == 0) return STATUS_OK;
    return bench_peers(b->r, &b->alone, name, size, peers, count);
}

static status section_peers(bench *b)
{
    int threads = omp_get_max_threads();
    bench_size size = bench_size_124m();
    if (!b->a->pytorch && !b->a->llmc)
        return fail(STATUS_INPUT, "vario bench: peers: --pytorch or --llmc expected");
    if (!b->s->bf16) size.precision = DTYPE_F32;
    size.steps = 3;
    status result = peers_of(b, "124M 4 x 1024", &size, true);
    size.sequences = 1;
    if (!result) result = peers_of(b, "124M 1 x 1024", &size, false);
    bench_threads(1);
    size = small_size();
    size.steps = STEPS_MAX / 2;
    if (!result) result = peers_of(b, "4 layers of 128, fp32 12 x 64, 1 thread", &size, false);
    bench_threads(threads);
    return result;
}

static status section_memory(bench *b)
{
    bench_size size = chosen_size(b->a);
    size.microbatches = 2;
    double none, block;
    status result = bench_memory(b->r, &b->alone, "recompute none", &size, &none);
    size.recompute = RECOMPUTE_BLOCK;
    if (!result) result = bench_memory(b->r, &b->alone, "recompute block", &size, &block);
    if (!result) report_add(b->r, "step with recompute block, with none", block, "s", none);
    return result;
}

static status section_decode(bench *b)
{
    bench_size size = bench_size_124m();
    return bench_decode(b->r, &size.model, b->a->fp32 ? DTYPE_F32 : DTYPE_BF16);
}

static status section_tokenizer(bench *b)
{
    return bench_encode(b->r, b->a->text, b->a->tokenizer);
}

static status section_start(bench *b)
{
    bench_size size = chosen_size(b->a);
    return bench_start(b->r, &b->alone, &size);
}

static status section_ranks(bench *b)
{
    bench_size size = chosen_size(b->a);
    size.microbatches = 2;
    if (b->s->c.size < 2)
        return fail(STATUS_INPUT,
                    "vario bench: ranks: a launch of at least 2 ranks expected, 1 found");
    return bench_ranks(b->r, &b->s->c, &b->alone, &size, b->s->threads);
}

static status section_exact(bench *b)
{
    return bench_dense(b->r, &b->s->c, b->s->threads);
}

static void print_cluster(FILE *out, const void *context)
{
    fputs("# vario bench cluster: of a node's ranks, all at work at the same time. Add hour: (its "
          "price) and watts:.\n",
          out);
    cluster_write(out, context);
}

static status section_cluster(bench *b)
{
    cluster found;
    status result = bench_cluster(b->r, &b->s->c, &b->alone, !b->a->fp32, &found);
    if (result || b->s->c.rank != 0 || !b->a->out) return result;
    return file_print_atomic(b->a->out, print_cluster, &found);
}

typedef struct {
    const char *name;
    status (*run)(bench *);
    bool all_ranks; /* others sleep through the rest */
} section;

static const section sections[] = {
    {"start", section_start, false},         {"ceilings", section_ceilings, false},
    {"optimizer", section_optimizer, false}, {"kernels", section_kernels, false},
    {"step", section_step, false},           {"steps", section_steps, false},
    {"small", section_small, false},         {"peers", section_peers, false},
    {"memory", section_memory, false},       {"decode", section_decode, false},
    {"tokenizer", section_tokenizer, false}, {"ranks", section_ranks, true},
    {"exact", section_exact, true},          {"cluster", section_cluster, true},
};

enum { SECTIONS = sizeof sections / sizeof sections[0] };

static const section *find_section(const char *name)
{
    for (size_t i = 0; i < SECTIONS; i++)
        if (strcmp(sections[i].name, name) == 0) return &sections[i];
    return NULL;
}

/* Share of the processors' time that others used during half a second of our sleep. */
static double busy_share(void)
{
    unsigned long long before[2] = {0}, after[2] = {0}; /* all, idle */
    for (int i = 0; i < 2; i++) {
        unsigned long long *out = i ? after : before, v[8] = {0};
        FILE *file = fopen("/proc/stat", "r");
        if (!file) return 0.0;
        int found = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
                           &v[3], &v[4], &v[5], &v[6], &v[7]);
        fclose(file);
        if (found != 8) return 0.0;
        for (int k = 0; k < 8; k++) out[0] += v[k];
        out[1] = v[3] + v[4];
        if (i == 0) usleep(500000);
    }
    return after[0] > before[0]
               ? 1.0 - (double)(after[1] - before[1]) / (double)(after[0] - before[0])
               : 0.0;
}

static status check_quiet(session *s, const arguments *a)
{
    comm_barrier(&s->c); /* nobody spins */
    double busy = a->busy ? 0.0 : busy_share();
    if (busy <= 0.1) return STATUS_OK;
    return fail(STATUS_PEER,
                "vario bench: %.0f%% of the processors' time is used by others, at most 10%% "
                "expected (--busy measures all the same)",
                100.0 * busy);
}

static status check_arguments(const arguments *a, const char **names, size_t count)
{
    if (a->steps == 0 || a->steps > STEPS_MAX)
        return fail(STATUS_INPUT, "vario bench: --steps %llu found, 1 to %d expected",
                    (unsigned long long)a->steps, STEPS_MAX);
    if (a->sequences == 0 || a->length == 0 || a->length > 1024 || a->layers == 0 ||
        a->microbatches == 0)
        return fail(
            STATUS_INPUT,
            "vario bench: sequences, micro-batches and layers from 1 and a length from 1 to "
            "1024 expected");
    optimizer_kind kind = optimizer_named(a->optimizer);
    if (kind == OPTIMIZER_KINDS)
        return fail(STATUS_INPUT, "vario bench: --optimizer %s found, one of %s expected",
                    a->optimizer, OPTIMIZER_NAMES);
    for (size_t i = 0; i < count; i++)
        if (!find_section(names[i]))
            return fail(STATUS_INPUT,
                        "vario bench: section '%s' found, start, ceilings, optimizer, kernels, "
                        "step, steps, small, peers, memory, decode, tokenizer, ranks, exact or "
                        "cluster expected",
                        names[i]);
    return STATUS_OK;
}

static bool is_chosen(const section *one, const char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (find_section(names[i]) == one) return true;
    return false;
}

/* In the order of the table, whatever that of the names: the start comes first. */
static status run_sections(bench *b, const char **names, size_t count)
{
    status result = STATUS_OK;
    bool checked = false;
    for (size_t i = 0; i < SECTIONS && !result; i++) {
        const section *one = &sections[i];
        if (!is_chosen(one, names, count)) continue;
        if (one->run != section_start && !checked) { /* which would count it */
            checked = true;
            result = agree(b->s->c.world, check_quiet(b->s, b->a));
            if (result) break;
        }
        bench_threads(one->all_ranks ? b->s->threads : b->s->threads * b->s->c.size);
        if (one->all_ranks || b->s->c.rank == 0) result = one->run(b);
        if (!one->all_ranks) comm_barrier(&b->s->c);
        result = agree(b->s->c.world, result);
    }
    return result;
}

static status bench_verb(session *s, void *context, const char **names)
{
    static const char *usual[] = {"ceilings", "step"};
    arguments *a = context;
    size_t count = 0;
    while (names[count]) count++;
    status result = agree(s->c.world, check_arguments(a, names, count));
    if (!result) result = session_compute(s, 0, false);
    if (result) return result;
    if (!s->bf16) a->fp32 = true;
    report r = {.speaks = s->c.rank == 0, .json = a->json, .path = a->rows};
    if (a->reference) result = agree(s->c.world, report_reference(&r, a->reference));
    if (result) return result;
    if (r.speaks && !a->json)
        printf("threads %d, %s, %s\n\n", s->threads, kernels_instruction_set(),
               kernels_library_version());
    bench b = {.s = s, .a = a, .r = &r, .alone = comm_alone()};
    result = count ? run_sections(&b, names, count)
                   : run_sections(&b, usual, sizeof usual / sizeof usual[0]);
    status closed = agree(s->c.world, report_close(&r));
    return result ? result : closed;
}

int bench_main(int argc, char **argv)
{
    arguments a = {.sequences = 4,
                   .length = 1024,
                   .microbatches = 1,
                   .steps = 5,
                   .layers = 12,
                   .optimizer = "ivon"};
    const option options[] = {
        {"--sequences", OPTION_COUNT, &a.sequences, "S", "sequences of a micro-batch (4)"},
        {"--length", OPTION_COUNT, &a.length, "T", "tokens of a sequence (1024)"},
        {"--microbatches", OPTION_COUNT, &a.microbatches, "G", "micro-batches of a step (1)"},
        {"--layers", OPTION_COUNT, &a.layers, "L", "blocks, 768 wide (12: GPT-2 124M)"},
        {"--steps", OPTION_COUNT, &a.steps, "N", "measured steps of each optimizer (5)"},
        {"--optimizer", OPTION_TEXT, &a.optimizer, "NAME",
         "step, steps, ranks: measured beside AdamW (ivon)"},
        {"--fp32", OPTION_FLAG, &a.fp32, NULL, "fp32 instead of bf16"},
        {"--busy", OPTION_FLAG, &a.busy, NULL, "measure even if others use the processors"},
        {"--reference", OPTION_INPUT, &a.reference, "FILE",
         "compare with what --json wrote before"},
        {"--rows", OPTION_OUTPUT, &a.rows, "FILE", "write the rows as JSON to a file too"},
        {"--pytorch", OPTION_TEXT, &a.pytorch, "COMMAND",
         "peers: runs PyTorch (scripts/bench --peers)"},
        {"--package", OPTION_FLAG, &a.package, NULL,
         "peers: PyTorch finds the package ivon too (scripts/bench --ivon DIR)"},
        {"--llmc", OPTION_TEXT, &a.llmc, "COMMAND", "peers: runs llm.c (scripts/bench --llmc DIR)"},
        {"--text", OPTION_INPUT, &a.text, "FILE", "tokenizer: encodes this text (drawn words)"},
        {"--tokenizer", OPTION_PATH, &a.tokenizer, "PATH",
         "tokenizer: measures this one (one of 4096 tokens that it learns)"},
        {"--out", OPTION_OUTPUT, &a.out, "FILE", "cluster: write what plan --cluster reads"},
        {"--json", OPTION_FLAG, &a.json, NULL, "the rows as one JSON array"},
    };
    const option_table table = {
        "bench",
        "[SECTION...]",
        "Measure what this machine can do and how near to it training comes. Sections: start,\n"
        "ceilings, optimizer, kernels, step, steps, small, peers, memory, decode, tokenizer, "
        "ranks\n"
        "(of 2 and more), exact, cluster (--out FILE, for vario plan --cluster); ceilings and "
        "step\n"
        "unless given.",
        options,
        sizeof options / sizeof options[0],
        0,
        SECTIONS};
    return session_main(&table, argc, argv, bench_verb, &a);
}
