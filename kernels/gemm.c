/* Matrix products by oneDNN: one cached primitive a shape. */
#include "kernels/kernels.h"

#include <assert.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    size_t m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b, bias, accumulate;
    dtype type, out_type;
} shape;

typedef struct entry {
    shape key;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[4]; /* source, weights, destination, bias */
    dnnl_memory_t scratchpad;
    struct entry *next;
} entry;

enum { TURN_LEAST = 1024 /* rows from which turning a source pays */ };

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static entry *entries;
static void *scratch;
static size_t scratch_bytes;
static bf16 *turned; /* a source, transposed */
static size_t turned_bytes;

/* A library that fails on shapes that it accepted is a bug here, not the user's. */
static void check(dnnl_status_t result, const char *call)
{
    if (result == dnnl_success) return;
    fprintf(stderr, "vario: oneDNN: %s failed with status %d\n", call, (int)result);
    abort();
}

static bool native_bf16(void)
{
#if defined(__x86_64__)
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_bf16 || isa == dnnl_cpu_isa_avx512_core_amx;
#else
    return false;
#endif
}

bool kernels_open(void)
{
    if (!engine) {
        check(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
        check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    }
    return native_bf16();
}

static void entry_free(entry *e)
{
    dnnl_primitive_destroy(e->primitive);
    for (int i = 0; i < 4; i++)
        if (e->memory[i]) dnnl_memory_destroy(e->memory[i]);
    if (e->scratchpad) dnnl_memory_destroy(e->scratchpad);
    free(e);
}

void kernels_close(void)
{
    while (entries) {
        entry *next = entries->next;
        entry_free(entries);
        entries = next;
    }
    if (stream) dnnl_stream_destroy(stream);
    if (engine) dnnl_engine_destroy(engine);
    free(scratch);
    free(turned);
    turned = NULL;
    turned_bytes = 0;
    stream = NULL;
    engine = NULL;
    scratch = NULL;
    scratch_bytes = 0;
}

const char *kernels_instruction_set(void)
{
#if defined(__x86_64__)
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: return "x86-64";
    }
#else
    return "portable";
#endif
}

const char *kernels_library_version(void)
{
    static char text[40];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

static void *scratch_of(size_t bytes)
{
    if (bytes > scratch_bytes) {
        free(scratch);
        scratch_bytes = (bytes + 4095) / 4096 * 4096;
        scratch = aligned_alloc(4096, scratch_bytes);
        check(scratch ? dnnl_success : dnnl_out_of_memory, "scratchpad");
    }
    return scratch;
}

static dnnl_memory_desc_t describe(size_t rows, size_t columns, size_t ld, bool transposed,
                                   dtype type)
{
    dnnl_memory_desc_t d;
    dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    dnnl_dims_t strides = {transposed ? 1 : (dnnl_dim_t)ld, transposed ? (dnnl_dim_t)ld : 1};
    check(dnnl_memory_desc_init_by_strides(&d, 2, dims, type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32,
                                           strides),
          "memory descriptor");
    return d;
}

static dnnl_primitive_attr_t make_attributes(bool accumulate)
{
    dnnl_primitive_attr_t attributes;
    check(dnnl_primitive_attr_create(&attributes), "attributes");
    check(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user),
          "scratchpad mode");
    if (accumulate) {
        dnnl_post_ops_t ops;
        check(dnnl_post_ops_create(&ops), "post-ops");
        check(dnnl_post_ops_append_sum(ops, 1.0F), "sum");
        check(dnnl_primitive_attr_set_post_ops(attributes, ops), "set post-ops");
        dnnl_post_ops_destroy(ops);
    }
    return attributes;
}

/* NULL when the library has no such product here (bf16 on an old processor). */
static entry *entry_make(const shape *s)
{
    dnnl_memory_desc_t d[4] = {describe(s->m, s->k, s->lda, s->transpose_a, s->type),
                               describe(s->k, s->n, s->ldb, s->transpose_b, s->type),
                               describe(s->m, s->n, s->ldc, false, s->out_type),
                               describe(1, s->n, s->n, false, DTYPE_F32)};
    dnnl_matmul_desc_t operation;
    check(dnnl_matmul_desc_init(&operation, &d[0], &d[1], s->bias ? &d[3] : NULL, &d[2]),
          "matmul descriptor");
    dnnl_primitive_attr_t attributes = make_attributes(s->accumulate);
    dnnl_primitive_desc_t description;
    dnnl_status_t found =
        dnnl_primitive_desc_create(&description, &operation, attributes, engine, NULL);
    dnnl_primitive_attr_destroy(attributes);
    if (found != dnnl_success) return NULL;
    entry *e = calloc(1, sizeof *e);
    check(e ? dnnl_success : dnnl_out_of_memory, "cache");
    e->key = *s;
    check(dnnl_primitive_create(&e->primitive, description), "primitive");
    for (int i = 0; i < (s->bias ? 4 : 3); i++)
        check(dnnl_memory_create(&e->memory[i], &d[i], engine, DNNL_MEMORY_NONE), "memory");
    const dnnl_memory_desc_t *pad =
        dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    check(dnnl_memory_create(&e->scratchpad, pad, engine, DNNL_MEMORY_NONE), "scratchpad");
    scratch_of(dnnl_memory_desc_get_size(pad));
    dnnl_primitive_desc_destroy(description);
    return e;
}

static bool same(const shape *a, const shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb &&
           a->ldc == b->ldc && a->transpose_a == b->transpose_a &&
           a->transpose_b == b->transpose_b && a->bias == b->bias &&
           a->accumulate == b->accumulate && a->type == b->type && a->out_type == b->out_type;
}

static entry *find(const shape *s)
{
    for (entry *e = entries; e; e = e->next)
        if (same(&e->key, s)) return e;
    entry *e = entry_make(s);
    if (!e) return NULL;
    e->next = entries;
    entries = e;
    return e;
}

static float *widened(const void *in, size_t count)
{
    float *out = malloc(count * sizeof *out);
    check(out ? dnnl_success : dnnl_out_of_memory, "widening");
    convert(out, DTYPE_F32, in, DTYPE_BF16, count);
    return out;
}

/* bf16 where the processor has none: the same product in fp32, rounded once. */
static void gemm_widened(const shape *s, const void *a, const void *b, void *out, const float *bias)
{
    float *wide_a = widened(a, (s->transpose_a ? s->k : s->m) * s->lda);
    float *wide_b = widened(b, (s->transpose_b ? s->n : s->k) * s->ldb);
    float *wide_out = s->out_type == DTYPE_F32 ? out : widened(out, s->m * s->ldc);
    gemm(s->m, s->n, s->k, wide_a, s->lda, s->transpose_a, wide_b, s->ldb, s->transpose_b, wide_out,
         s->ldc, DTYPE_F32, DTYPE_F32, bias, s->accumulate);
    if (s->out_type == DTYPE_BF16) {
        convert(out, DTYPE_BF16, wide_out, DTYPE_F32, s->m * s->ldc);
        free(wide_out);
    }
    free(wide_a);
    free(wide_b);
}

typedef bf16 eight __attribute__((vector_size(16), may_alias, aligned(2)));

#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

/* An 8 x 8 block transposed: three rounds of interleaving rows i and i + 4. */
static void turn_block(bf16 *restrict out, size_t ldo, const bf16 *restrict in, size_t ld)
{
    eight x[8], y[8];
    for (size_t i = 0; i < 8; i++) x[i] = *(const eight *)(in + i * ld);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 4; i++) {
            y[2 * i] = LOW(x[i], x[i + 4]);
            y[2 * i + 1] = HIGH(x[i], x[i + 4]);
        }
        memcpy(x, y, sizeof x);
    }
    for (size_t i = 0; i < 8; i++) *(eight *)(out + i * ldo) = x[i];
}

/* (rows, columns) to (columns, rows); 32 columns at a time, so that written lines stay cached. */
static void turn(bf16 *restrict out, const bf16 *restrict in, size_t rows, size_t columns,
                 size_t ld)
{
    enum { STRIP = 32 };
    size_t whole = rows / 8 * 8;
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < columns; at += STRIP) {
        size_t end = at + STRIP < columns ? at + STRIP : columns, fit = at + (end - at) / 8 * 8;
        for (size_t i = 0; i < whole; i += 8)
            for (size_t j = at; j < fit; j += 8)
                turn_block(out + j * rows + i, rows, in + i * ld + j, ld);
        for (size_t j = at; j < end; j++)
            for (size_t i = j < fit ? whole : 0; i < rows; i++) out[j * rows + i] = in[i * ld + j];
    }
}

/* The library multiplies a transposed bf16 source 13% slower than a plain one (Zen 5, weight
 * gradients of GPT-2 124M); turning it first takes a tenth of that. */
static const void *turned_source(const shape *s, const void *a)
{
    size_t bytes = s->m * s->k * sizeof(bf16);
    if (bytes > turned_bytes) {
        free(turned);
        turned_bytes = (bytes + 4095) / 4096 * 4096;
        turned = aligned_alloc(4096, turned_bytes);
        check(turned ? dnnl_success : dnnl_out_of_memory, "transpose");
    }
    turn(turned, a, s->k, s->m, s->lda);
    return turned;
}

void gemm(size_t m, size_t n, size_t k, const void *a, size_t lda, bool transpose_a, const void *b,
          size_t ldb, bool transpose_b, void *out, size_t ldc, dtype type, dtype out_type,
          const float *bias, bool accumulate)
{
    shape s = {.m = m,
               .n = n,
               .k = k,
               .lda = lda,
               .ldb = ldb,
               .ldc = ldc,
               .transpose_a = transpose_a,
               .transpose_b = transpose_b,
               .bias = bias != NULL,
               .accumulate = accumulate,
               .type = type,
               .out_type = out_type};
    assert(engine);
    if (type == DTYPE_BF16 && transpose_a && k >= TURN_LEAST && native_bf16()) {
        a = turned_source(&s, a);
        s.transpose_a = false;
        s.lda = k;
    }
    entry *e = find(&s);
    if (!e) {
        assert(type == DTYPE_BF16);
        gemm_widened(&s, a, b, out, bias);
        return;
    }
    void *handles[4];
    memcpy(&handles[0], &a, sizeof a);
    memcpy(&handles[1], &b, sizeof b);
    handles[2] = out;
    memcpy(&handles[3], &bias, sizeof bias);
    for (int i = 0; i < (bias ? 4 : 3); i++)
        check(dnnl_memory_set_data_handle(e->memory[i], handles[i]), "data");
    check(dnnl_memory_set_data_handle(e->scratchpad, scratch_of(0)), "data");
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, e->memory[0]},
                                   {DNNL_ARG_WEIGHTS, e->memory[1]},
                                   {DNNL_ARG_DST, e->memory[2]},
                                   {DNNL_ARG_SCRATCHPAD, e->scratchpad},
                                   {DNNL_ARG_BIAS, e->memory[3]}};
    check(dnnl_primitive_execute(e->primitive, stream, bias ? 5 : 4, arguments), "execute");
}
